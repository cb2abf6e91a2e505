// SPDX-License-Identifier: GPL-2.0-or-later
// What watchers saw, and whether it is what they were promised: the guarantees of etcd's watch API, one function each.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trama::test {

// One change as the writer knows it from its answer.
struct Written {
  std::uint64_t revision = 0;
  std::uint64_t transaction = 0;  // those of one transaction become visible together
  std::string name, group, data;  // group: the label that watchers select by
  bool deleted = false;
};
using Truth = std::vector<Written>;  // by revision, all there is

struct Seen {
  std::string type;  // ADDED, MODIFIED, DELETED, BOOKMARK
  std::uint64_t revision = 0;
  std::string name, data;
  std::uint64_t delivery = 0;  // those of one delivery arrived together
};

// One connection. `listed` is what the list showed that it began with; a resumed one has none.
struct Session {
  std::uint64_t from = 0;
  bool resumed = false;
  std::map<std::string, std::string> listed;  // name -> data
  std::vector<Seen> seen;
  std::uint64_t reached() const { return seen.empty() ? from : seen.back().revision; }
};

// Everything that one watcher saw. An empty group selects all.
struct WatchRecord {
  std::string group, name;
  std::vector<Session> sessions;
};

// What a watcher with the record's selection should see of everything: objects come into view and leave it.
std::vector<Seen> expected(const Truth& truth, const WatchRecord& record);

// Each answers "" or what is wrong.
std::string not_ordered(const WatchRecord& record);  // revisions rise within a session
std::string not_unique(const WatchRecord& record);   // nothing comes twice, not even after a reconnect
std::string not_filtered(const Truth& truth, const WatchRecord& record);    // only what was selected, as what it is
std::string not_reliable(const Truth& truth, const WatchRecord& record);    // no gap up to where a session came
std::string not_resumed(const Truth& truth, const WatchRecord& record);     // goes on right behind where it was
std::string not_atomic(const Truth& truth, const WatchRecord& record);      // transactions arrive whole
std::string not_bookmarked(const Truth& truth, const WatchRecord& record);  // behind a bookmark comes nothing older
// All of them, and that list plus events end in what is there.
std::string violations(const Truth& truth, const WatchRecord& record);

}  // namespace trama::test
