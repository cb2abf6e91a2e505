// SPDX-License-Identifier: GPL-2.0-or-later
// A balancer that was written from the documentation of Kubernetes' Services alone: it reads the Services anew for
// every packet. Slow, and of no use but to be compared with.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "tests/support/nft_machine.h"

namespace trama::test {

struct ServiceWorld {
  std::map<servicelb::ServiceKey, servicelb::Service> services;
  servicelb::NodeFacts node;

  struct Answer {
    Fate::Kind kind = Fate::Kind::untouched;
    std::map<base::IpPort, std::uint32_t> shares;  // endpoint -> weight
    bool masqueraded = false;
    bool exact = true;  // shares are exactly those; otherwise (Maglev) nearly
  };
  Answer ask(const Packet& packet) const;

 private:
  Answer to_endpoints(const servicelb::Service& service, const servicelb::ServicePort& port, bool v4, bool local,
                      bool masquerade) const;
};

}  // namespace trama::test
