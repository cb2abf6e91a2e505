// SPDX-License-Identifier: GPL-2.0-or-later
// What is read: every object in memory, the events that led here, and who is told of the next ones. Shared by all
// stores, which differ in how a change comes about. One thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/store/watch_hub.h"

namespace trama::store {

using Objects = std::map<api::Key, api::ObjectPtr>;
using Observer = std::function<void(const Event&)>;

class Cache {
 public:
  Cache(async::asio::any_io_executor ex, const StoreOptions& options) : hub_(std::move(ex), options) {}

  api::ObjectPtr get(const api::Key& key) const;
  std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns) const;
  const Objects& objects() const { return objects_; }
  std::uint64_t revision() const { return revision_; }
  api::Answer<std::unique_ptr<Watch>> watch(const std::string& resource, std::uint64_t after) {
    return hub_.watch(resource, after);
  }
  void observe(const std::string& resource, Observer seen) { observers_.emplace(resource, std::move(seen)); }

  // What was loaded, once. `history` is complete above `floor`.
  void begin(Objects objects, std::uint64_t revision, std::vector<Event> history, std::uint64_t floor);
  // What led here is not known: everybody who watches is told 410 and lists again.
  void begin_anew(Objects objects, std::uint64_t revision);
  // Before the changes of a commit.
  void next_commit() { hub_.next_commit(); }
  // One change: a null `object` erases. Erasing what is not there is nothing.
  void apply(const api::Key& key, api::ObjectPtr object, std::uint64_t revision);
  // All changes up to `revision` have been applied.
  void complete(std::uint64_t revision) { revision_ = revision; }

 private:
  void tell(const Event& e) const;
  Objects objects_;
  WatchHub hub_;
  std::multimap<std::string, Observer> observers_;
  std::uint64_t revision_ = 0;
};

}  // namespace trama::store
