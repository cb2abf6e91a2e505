// SPDX-License-Identifier: GPL-2.0-or-later
// The store's contract. Memory is the database; what stands behind it (SQLite, later etcd) is its log.
//
// Everything here is called from one thread, the controller's. Writes are group-committed by a writer thread:
// nothing is visible to readers or watchers before it is durable, so what has been seen can not be unseen.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/async/event.h"
#include "control/api/object.h"
#include "control/api/status.h"
#include "control/store/event.h"

namespace trama::store {

using async::awaitable;

// What a transaction sees and does: the committed state plus everything decided earlier in the same batch.
class Transaction {
 public:
  virtual ~Transaction() = default;
  virtual api::ObjectPtr get(const api::Key& key) const = 0;
  virtual std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns = "") const = 0;
  // Creates or replaces. The store sets metadata.resourceVersion; everything else is the caller's.
  // Returns the object as it will be stored.
  virtual api::ObjectPtr put(const api::Key& key, api::json::object body) = 0;
  virtual void erase(const api::Key& key) = 0;
};

// Decides what to write. Runs once, synchronously; an error leaves the store untouched. It does not run at all when the
// caller of write() was cancelled before its turn came, so it may refer to the caller's frame.
using Decision = std::function<api::Answer<api::ObjectPtr>(Transaction&)>;

// One subscriber's view of a resource from a revision on, in order, without gaps or repeats.
// What one transaction wrote comes in one answer. A subscriber that falls too far behind (StoreOptions::watch_backlog)
// is cut off: its events are let go, next() answers 410 and it must list again.
class Watch {
 public:
  virtual ~Watch() = default;
  // Waits for the next events, at most `limit` time; an empty vector means none came.
  virtual awaitable<api::Answer<std::vector<Event>>> next(std::chrono::milliseconds limit) = 0;
};

class Store {
 public:
  virtual ~Store() = default;
  virtual api::ObjectPtr get(const api::Key& key) const = 0;
  // In key order. An empty `ns` means all namespaces.
  virtual std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns = "") const = 0;
  // Revision of the newest committed write.
  virtual std::uint64_t revision() const = 0;
  // Runs `decide` against the newest state and commits what it wrote; answers after the commit is durable.
  // 507 when the disk is full: then only what makes the store smaller is taken, until there is room again. 503 when the
  // log could not be written for another reason. Either way nothing happened.
  // Node leases and Events are kept in memory and written behind: losing the last seconds of them is no loss.
  virtual awaitable<api::Answer<api::ObjectPtr>> write(Decision decide) = 0;
  // Events of `resource` with a revision greater than `after`. 410 when the history no longer reaches back.
  virtual api::Answer<std::unique_ptr<Watch>> watch(const std::string& resource, std::uint64_t after) = 0;
  // Writes down what is still behind and stops. Every write() must have answered, every Watch be gone; the store must
  // be closed before it is destroyed.
  virtual awaitable<void> close() = 0;
};

}  // namespace trama::store
