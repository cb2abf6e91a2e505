// SPDX-License-Identifier: GPL-2.0-or-later
// The connection to nftables in one network namespace: transactions, dumps and the generation counter.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/netlink/client.h"
#include "base/nft/batch.h"
#include "base/nft/decode.h"

namespace trama::nft {

// One per process and namespace, shared by all who write rules there, so that their own commits do not look foreign
// to each other. Blocking, and used from one thread only. Stays in the namespace it was opened in.
class Session {
 public:
  static Result<Session> open();

  // Success means that the kernel has committed all of it: sent, last message acknowledged, no error for any message,
  // no answers lost. On a refusal nothing was changed, and the error names the message with the kernel's own sentence.
  // When the outcome is unknown (answers lost, timeout) the error is ENOBUFS or ETIMEDOUT and epoch() moves, so that
  // every owner looks again. An empty batch is a success.
  Result<> commit(Batch& batch, std::optional<std::uint32_t> generation = {});

  // The kernel's ruleset generation: changes with every commit by anybody in this namespace. About a microsecond.
  Result<std::uint32_t> generation();
  // A number that changes when somebody else has committed something: an owner remembers the value at which it last
  // verified its tables and verifies again when it differs. Never changes by commits through this session.
  Result<std::uint64_t> epoch();

  // Dumps: everything or an error. A dump that spans a change of the ruleset is asked again, up to ten times.
  Result<std::vector<Table>> tables(Family family);  // Family::any = all
  Result<std::vector<ChainSeen>> chains(const Table& table);
  // Of every table of every family that filters anything (dormant ones do not). Reads no rule and no set.
  Result<std::vector<ChainSeen>> base_chains();
  Result<std::vector<RuleSeen>> rules(const Table& table);  // in chain order
  Result<std::vector<SetSeen>> sets(const Table& table);    // anonymous ones excluded
  // One generation, nothing twice. While somebody prepares a large transaction for this very set it may lack elements.
  Result<std::vector<Element>> elements(const Table& table, const Set& set);

  // What commit() has cost since open(): transactions that reached the kernel, refused ones included, and the time from
  // handing them over to their answers.
  struct Spent {
    std::uint64_t transactions = 0;
    std::chrono::nanoseconds time{0};
  };
  const Spent& spent() const { return spent_; }

  netlink::Client& client() { return client_; }

 private:
  explicit Session(netlink::Client client) : client_(std::move(client)) {}
  Result<netlink::Reply> dump(std::uint16_t type, Family family, const std::string& what,
                              const std::function<void(netlink::Request&)>& fill);

  netlink::Client client_;
  std::optional<std::uint32_t> expected_;  // generation after the last commit or look
  std::uint64_t epoch_ = 1;
  Spent spent_;
};

}  // namespace trama::nft
