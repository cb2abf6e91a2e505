// SPDX-License-Identifier: GPL-2.0-or-later
// What stands behind the store in memory: a place where a batch of changes is either whole or absent.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/api/object.h"
#include "control/store/event.h"

namespace trama::store {

struct Change {
  api::Key key;
  std::uint64_t revision = 0;
  api::ObjectPtr object;    // null = erased
  api::ObjectPtr previous;  // what it replaced; null = there was nothing
};

struct Loaded {
  std::vector<api::ObjectPtr> objects;
  std::uint64_t revision = 0;  // at least as high as any revision ever given out
  std::string cluster_uid;
  std::vector<Event> history;       // of what is not written behind, oldest first, complete above `history_floor`
  std::uint64_t history_floor = 0;  // watches can not resume below it
  bool room = true;                 // false: the disk is full already, see restore_reserve()
};

// Called on one worker thread only (load() before there is one); every call blocks.
class Log {
 public:
  virtual ~Log() = default;
  // Everything, verified: damage is an error that names what is damaged, never an object.
  virtual base::Result<Loaded> load() = 0;
  // All of it durable, or none of it. No revision above `reserved` has been or will be given out before a commit that
  // raises it, so a crash can not make a revision mean two things. Objects must have been serialised (Object::text()).
  // Fails with no_space_on_device when the disk is full.
  virtual base::Result<> commit(const std::vector<Change>& changes, std::uint64_t reserved) = 0;
  // After a commit that found the disk full: gives up the reserve, so that what shrinks the store can be written.
  virtual void release_reserve() {}
  // True when the reserve is there again: the store may grow.
  virtual bool restore_reserve() { return true; }
  // A clean end: the exact revision is written, nothing was lost.
  virtual base::Result<> finish(std::uint64_t revision) = 0;
};

// Node leases and Events: heartbeats and hints, whose last seconds may be lost in a crash.
bool is_write_behind(const api::Key& key);
// The resource has objects that are written behind.
bool may_be_behind(const std::string& resource);

struct SqliteOptions {
  std::int64_t ring = 16'384;      // events kept for watches that resume after a restart
  std::int64_t ballast = 4 << 20;  // bytes set aside for the day the disk is full; 0 = none
  // Of the write-ahead log, 4 KiB each, before it goes into the database. On a full disk that must fit into the
  // ballast, or the log's room can not be used again.
  int checkpoint_pages = 500;
};

// Durable in one SQLite file (WAL, synchronous=FULL), made when missing. Beside it: PATH.lock, held while it is open,
// and PATH.ballast.
base::Result<std::unique_ptr<Log>> open_sqlite_log(const std::string& path, SqliteOptions options = {});
// Remembers nothing: for tests and throw-away controllers.
std::unique_ptr<Log> make_null_log();

}  // namespace trama::store
