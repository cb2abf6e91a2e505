// SPDX-License-Identifier: GPL-2.0-or-later
// The frame of every controller: watch the store, collect keys, work them off one by one.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "base/log.h"
#include "control/loops/work_queue.h"
#include "control/store/store.h"

namespace trama::control {

// A resource that a loop follows. `seen` is called for everything present at start (as `added`) and for every change
// after that, in order; it keeps indexes and enqueues keys, it never writes. `reset` is called before everything is
// shown again because the watch could not go on.
struct Source {
  std::string resource;
  std::function<void(const store::Event&)> seen;
  std::function<void()> reset = nullptr;
};

struct LoopOptions {
  std::string name;
  unsigned workers = 8;  // keys in work at a time; their writes share commits
  milliseconds backoff_lowest{5};
  milliseconds backoff_highest{10'000};
};

// Level-triggered: `handle` looks at the store, decides, writes. An error brings the key back with a growing delay.
// A Conflict is no failure worth a log line: somebody else wrote first, look again.
class Loop {
 public:
  using Handle = std::function<awaitable<base::Result<>>(std::string key)>;

  Loop(async::asio::any_io_executor ex, store::Store& store, LoopOptions options, std::vector<Source> sources,
       Handle handle);
  // Shows everything present to the sources, then spawns watchers and workers in `group`, which must be stopped before
  // the loop is destroyed.
  void start(async::TaskGroup& group);

  void enqueue(const std::string& key);
  void enqueue_after(const std::string& key, milliseconds delay) { queue_.add_after(key, delay); }

  // Said by `handle`: how long a pass over the key computed without a break. Passes that look at very much (every node,
  // every pod of a big set) rest for nine times as long before the next change makes them look again, so that they
  // never take more than a tenth of the thread; passes of less than 2 ms, as in any small cluster, never rest.
  void took(const std::string& key, std::chrono::steady_clock::duration time);

  const std::string& name() const { return options_.name; }
  std::size_t depth() const { return queue_.depth(); }
  std::uint64_t handled() const { return handled_; }
  std::uint64_t failures() const { return failures_; }

 private:
  std::uint64_t show_all(const Source& source);
  awaitable<void> follow(std::size_t source, std::uint64_t after);
  awaitable<void> work();

  store::Store& store_;
  LoopOptions options_;
  std::vector<Source> sources_;
  Handle handle_;
  WorkQueue queue_;
  std::shared_ptr<spdlog::logger> log_;
  base::Streak streak_;
  std::map<std::string, std::chrono::steady_clock::time_point> resting_;  // until when
  std::uint64_t handled_ = 0;
  std::uint64_t failures_ = 0;
};

// Store::write with its Status turned into an Error; a Conflict becomes resource_unavailable_try_again.
awaitable<base::Result<api::ObjectPtr>> write(store::Store& store, store::Decision decide);
base::Error to_error(const api::Status& status);
// For decisions: the object is still the version that was looked at (0: it still does not exist).
bool unchanged(const store::Transaction& tx, const api::Key& key, std::uint64_t revision);

// Keys of namespaced objects as queue keys and back: "default/web".
std::string queue_key(const api::Key& key);
api::Key from_queue_key(std::string resource, const std::string& text);

}  // namespace trama::control
