// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/work_queue.h"

namespace trama::control {

namespace {
using Clock = std::chrono::steady_clock;

// Takes its timer off the list of waiters even when the wait ends by an exception.
class Waiting {
 public:
  Waiting(std::list<async::asio::steady_timer*>& all, async::asio::steady_timer* mine) : all_(all), mine_(mine) {
    all_.push_back(mine_);
  }
  ~Waiting() { all_.remove(mine_); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  std::list<async::asio::steady_timer*>& all_;
  async::asio::steady_timer* mine_;
};
}  // namespace

void WorkQueue::add(const std::string& key) {
  if (!dirty_.insert(key).second) return;
  if (working_.contains(key)) return;  // finished() brings it back
  ready_.push_back(key);
  wake_one();
}

void WorkQueue::add_after(const std::string& key, milliseconds delay) {
  if (delay <= milliseconds(0)) return add(key);
  auto when = Clock::now() + delay;
  auto [it, fresh] = moment_of_.try_emplace(key, when);
  if (!fresh) {
    if (it->second <= when) return;
    later_.erase({it->second, key});
    it->second = when;
  }
  later_.emplace(when, key);
  if (later_.begin()->second == key) wake_one();
}

awaitable<std::string> WorkQueue::next() {
  for (;;) {
    promote();
    if (!ready_.empty()) {
      auto key = std::move(ready_.front());
      ready_.pop_front();
      dirty_.erase(key);
      working_.insert(key);
      if (!ready_.empty()) wake_one();
      co_return key;
    }
    async::asio::steady_timer timer(ex_, later_.empty() ? Clock::time_point::max() : later_.begin()->first);
    Waiting waiting(waiters_, &timer);
    co_await timer.async_wait(async::kTuple);
  }
}

void WorkQueue::succeeded(const std::string& key) {
  backoff_.erase(key);
  finished(key);
}

void WorkQueue::failed(const std::string& key) {
  auto& b = backoff_.try_emplace(key, lowest_, highest_).first->second;
  b.failed();
  finished(key);
  add_after(key, b.delay());
}

void WorkQueue::finished(const std::string& key) {
  working_.erase(key);
  if (dirty_.contains(key)) {
    ready_.push_back(key);
    wake_one();
  }
}

void WorkQueue::promote() {
  auto now = Clock::now();
  while (!later_.empty() && later_.begin()->first <= now) {
    auto key = later_.begin()->second;
    later_.erase(later_.begin());
    moment_of_.erase(key);
    if (dirty_.insert(key).second && !working_.contains(key)) ready_.push_back(key);
  }
}

void WorkQueue::wake_one() {
  if (waiters_.empty()) return;
  auto* timer = waiters_.front();
  waiters_.pop_front();
  timer->cancel();
}

}  // namespace trama::control
