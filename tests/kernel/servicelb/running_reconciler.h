// SPDX-License-Identifier: GPL-2.0-or-later
// A reconciler that runs as in an agent, services to load it with, and what is in the kernel, in nft's words.
#pragma once

#include <future>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "base/async/worker.h"
#include "servicelb/engine.h"
#include "servicelb/kernel_linux.h"
#include "servicelb/reconciler.h"
#include "tests/support/private_netns.h"

namespace trama::test {

// default/web-<i>, both families; the first hundred have node port 30000 + i.
servicelb::Service service(int i, int endpoints);
servicelb::NodeFacts facts();

std::string listing(const PrivateNetns& ns, const std::string& what = "ruleset");
// Elements come in hash order: sorted words make listings comparable.
std::vector<std::string> sorted_lines(const std::string& text);

// An agent's share of servicelb: brain thread, worker thread, one session in the namespace.
class RunningReconciler {
 public:
  explicit RunningReconciler(const PrivateNetns& ns) : worker_("nft") {
    ns.run([&] {
      auto s = nft::Session::open();
      if (!s) throw std::runtime_error(s.error().to_string());
      session_ = std::make_unique<nft::Session>(std::move(*s));
      auto k = servicelb::LinuxKernel::open(*session_);
      if (!k) throw std::runtime_error(k.error().to_string());
      kernel_ = std::move(*k);
    });
    auto note = [this](const servicelb::Reconciler::Report& r) {
      operations_ += r.operations;
      if (r.healed) ++heals_;
      failures_ = r.failures.size();
    };
    reconciler_ = std::make_unique<servicelb::Reconciler>(*kernel_, brain_.get_executor(), worker_.executor(), note);
    group_ = std::make_unique<async::TaskGroup>(brain_.get_executor());
    group_->spawn("servicelb", reconciler_->run());
    thread_ = std::thread([this] { brain_.run(); });
  }
  ~RunningReconciler() {
    auto stop = [](async::TaskGroup& g) -> async::awaitable<void> { co_await g.stop(); };
    auto done = async::asio::co_spawn(brain_, stop(*group_), async::asio::use_future);
    done.get();
    thread_.join();
  }
  // Runs on the brain thread.
  template <class F>
  auto on_brain(F f) {
    std::packaged_task<std::invoke_result_t<F>()> task(std::move(f));
    auto result = task.get_future();
    async::asio::post(brain_, [&task] { task(); });
    return result.get();
  }
  void load(int services, int endpoints) {
    std::vector<servicelb::Service> all;
    for (int i = 0; i < services; ++i) all.push_back(service(i, endpoints));
    load(all, facts());
  }
  void load(const std::vector<servicelb::Service>& services, const servicelb::NodeFacts& node) {
    auto generation = on_brain([&] {
      std::uint64_t g = reconciler_->set_node(node);
      for (const auto& s : services) g = reconciler_->update(s.key, s);
      reconciler_->synced();
      return g;
    });
    wait(generation);
  }
  void wait(std::uint64_t generation) {
    ASSERT_TRUE(eventually([&] { return on_brain([&] { return reconciler_->programmed_generation(); }) >= generation; },
                           30'000));
  }
  servicelb::Reconciler& reconciler() { return *reconciler_; }
  std::size_t operations() const { return operations_; }
  int heals() const { return heals_; }
  std::size_t failures() const { return failures_; }

 private:
  async::asio::io_context brain_;
  async::Worker worker_;
  std::unique_ptr<nft::Session> session_;
  std::unique_ptr<servicelb::LinuxKernel> kernel_;
  std::unique_ptr<servicelb::Reconciler> reconciler_;
  std::unique_ptr<async::TaskGroup> group_;
  std::atomic<std::size_t> operations_{0}, failures_{0};
  std::atomic<int> heals_{0};
  std::thread thread_;
};

}  // namespace trama::test
