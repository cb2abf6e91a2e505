// SPDX-License-Identifier: GPL-2.0-or-later
// The layout of kube-proxy's nftables mode, reduced to what matters for its cost, and fed as kube-proxy feeds it: text
// for `nft -f -`. A verdict map leads to one chain per service, whose rule draws from an anonymous map; around it the
// checks that every new connection meets there. (The original has a rule more in each chain, and a chain per endpoint.)
#pragma once

#include "tests/support/private_netns.h"

namespace trama::bench {

class ChainPerService {
 public:
  ChainPerService(const test::PrivateNetns& where, int services, int endpoints, std::string protocol = "tcp")
      : where_(where), services_(services), endpoints_(endpoints), protocol_(std::move(protocol)) {}
  // Milliseconds. In transactions of 500 services: a bigger one is slower in total, and locks a CPU up for seconds.
  double load() const;
  double replace_endpoint(int service, int salt) const;
  // A transaction that changes nothing: what starting nft costs.
  double nothing() const;

 private:
  std::string rule(int service, int salt) const;
  double nft(const std::string& text) const;
  const test::PrivateNetns& where_;
  int services_, endpoints_;
  std::string protocol_;
};

// The least that data maps can be: front end -> mark, (id, number) -> endpoint, one rule that looks at each. No
// masquerade, no policies, no refusals, nothing for node ports: what a new connection costs here no complete layout can
// beat by much, whatever the machine does just then.
class BareDataMaps {
 public:
  BareDataMaps(const test::PrivateNetns& where, int services, int endpoints, std::string protocol)
      : where_(where), services_(services), endpoints_(endpoints), protocol_(std::move(protocol)) {}
  void load() const;

 private:
  const test::PrivateNetns& where_;
  int services_, endpoints_;
  std::string protocol_;
};

}  // namespace trama::bench
