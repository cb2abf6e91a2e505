// SPDX-License-Identifier: GPL-2.0-or-later
// A whole table as a value, its elements aside: what an owner of a table builds, compares with the kernel and rebuilds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/nft/session.h"

namespace trama::nft {

struct Blueprint {
  Table table;
  std::vector<Set> sets;
  struct ChainRules {
    Chain chain;
    std::vector<Rule> rules;
  };
  std::vector<ChainRules> chains;  // any order: chains are made before the rules that jump to them
};

// Two halves, because elements belong in between: filling a map that rules already use costs the kernel a check per
// rule, and the elements of verdict maps need their chains, which is why chains come with the first half.
void put_frame(Batch& batch, const Blueprint& blueprint);  // table, sets, empty chains
void put_rules(Batch& batch, const Blueprint& blueprint);  // rules
// Deletes the table first, in the same transaction, whether or not it exists: connections notice nothing.
void replace_frame(Batch& batch, const Blueprint& blueprint);

// Why the kernel's table is not this one (elements aside), in words: "chain services: rule 2 differs". "" when it is.
// Chains and sets that the blueprint does not have count as damage: the table is the owner's outright.
// counts: how many elements each set has, where the kernel says so.
Result<std::string> damage(Session& session, const Blueprint& blueprint,
                           std::map<std::string, std::size_t>* counts = nullptr);
// The pure half of it.
std::string damage(const Blueprint& blueprint, const std::vector<Table>& tables, const std::vector<ChainSeen>& chains,
                   const std::vector<RuleSeen>& rules, const std::vector<SetSeen>& sets);

}  // namespace trama::nft
