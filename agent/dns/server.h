// SPDX-License-Identifier: GPL-2.0-or-later
// Answers pods at the cluster's DNS addresses, over UDP and TCP. Every node answers its own pods.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/dns/cache.h"
#include "agent/dns/resolvers.h"
#include "agent/dns/zone.h"
#include "base/async/task_group.h"

namespace trama::agent::dns {

// Only pods of the cluster and this node itself are answered: a resolver that answers the world is a weapon.
// An address that cannot be bound is named, tried again, and hurts no other. All on one executor.
class Server {
 public:
  struct Options {
    std::uint16_t port = 53;
    std::vector<base::Ip> node;              // addresses of this machine that may ask, besides those answered at
    std::size_t waiting = 1024;              // questions that wait for resolvers, and TCP connections; more are dropped
    double rate = 2000, burst = 4000;        // questions a second from one source
    std::chrono::milliseconds idle{10'000};  // of a TCP connection
    std::chrono::milliseconds retry{2'000};  // of addresses that could not be bound
    Resolvers::Options resolvers;
  };
  Server(async::asio::any_io_executor ex, const Zone& zone, Options options);
  ~Server();

  // Where to answer from now on. The addresses need not exist yet.
  void listen_on(std::vector<base::Ip> addresses);
  // Addresses of this machine that may ask, from now on.
  void use_node(std::vector<base::Ip> node) { options_.node = std::move(node); }
  void use_resolvers(std::vector<base::IpPort> servers);
  // One line per address that is not answered at.
  std::vector<std::string> failures() const;
  std::vector<base::Ip> answering() const;
  const Counters& counters() const { return counters_; }

  // Until cancelled; then stop() ends everything.
  awaitable<void> run();
  awaitable<void> stop();

 private:
  struct Listener;
  struct Bucket {
    double tokens;
    std::chrono::steady_clock::time_point filled;
  };

  void reconcile();
  base::Result<std::shared_ptr<Listener>> open(const base::Ip& address);
  awaitable<void> receive(std::shared_ptr<Listener> at);
  awaitable<void> accept(std::shared_ptr<Listener> at);
  awaitable<void> converse(std::shared_ptr<Listener> at, std::size_t number);
  bool admitted(const base::Ip& source);

  // What is answered here; it is whole unless it has to be followed. Nothing: a question for the machine's resolvers.
  std::optional<Answer> known(const Query& query);
  struct Asked {
    Query query;
    std::optional<Answer> answer;  // of known()
    Bytes message;                 // as it came
  };
  awaitable<Bytes> resolve(Asked asked, bool tcp);
  // What the world says, or said a moment ago.
  awaitable<base::Result<Bytes>> ask(Bytes query, bool tcp);
  awaitable<Answer> followed(Question question, Answer so_far, bool tcp);

  async::asio::any_io_executor ex_;
  const Zone& zone_;
  Options options_;
  Resolvers resolvers_;
  Cache cache_;
  Counters counters_;
  std::vector<base::Ip> wanted_;
  std::map<base::Ip, std::shared_ptr<Listener>> open_;
  std::map<base::Ip, std::string> failures_;
  std::map<base::Ip, Bucket> buckets_;
  std::size_t turn_ = 0;  // clients that take the first address get another one each time
  std::size_t waiting_ = 0;
  async::Event wake_;
  async::TaskGroup tasks_;
};

}  // namespace trama::agent::dns
