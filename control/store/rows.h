// SPDX-License-Identifier: GPL-2.0-or-later
// The rows of the log as values: checksums, the sum over all rows, and history rebuilt from what was replaced. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/store/log.h"

namespace trama::store {

// SQLite's pages carry no checksum of content: a flipped bit would be served. The row's key is part of the sum, so that
// a row which moved to another key is found too.
std::uint32_t row_sum(const api::Key& key, std::uint64_t revision, std::string_view value);

// The value of a meta row with its checksum, and back; nothing when it does not match.
std::string seal(const std::string& name, const std::string& value);
std::optional<std::string> unseal(const std::string& name, const std::string& stored);

// Written with every commit: what the table of objects must add up to. It finds rows that are missing, rows that came
// back, and old versions of rows, whose own checksums all match.
struct Digest {
  std::uint64_t objects = 0;
  std::uint64_t sum = 0;  // of all rows, in any order
  void add(std::uint64_t revision, std::uint32_t crc);
  void remove(std::uint64_t revision, std::uint32_t crc);
  friend bool operator==(const Digest&, const Digest&) = default;
};

struct LogState {
  std::uint64_t reserved = 0;
  Digest digest;
  std::int64_t ring = 0;     // slots of the event ring
  std::int64_t next = 0;     // slot that the next event goes to
  std::uint64_t newest = 0;  // revision of the newest event; 0 = none
  std::uint64_t floor = 0;   // below it history was dropped as a whole
  std::string to_text() const;
  static std::optional<LogState> parse(const std::string& text);
};

// One slot of the ring. It holds what the write replaced: what it wrote is in the next event of the same object, or in
// the object itself. So every event has both sides, and every version is written once.
struct EventRow {
  std::int64_t slot = 0;
  std::uint64_t revision = 0;
  api::Key key;
  bool erased = false;
  std::uint64_t previous_revision = 0;  // 0 = there was nothing
  std::string previous;
  std::uint32_t sum() const;
};

struct History {
  std::vector<Event> events;  // oldest first
  std::uint64_t floor = 0;    // complete above it
};

// `rows` in any order. An error says what does not fit together; then there is no history.
base::Result<History> rebuild_history(const std::map<api::Key, api::ObjectPtr>& objects, std::vector<EventRow> rows,
                                      const LogState& state);

// A stored object from its text.
base::Result<api::ObjectPtr> parse_object(const api::Key& key, std::uint64_t revision, std::string_view text);

}  // namespace trama::store
