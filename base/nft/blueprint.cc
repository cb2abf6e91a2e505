// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/blueprint.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace trama::nft {

void put_frame(Batch& batch, const Blueprint& blueprint) {
  batch.put_table(blueprint.table);
  for (const auto& set : blueprint.sets) batch.put_set(blueprint.table, set);
  for (const auto& c : blueprint.chains) batch.put_chain(blueprint.table, c.chain);
}

void put_rules(Batch& batch, const Blueprint& blueprint) {
  for (const auto& c : blueprint.chains)
    for (const auto& rule : c.rules) batch.add_rule(blueprint.table, c.chain.name, rule);
}

void replace_frame(Batch& batch, const Blueprint& blueprint) {
  Table bare = blueprint.table;
  bare.comment.clear();
  // Deleting what is absent would refuse the whole transaction: make sure of it first.
  batch.put_table(bare);
  batch.delete_table(bare);
  put_frame(batch, blueprint);
}

std::string damage(const Blueprint& blueprint, const std::vector<Table>& tables, const std::vector<ChainSeen>& chains,
                   const std::vector<RuleSeen>& rules, const std::vector<SetSeen>& sets) {
  auto table = std::find_if(tables.begin(), tables.end(), [&](const Table& t) {
    return t.family == blueprint.table.family && t.name == blueprint.table.name;
  });
  if (table == tables.end()) return fmt::format("table {} is missing", blueprint.table.to_string());
  if (table->flags != blueprint.table.flags) return "the table is dormant or otherwise flagged";
  if (table->comment != clean_comment(blueprint.table.comment)) return "the table's comment differs";
  std::map<std::string, const SetSeen*> have_sets;
  for (const auto& s : sets) have_sets[s.name] = &s;
  for (const auto& set : blueprint.sets) {
    auto it = have_sets.find(set.name);
    if (it == have_sets.end()) return fmt::format("set {} is missing", set.name);
    if (!it->second->matches(set)) return fmt::format("set {} is defined differently", set.name);
    have_sets.erase(it);
  }
  if (!have_sets.empty()) return fmt::format("set {} is not ours", have_sets.begin()->first);
  std::map<std::string, const ChainSeen*> have_chains;
  for (const auto& c : chains) have_chains[c.chain.name] = &c;
  std::map<std::string, std::vector<const RuleSeen*>> have_rules;
  for (const auto& r : rules) have_rules[r.chain].push_back(&r);
  for (const auto& want : blueprint.chains) {
    auto it = have_chains.find(want.chain.name);
    if (it == have_chains.end()) return fmt::format("chain {} is missing", want.chain.name);
    if (it->second->chain.base != want.chain.base) return fmt::format("chain {} has another hook", want.chain.name);
    if (it->second->chain.comment != clean_comment(want.chain.comment))
      return fmt::format("chain {}: the comment differs", want.chain.name);
    have_chains.erase(it);
    const auto& seen = have_rules[want.chain.name];
    if (seen.size() != want.rules.size())
      return fmt::format("chain {} has {} rules instead of {}", want.chain.name, seen.size(), want.rules.size());
    for (std::size_t i = 0; i < seen.size(); ++i)
      if (seen[i]->code != want.rules[i].code() || seen[i]->comment != want.rules[i].comment())
        return fmt::format("chain {}: rule {} differs", want.chain.name, i + 1);
  }
  if (!have_chains.empty()) return fmt::format("chain {} is not ours", have_chains.begin()->first);
  return {};
}

Result<std::string> damage(Session& session, const Blueprint& blueprint, std::map<std::string, std::size_t>* counts) {
  auto tables = session.tables(blueprint.table.family);
  if (!tables) return std::move(tables).error();
  auto sets = session.sets(blueprint.table);
  if (!sets) return std::move(sets).error();
  if (counts)
    for (const auto& s : *sets)
      if (s.count) (*counts)[s.name] = *s.count;
  auto chains = session.chains(blueprint.table);
  if (!chains) return std::move(chains).error();
  auto rules = session.rules(blueprint.table);
  if (!rules) return std::move(rules).error();
  return damage(blueprint, *tables, *chains, *rules, *sets);
}

}  // namespace trama::nft
