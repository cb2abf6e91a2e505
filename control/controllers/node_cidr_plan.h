// SPDX-License-Identifier: GPL-2.0-or-later
// Which node gets which pod CIDRs. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"

namespace trama::control {

struct NodeCidrWorld {
  std::vector<base::Cidr> clusters;  // at most one per family, in the order of podCIDRs
  unsigned mask_v4 = 24;
  unsigned mask_v6 = 64;
  std::map<std::string, std::vector<base::Cidr>> nodes;  // name -> podCIDRs it has, empty when none
  std::set<base::Cidr> cooling;                          // of nodes deleted a moment ago
};

struct NodeCidrPlan {
  std::map<std::string, std::vector<base::Cidr>> assign;    // nodes that had none
  std::set<std::string> exhausted;                          // nodes for which nothing is left
  std::map<base::Cidr, std::vector<std::string>> disputed;  // one prefix, several nodes: somebody wrote them by hand
};

// What a node has is never changed. The lowest free prefixes go to the nodes in name order; a prefix that overlaps any
// node's, whatever its length, is not free. A node gets one prefix of each family or none at all.
NodeCidrPlan plan_node_cidrs(const NodeCidrWorld& world);

}  // namespace trama::control
