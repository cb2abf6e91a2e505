// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "servicelb/kernel.h"

namespace trama::test {

// What the kernel does with a batch, for the messages that servicelb sends: all or nothing, in order, with the errors
// of the real one (absent: ENOENT, other data: EEXIST, still used: EBUSY). A contract test holds it against the kernel.
class FakeNft : public servicelb::Kernel {
 public:
  struct Table {
    std::string comment;
    std::map<std::string, nft::SetSeen> sets;
    std::map<std::string, std::map<nft::Value, nft::Element>> elements;  // by set
    std::map<std::string, nft::ChainSeen> chains;
    std::map<std::string, std::vector<nft::RuleSeen>> rules;  // by chain
    // Elements and rules; a set that was never filled equals one that was emptied.
    friend bool operator==(const Table& a, const Table& b);
    std::map<std::string, std::vector<std::string>> rule_codes() const;
  };
  using Tables = std::map<std::pair<nft::Family, std::string>, Table>;

  base::Result<> commit(nft::Batch& batch) override;
  base::Result<std::uint64_t> epoch() override { return epoch_; }
  base::Result<std::string> damage(const nft::Blueprint& blueprint,
                                   std::map<std::string, std::size_t>& counts) override;
  base::Result<std::vector<nft::Element>> elements(const nft::Table& table, const nft::Set& set) override;
  base::Result<std::size_t> forget_flows(const std::vector<servicelb::FlowsOf>& stale) override;

  // ---- what tests do to it
  Tables tables;
  void touched() { ++epoch_; }  // somebody else has committed
  // Asked before every commit: an error refuses it.
  std::function<base::Result<>(const nft::Batch&)> refuse;
  bool lose_answers = false;  // commits happen, but the caller hears ENOBUFS
  bool flows_fail = false;
  bool counts_known = true;  // an old kernel does not say how many elements a set has
  std::size_t reads = 0;
  // ---- what it has seen
  std::size_t commits = 0;
  std::vector<servicelb::FlowsOf> forgotten;
  std::map<nft::Value, nft::Element>& elements_of(base::Family family, const std::string& set);

 private:
  std::uint64_t epoch_ = 1;
};

}  // namespace trama::test
