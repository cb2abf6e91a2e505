// SPDX-License-Identifier: GPL-2.0-or-later
// Guards in the language of nftables: what `nft list table inet trama-overlay` shows. Pure.
#pragma once

#include <vector>

#include "base/nft/batch.h"
#include "base/nft/decode.h"
#include "overlay/guards.h"

namespace trama::overlay {

constexpr const char* kPeersSet = "peers";
constexpr const char* kClearSet = "clear";
constexpr const char* kPods4Set = "pods4";
constexpr const char* kPods6Set = "pods6";
constexpr const char* kDirect4Set = "direct4";
constexpr const char* kDirect6Set = "direct6";

struct GuardTable {
  struct ChainOfRules {
    nft::Chain chain;
    std::vector<nft::Rule> rules;
  };
  struct FilledSet {
    nft::Set set;
    std::vector<nft::Element> elements;  // constant; the sets of peers and their pods start empty
  };
  nft::Table table;
  std::vector<FilledSet> sets;
  std::vector<ChainOfRules> chains;  // those that are jumped to come first

  const nft::Set& set(const std::string& name) const;
};

GuardTable guard_table(const GuardFrame& frame);
nft::Table guard_table_name();
nft::Set peers_set(Family underlay);
nft::Set clear_set(Family underlay);
// The set of bindings whose inner packets are of that family.
nft::Set pods_set(Family underlay, Family pods);
nft::Set direct_set(Family pods);
nft::Element plain_element(const PlainSource& plain, const std::string& node);
nft::Element peer_element(const Ip& underlay, const std::string& node, bool expiring);
nft::Element binding_element(const Binding& binding, const std::string& node, bool expiring);

// Everything at once: the old table, if any, goes and the new one comes in one transaction.
nft::Batch load_batch(const Guards& guards);
nft::Batch change_batch(const GuardChange& change, Family underlay);
nft::Batch remove_batch();

// The dumps of the table as found, brought into the form that plan() compares.
struct GuardDump {
  struct DumpedSet {
    nft::SetSeen set;
    std::vector<nft::Element> elements;
  };
  nft::Table table;
  std::vector<nft::ChainSeen> chains;
  std::vector<nft::RuleSeen> rules;
  std::vector<DumpedSet> sets;
};
SeenGuards read_guards(const GuardDump& dump);

}  // namespace trama::overlay
