// SPDX-License-Identifier: GPL-2.0-or-later
// Who watches what, and the events that a watch can begin with. One thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "control/store/options.h"
#include "control/store/store.h"

namespace trama::store {

class HubWatch;

class WatchHub {
 public:
  WatchHub(async::asio::any_io_executor ex, const StoreOptions& options) : ex_(std::move(ex)), options_(options) {}
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // What the log remembers, once, before anything else. `revision` is where this life begins: of what is written behind
  // nothing older can be replayed.
  void begin(std::vector<Event> history, std::uint64_t floor, std::uint64_t revision);
  // History is forgotten up to `revision` and every watcher cut off.
  void begin_anew(std::uint64_t revision);
  // Before the events of a commit.
  void next_commit() { ++commit_; }
  void publish(const Event& event);
  // 410 when the history does not reach back to `after`.
  api::Answer<std::unique_ptr<Watch>> watch(const std::string& resource, std::uint64_t after);

 private:
  friend class HubWatch;
  struct History {
    std::deque<Event> events;
    std::size_t bytes = 0;
    std::uint64_t dropped = 0;  // newest revision that is no longer in `events`
  };
  void remember(const Event& event);

  async::asio::any_io_executor ex_;
  StoreOptions options_;
  std::map<std::string, History> history_;
  std::map<std::string, std::set<HubWatch*>> watchers_;
  std::uint64_t floor_ = 0, start_ = 0, commit_ = 0;
};

}  // namespace trama::store
