// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps `table ip trama` and `table ip6 trama` equal to the Services it was told about.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/async/event.h"
#include "servicelb/inspect.h"
#include "servicelb/model.h"

namespace trama::servicelb {

class Kernel;

// Cheap to tell, incremental to apply: update() only marks a service dirty; run() commits what is dirty in as few
// transactions as possible and verifies, by polling the ruleset generation, that nobody else changed our tables.
// Everything runs on one executor; the kernel is called on the worker.
class Reconciler {
 public:
  struct Report {
    std::uint64_t generation = 0;                              // of the newest change that is in the kernel
    std::vector<std::string> failures;                         // readable lines, naming the service
    std::size_t operations = 0;                                // elements, rules and chains written by the pass
    bool healed = false;                                       // the pass repaired damage done by somebody else
    std::size_t elements = 0;                                  // in the kernel, of both families
    std::chrono::nanoseconds took{0};                          // the pass, from taking the changes to the commit
    std::vector<std::pair<ServiceKey, std::string>> troubled;  // those of `failures` that are one Service's
  };
  struct Options {
    // How soon damage by others is noticed at the latest, where nobody calls filter_moved(). A look costs a
    // microsecond, and two changes of threads.
    std::chrono::milliseconds poll{50};
  };
  Reconciler(Kernel& kernel, async::asio::any_io_executor brain, async::asio::any_io_executor worker,
             std::function<void(const Report&)> report)
      : Reconciler(kernel, std::move(brain), std::move(worker), std::move(report), Options()) {}
  Reconciler(Kernel& kernel, async::asio::any_io_executor brain, async::asio::any_io_executor worker,
             std::function<void(const Report&)> report, Options options);
  ~Reconciler();

  // nullopt = the Service is gone. Returns the generation that will contain this change.
  std::uint64_t update(const ServiceKey& key, std::optional<Service> service);
  std::uint64_t set_node(NodeFacts facts);
  // Nothing is written before this: the first full list has been delivered through update().
  void synced();
  std::uint64_t generation() const;             // newest change told
  std::uint64_t programmed_generation() const;  // newest change in the kernel
  std::vector<std::string> last_plan() const;
  // What is in the kernel for one service; nothing when it was never told of.
  async::awaitable<base::Result<std::optional<ServiceView>>> describe(ServiceKey key);
  // New connections so far, of all services that count them (or remember clients, which counts them too).
  async::awaitable<base::Result<std::vector<ConnectionCount>>> connections();
  // The world changed outside (tests, SIGHUP): verify now.
  void wake();
  // The packet filter's generation has moved: see now whose doing it was, not only at the next poll.
  void filter_moved();

  async::awaitable<void> run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trama::servicelb
