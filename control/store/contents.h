// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that a log's file holds, read and verified.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/store/database.h"
#include "control/store/rows.h"

namespace trama::store {

inline constexpr const char* kMetaTable = "CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) WITHOUT ROWID";
inline constexpr const char* kObjectTable =
    "CREATE TABLE obj(res TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL, rv INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, val BLOB NOT NULL, PRIMARY KEY(res, ns, name)) WITHOUT ROWID";
inline constexpr const char* kEventTable =
    "CREATE TABLE ev(slot INTEGER PRIMARY KEY, rv INTEGER NOT NULL, res TEXT NOT NULL, ns TEXT NOT NULL,"
    " name TEXT NOT NULL, erased INTEGER NOT NULL, prv INTEGER NOT NULL, prev BLOB NOT NULL, crc INTEGER NOT NULL)";
inline constexpr int kApplicationId = 0x7472616d;  // "tram": a file with it has had its tables, whatever is there now

struct Contents {
  bool fresh = false;  // nothing has ever been written: no tables
  int schema = 0;
  bool clean = false;
  std::string cluster_uid;
  LogState state;
  std::uint64_t newest = 0;                    // of the objects, or what a clean end wrote down
  std::map<api::Key, api::ObjectPtr> objects;  // those that are whole
  Digest digest;                               // of `objects`
  History history;
  std::string history_damage;       // why there is no history; "" = there is
  std::vector<std::string> damage;  // what is not as it was written, one sentence each
  // Whatever was ever given out is not above it.
  std::uint64_t revision() const;
};

// What is damaged in the write-ahead log beside `path`; "" when nothing is. Only while nobody else has the store open.
base::Result<std::string> check_wal(const std::string& path);
// Reads all there is; what is damaged is named in `damage` and left out. An error only when nothing can be read.
base::Result<Contents> read_contents(Database& database);
// The one error for all damage: what is damaged, and what to do.
base::Error damage_error(const std::string& path, const std::vector<std::string>& damage);
// The same for what SQLite itself found; other errors stay as they are.
base::Error with_advice(base::Error error, const std::string& path);

}  // namespace trama::store
