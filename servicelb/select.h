// SPDX-License-Identifier: GPL-2.0-or-later
// Which endpoints a node sends to: conditions, policies and topology, as kube-proxy decides them. Pure.
#pragma once

#include <string>
#include <vector>

#include "servicelb/model.h"

namespace trama::servicelb {

struct Chosen {
  std::vector<const Endpoint*> cluster;  // for policy Cluster: all, or those meant for this node or zone
  std::vector<const Endpoint*> local;    // for policy Local: those of this node
};

// Endpoints of one family, in their order. Ready ones are used; where there are none, those that still serve while they
// terminate are, for each of the two lists by itself (KEP-1669). Hints count only while every ready endpoint has one
// and one of them is for here: nodes first, then zones (KEP-2433, KEP-3015). Weight 0 means never.
Chosen select(const std::vector<const Endpoint*>& endpoints, const std::string& node, const std::string& zone);

}  // namespace trama::servicelb
