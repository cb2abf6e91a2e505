// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/watch_hub.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/store/log.h"

namespace trama::store {

using api::Answer;
using api::Status;

namespace {

// What an event holds on to, roughly: the parsed object is several times its text.
std::size_t cost(const Event& e) { return 256 + e.object->text().size(); }

}  // namespace

class HubWatch final : public Watch {
 public:
  HubWatch(WatchHub& hub, std::string resource) : hub_(hub), resource_(std::move(resource)), wake_(hub.ex_) {
    hub_.watchers_[resource_].insert(this);
  }
  ~HubWatch() override { hub_.watchers_[resource_].erase(this); }

  awaitable<Answer<std::vector<Event>>> next(std::chrono::milliseconds limit) override {
    if (queue_.empty() && !cut_off_) co_await wake_.wait_for(limit);
    if (cut_off_) co_return Status::expired("the watcher fell too far behind; list again");
    auto out = std::exchange(queue_, {});
    bytes_ = 0;
    co_return out;
  }

  // A part of the history, whose size is bounded already.
  void replay(const Event& e) { queue_.push_back(e); }
  // Whether it is too far behind is asked before each commit, not within one: who has read everything is not cut off by
  // a single commit, however big it is.
  void offer(const Event& e, std::uint64_t commit, const StoreOptions& limits) {
    if (cut_off_) return;
    bool asked = std::exchange(commit_, commit) == commit;
    if (!asked && (queue_.size() >= limits.watch_backlog || bytes_ >= limits.watch_backlog_bytes)) {
      cut_off();
    } else {
      queue_.push_back(e);
      bytes_ += cost(e);
    }
    wake_.set();
  }
  void cut_off() {
    cut_off_ = true;
    queue_ = {};
    wake_.set();
  }

 private:
  WatchHub& hub_;
  std::string resource_;
  std::vector<Event> queue_;
  std::size_t bytes_ = 0;
  std::uint64_t commit_ = 0;  // of the newest event that was offered
  async::Event wake_;
  bool cut_off_ = false;
};

WatchHub::~WatchHub() = default;

void WatchHub::begin(std::vector<Event> history, std::uint64_t floor, std::uint64_t revision) {
  floor_ = floor, start_ = revision;
  for (auto& e : history)
    if (!may_be_behind(e.object->key.resource)) remember(e);
}

void WatchHub::begin_anew(std::uint64_t revision) {
  floor_ = start_ = revision;
  history_.clear();
  for (const auto& [resource, watchers] : watchers_)
    for (auto* w : watchers) w->cut_off();
}

void WatchHub::remember(const Event& e) {
  auto& history = history_[e.object->key.resource];
  history.events.push_back(e);
  history.bytes += cost(e);
  while (history.events.size() > options_.history ||
         (history.bytes > options_.history_bytes && history.events.size() > 1)) {
    history.dropped = history.events.front().revision;
    history.bytes -= cost(history.events.front());
    history.events.pop_front();
  }
}

void WatchHub::publish(const Event& e) {
  remember(e);
  auto found = watchers_.find(e.object->key.resource);
  if (found == watchers_.end()) return;
  for (auto* w : found->second) w->offer(e, commit_, options_);
}

Answer<std::unique_ptr<Watch>> WatchHub::watch(const std::string& resource, std::uint64_t after) {
  auto& history = history_[resource];
  auto floor = std::max(history.dropped, may_be_behind(resource) ? start_ : floor_);
  if (after < floor) return Status::expired(fmt::format("too old resource version: {} ({})", after, floor));
  auto made = std::make_unique<HubWatch>(*this, resource);
  auto first = std::partition_point(history.events.begin(), history.events.end(),
                                    [after](const Event& e) { return e.revision <= after; });
  for (; first != history.events.end(); ++first) made->replay(*first);
  return std::unique_ptr<Watch>(std::move(made));
}

}  // namespace trama::store
