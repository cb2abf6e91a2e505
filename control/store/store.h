// SPDX-License-Identifier: GPL-2.0-or-later
// The store's contract. Memory is what is read; what stands behind it is SQLite (one controller, memory is the database
// and the file its log) or etcd (several controllers, memory is a cache of it).
//
// Everything here is called from one thread, the controller's. Nothing is visible to readers or watchers before it is
// durable, so what has been seen can not be unseen.
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

// What a transaction sees and does: the committed state plus whatever was decided before it.
class Transaction {
 public:
  virtual ~Transaction() = default;
  virtual api::ObjectPtr get(const api::Key& key) const = 0;
  virtual std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns = "") const = 0;
  // Creates or replaces. The store sets metadata.resourceVersion; everything else is the caller's.
  // Returns the object as it will be stored, but for its revision, which may turn out higher: the right one is in what
  // write() answers.
  virtual api::ObjectPtr put(const api::Key& key, api::json::object body) = 0;
  virtual void erase(const api::Key& key) = 0;
  // For rules over what is not one object, such as a number that no two Services may have: of two transactions that
  // guard the same name, the later one has seen all that the earlier one wrote. Only in transactions that write.
  virtual void guard(const std::string& name) = 0;
};

// Decides what to write. Runs synchronously; an error leaves the store untouched. It may run several times, each time
// against a newer state, and only what its last run did counts: so it begins by forgetting what an earlier run has
// left in its caller's variables. It does not run at all when the caller of write() was cancelled before its turn came,
// so it may refer to the caller's frame.
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
  // Revision of the newest committed write that reads show.
  virtual std::uint64_t revision() const = 0;
  // Returns when reads show everything that any controller had acknowledged before the call. 503 when that can not be
  // found out.
  virtual awaitable<api::Answer<std::uint64_t>> current() = 0;
  // Waits until reads show `revision`, at most `limit`; false when they do not.
  virtual awaitable<bool> reached(std::uint64_t revision, std::chrono::milliseconds limit) = 0;
  // `seen` is called with every event of `resource` from now on, in order, at the moment it becomes visible: before any
  // transaction can have read it. When the store begins anew it is shown everything as `added`.
  virtual void observe(const std::string& resource, std::function<void(const Event&)> seen) = 0;
  // Runs `decide` against the newest state and commits what it wrote; answers after the commit is durable and reads
  // show it. What is refused, or writes nothing, was decided against a state as new as the call.
  // 507 when the disk is full: then only what makes the store smaller is taken, until there is room again. 503 when
  // nothing could be written for another reason. Either way nothing happened. 504 when it may have happened (etcd
  // alone: the connection was lost and no member can be asked).
  // Node leases and Events are kept in memory and written behind: losing the last seconds of them is no loss.
  virtual awaitable<api::Answer<api::ObjectPtr>> write(Decision decide) = 0;
  // Events of `resource` with a revision greater than `after`. 410 when the history no longer reaches back.
  virtual api::Answer<std::unique_ptr<Watch>> watch(const std::string& resource, std::uint64_t after) = 0;
  // What one controller has to do for all, as long as it leads. Runs until it is cancelled.
  virtual awaitable<void> maintain() = 0;
  // Prometheus text of its own.
  virtual std::string metrics() const = 0;
  // Writes down what is still behind and stops. Every write() must have answered, every Watch be gone; the store must
  // be closed before it is destroyed.
  virtual awaitable<void> close() = 0;
};

}  // namespace trama::store
