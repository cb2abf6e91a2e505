// SPDX-License-Identifier: GPL-2.0-or-later
// What stands behind the store in memory: a place where a batch of changes is either whole or absent.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/api/object.h"

namespace trama::store {

struct Change {
  api::Key key;
  std::uint64_t revision = 0;
  api::ObjectPtr object;  // null = erased
};

struct Loaded {
  std::vector<api::ObjectPtr> objects;
  std::uint64_t revision = 0;  // at least as high as any revision ever given out
  std::string cluster_uid;
};

// Called on one worker thread only; every call blocks.
class Log {
 public:
  virtual ~Log() = default;
  // Everything, verified: a damaged row is an error that names it, never an object.
  virtual base::Result<Loaded> load() = 0;
  // All of it durable, or none of it. No revision above `reserved` has been or will be given out before a commit that
  // raises it, so a crash can not make a revision mean two things.
  virtual base::Result<> commit(const std::vector<Change>& changes, std::uint64_t reserved) = 0;
  // A clean end: the exact revision is written, nothing was lost.
  virtual base::Result<> finish(std::uint64_t revision) = 0;
};

// Durable in one SQLite file (WAL, synchronous=FULL), made when missing.
base::Result<std::unique_ptr<Log>> open_sqlite_log(const std::string& path);
// Remembers nothing: for tests and throw-away controllers.
std::unique_ptr<Log> make_null_log();

}  // namespace trama::store
