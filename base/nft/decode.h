// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel says about tables, chains, rules and sets, decoded. Pure; anything malformed is an error, never a
// crash or a read outside the message.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/netlink/exchange.h"
#include "base/nft/rule.h"

namespace trama::nft {

struct ChainSeen {
  Family family = Family::any;
  std::string table;
  Chain chain;
  std::uint64_t handle = 0;
};
struct RuleSeen {
  Family family = Family::any;
  std::string table, chain;
  std::uint64_t handle = 0;
  std::string code;  // compare with Rule::code()
  std::string comment;
};
struct SetSeen {
  Family family = Family::any;
  std::string table, name;
  std::uint32_t flags = 0, key_type = 0, key_length = 0, data_type = 0, data_length = 0;
  std::uint64_t timeout_ms = 0;
  std::uint32_t size = 0;
  bool counts = false;                 // elements have packet counters
  std::optional<std::uint32_t> count;  // elements now inside; kernels before 6.15 do not say
  std::string userdata;
  bool anonymous() const { return (flags & 1) != 0; }
  // The same definition, comment included.
  bool matches(const Set& set) const;
};

// payload: nfgenmsg and attributes of a NEWTABLE, NEWCHAIN, … message.
Result<Table> decode_table(Bytes payload);
Result<ChainSeen> decode_chain(Bytes payload);
Result<RuleSeen> decode_rule(Bytes payload);
Result<SetSeen> decode_set(Bytes payload);
// The elements of one NEWSETELEM message, appended. Ranges of sets of one field arrive as two elements (start, and end
// marked); they are appended as they come, with `interval_end` telling them apart: see join_ranges().
struct ElementSeen {
  Element element;
  bool interval_end = false;
};
Result<> decode_elements(Bytes payload, std::vector<ElementSeen>& out);
// Joins starts and ends into ranges, for an interval set of a single field.
std::vector<Element> join_ranges(std::vector<ElementSeen> seen, std::uint32_t key_length);
// The generation stamped on a message (its low 16 bits).
std::uint16_t stamp(Bytes payload);

// The expressions of a rule message as text: equal for equal rules, whether taken from what we send or from a listing.
std::string rule_code(Bytes payload);

}  // namespace trama::nft
