// SPDX-License-Identifier: GPL-2.0-or-later
// Table "inet trama-pods": what may come out of a pod. A packet from a pod's link passes when link, MAC and source
// address belong together, and never towards the overlay's own ports; a link without an entry can send nothing.
// Pod links are told by their group (7200; 7201 once they are dying), so that no foreign link is touched.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/nft/blueprint.h"
#include "netns/model.h"
#include "netns/registry.h"

namespace trama::netns {

struct GuardEntry {
  std::string link;
  Mac mac;
  std::vector<Ip> addresses;
  unsigned connection_limit = 0;  // 0 = none
  std::string comment;            // "default/web-1"
  friend bool operator==(const GuardEntry&, const GuardEntry&) = default;
};
GuardEntry guard_entry(const Sandbox& sandbox);
GuardEntry guard_entry(const Record& record);

// Pure: the table, with one chain rule and one set for each connection limit in use; and the elements of one entry.
nft::Blueprint guard_blueprint(const std::set<unsigned>& limits);
struct GuardElement {
  const nft::Set* set;
  nft::Element element;
};
std::vector<GuardElement> guard_elements(const nft::Blueprint& blueprint, const GuardEntry& entry);

// Owner of that table. Every change is one transaction.
class Guard {
 public:
  explicit Guard(nft::Session& session) : session_(session) {}

  struct Seen {
    GuardTable table = GuardTable::absent;
    std::set<Uid> guarded;  // of `known`: those whose entries are all there
  };
  // Costs a microsecond while nobody else has changed the ruleset, else a comparison with the kernel's whole table.
  base::Result<Seen> look(const std::map<Uid, GuardEntry>& known);
  // The table anew, with exactly these entries.
  base::Result<> rebuild(const std::map<Uid, GuardEntry>& entries);
  base::Result<> put(const Uid& uid, const GuardEntry& entry);
  // Fine when it is not there.
  base::Result<> remove(const Uid& uid, const GuardEntry& entry);
  base::Result<> remove_table();
  // Somebody else has changed the ruleset since the last look(). False before the first.
  base::Result<bool> touched();

 private:
  base::Result<Seen> read(const std::map<Uid, GuardEntry>& known);
  base::Result<> commit(nft::Batch& batch);

  nft::Session& session_;
  std::set<unsigned> limits_;              // the blueprint in the kernel has these
  std::map<Uid, GuardEntry> entries_;      // in the kernel, as far as we know
  std::optional<std::uint64_t> verified_;  // epoch at which that was true
  GuardTable table_ = GuardTable::absent;
};

}  // namespace trama::netns
