// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>

#include "base/async/event.h"
#include "control/store/store.h"

namespace trama::control {

using async::awaitable;

// How often one component may speak about one object: 25 times at once, and then once in five minutes, as upstream has
// it. What is repeated without end tells nothing, and each time it is a write. Pure.
class EventThrottle {
 public:
  using Clock = std::chrono::steady_clock;
  bool allows(const std::string& speaker_and_object, Clock::time_point now);
  std::size_t known() const { return speakers_.size(); }

 private:
  struct Speaker {
    double tokens = 0;
    Clock::time_point filled;
  };
  std::map<std::string, Speaker> speakers_;
};

// Tells users what the loops did, as Events. The same event about the same object is counted up, not repeated.
// Never blocks a loop: record() only queues; events beyond 1,000 waiting ones are dropped and counted, and so is what
// EventThrottle does not allow.
class EventRecorder {
 public:
  EventRecorder(async::asio::any_io_executor ex, store::Store& store) : store_(store), wake_(std::move(ex)) {}

  // type is "Normal" or "Warning"; component names the loop ("default-scheduler").
  void record(const api::Object& about, const std::string& type, const std::string& reason, const std::string& message,
              const std::string& component);
  // Writes what was recorded; spawn it in the loops' task group.
  awaitable<void> run();
  std::uint64_t dropped() const { return dropped_; }

 private:
  struct Note {
    api::json::object involved;
    std::string ns, name, type, reason, message, component;
  };
  awaitable<void> write_all();
  // The Event that says this: the one that said it before, or a new one.
  api::Key key_of(const Note& note);
  static api::ObjectPtr put(store::Transaction& tx, const api::Key& key, const Note& note,
                            std::chrono::system_clock::time_point now);

  store::Store& store_;
  async::Event wake_;
  std::deque<Note> waiting_;
  EventThrottle throttle_;
  std::map<std::string, std::string> recent_;  // what was said about whom -> name of the Event object
  std::uint64_t dropped_ = 0;
};

// Events older than `ttl` and, beyond `cap`, the oldest ones: keys to delete. Pure.
std::vector<api::Key> stale_events(const std::vector<api::ObjectPtr>& events, std::chrono::system_clock::time_point now,
                                   std::chrono::milliseconds ttl, std::size_t cap);
// Deletes stale events every so often, for ever.
awaitable<void> sweep_events(store::Store& store, std::chrono::milliseconds ttl, std::size_t cap);

}  // namespace trama::control
