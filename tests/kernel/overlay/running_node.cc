// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/overlay/running_node.h"

#include <future>
#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/async/task_group.h"
#include "base/async/worker.h"

namespace trama::overlay::test {

namespace asio = async::asio;

struct RunningNode::Loop {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
  async::Latest<Desired> want{context.get_executor()};
  async::TaskGroup tasks{context.get_executor()};
  std::optional<Reconciler> reconciler;

  asio::awaitable<void> stop() {
    co_await tasks.stop();
    guard.reset();
  }
};

RunningNode::RunningNode(const PrivateNetns& netns, std::optional<Mode> mode) {
  thread_ = std::thread([this, &netns, mode] { netns.run([&] { body(netns, mode); }); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return loop_ || !failure_.empty(); });
  if (!failure_.empty()) {
    lock.unlock();
    thread_.join();
    throw std::runtime_error(failure_);
  }
}

void RunningNode::body(const PrivateNetns&, std::optional<Mode> mode) {
  Loop loop;
  async::Worker worker("overlay");
  auto session = nft::Session::open();
  auto kernel =
      session ? KernelLinux::open(*session, {mode}) : base::Result<std::unique_ptr<KernelLinux>>(session.error());
  if (!kernel) {
    std::lock_guard lock(mutex_);
    failure_ = kernel.error().to_string();
    changed_.notify_all();
    return;
  }
  auto on_status = [this](const Status& s) {
    std::lock_guard lock(mutex_);
    status_ = s;
    if (s.operations > 0) ++repairs_;
    changed_.notify_all();
  };
  loop.reconciler.emplace(loop.want, **kernel, worker.executor(), Reconciler::Options{}, on_status);
  loop.tasks.spawn("overlay", loop.reconciler->run());
  {
    std::lock_guard lock(mutex_);
    loop_ = &loop;
    changed_.notify_all();
  }
  loop.context.run();
}

RunningNode::~RunningNode() {
  asio::post(loop_->context, [this] { asio::co_spawn(loop_->context, loop_->stop(), asio::detached); });
  thread_.join();
}

void RunningNode::publish(const Desired& desired) {
  auto value = std::make_shared<const Desired>(desired);
  std::promise<std::uint64_t> done;
  asio::post(loop_->context, [&] { done.set_value(loop_->want.publish(value)); });
  auto generation = done.get_future().get();
  std::lock_guard lock(mutex_);
  published_ = generation;
}

std::uint64_t RunningNode::passes() {
  std::promise<std::uint64_t> done;
  asio::post(loop_->context, [&] { done.set_value(loop_->reconciler->passes()); });
  return done.get_future().get();
}

std::uint64_t RunningNode::repairs() {
  std::lock_guard lock(mutex_);
  return repairs_;
}

std::optional<Status> RunningNode::wait(bool in_sync, int milliseconds) {
  std::unique_lock lock(mutex_);
  bool held = changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                                [&] { return status_.generation == published_ && status_.in_sync == in_sync; });
  return held ? std::optional(status_) : std::nullopt;
}

}  // namespace trama::overlay::test
