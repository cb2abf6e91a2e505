// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trama::servicelb {
namespace {
using Names = std::vector<std::string>;

// An endpoint in short: its name, then words. "@n" runs on node n, "zone:z" and "node:n" are hints, "x3" is a weight;
// "ready" unless "unready", "draining" (terminates and serves) or "dying" (terminates and does not serve).
Endpoint endpoint(const std::string& text) {
  Endpoint e;
  std::istringstream words(text);
  words >> e.pod;
  for (std::string w; words >> w;) {
    if (w[0] == '@') {
      e.node = w.substr(1);
    } else if (w.starts_with("zone:")) {
      e.zones.push_back(w.substr(5));
    } else if (w.starts_with("node:")) {
      e.nodes.push_back(w.substr(5));
    } else if (w[0] == 'x') {
      e.weight = static_cast<std::uint32_t>(std::stoul(w.substr(1)));
    } else {
      e.ready = false, e.terminating = w != "unready", e.serving = w == "draining";
    }
  }
  return e;
}

struct Case {
  const char* what;
  Names endpoints;
  Names cluster, local;
  std::string node = "here", zone = "z1";
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"nothing", {}, {}, {}},
      {"all are ready, some here", {"a @here", "b @there", "c @here"}, {"a", "b", "c"}, {"a", "c"}},
      {"none is here", {"a @there", "b @there"}, {"a", "b"}, {}},
      {"nobody knows where they are", {"a", "b"}, {"a", "b"}, {}},
      {"a node without a name has no endpoints of its own", {"a", "b @"}, {"a", "b"}, {}, ""},
      // conditions
      {"an unready one is left out", {"a @here unready", "b @there"}, {"b"}, {}},
      {"one that drains is left out while others are ready", {"a @here draining", "b @here"}, {"b"}, {"b"}},
      {"those that drain serve when none is ready", {"a @here draining", "b @there draining"}, {"a", "b"}, {"a"}},
      {"but not those that serve no more", {"a @here dying", "b @there draining"}, {"b"}, {}},
      {"nor those that are merely not ready", {"a @here unready", "b @there draining"}, {"b"}, {}},
      {"nobody at all", {"a @here unready", "b @there dying"}, {}, {}},
      {"each list for itself: here one drains, elsewhere one is ready", {"a @here draining", "b @there"}, {"b"}, {"a"}},
      {"and the other way about", {"a @here", "b @there draining"}, {"a"}, {"a"}},
      // zones
      {"zone hints", {"a zone:z1", "b zone:z2", "c zone:z1"}, {"a", "c"}, {}},
      {"several zones in one hint", {"a zone:z1 zone:z2", "b zone:z2"}, {"a"}, {}},
      {"one has no hint: none counts", {"a zone:z1", "b"}, {"a", "b"}, {}},
      {"none is for this zone: none counts", {"a zone:z2", "b zone:z3"}, {"a", "b"}, {}},
      {"the node has no zone", {"a zone:z1", "b zone:z2"}, {"a", "b"}, {}, "here", ""},
      {"the missing hint of an unready one does not matter", {"a zone:z1", "b unready", "c zone:z2"}, {"a"}, {}},
      {"nor does the hint of one", {"a zone:z1 unready", "b zone:z2"}, {"b"}, {}},
      {"hints say nothing about those that drain", {"a zone:z1 draining", "b zone:z2 draining"}, {"a", "b"}, {}},
      {"policy Local has no hints", {"a @here zone:z2", "b @there zone:z1"}, {"b"}, {"a"}},
      // nodes
      {"node hints", {"a node:there", "b node:here"}, {"b"}, {}},
      {"node hints come before zones", {"a zone:z1 node:there", "b zone:z2 node:here"}, {"b"}, {}},
      {"none is for this node: zones", {"a zone:z1 node:there", "b zone:z2 node:there"}, {"a"}, {}},
      {"one has no node hint: zones", {"a zone:z1 node:here", "b zone:z1", "c zone:z2 node:here"}, {"a", "b"}, {}},
      // weights
      {"weight 0 is never chosen", {"a x0 @here", "b x3 @here"}, {"b"}, {"b"}},
      {"not even alone", {"a x0 @here"}, {}, {}},
      {"nor is its missing hint missed", {"a x0", "b zone:z1", "c zone:z2"}, {"b"}, {}},
      {"one that drains serves when the ready ones have no weight", {"a x0", "b draining"}, {"b"}, {}},
  };
  return all;
}

Names names(const std::vector<const Endpoint*>& list) {
  Names out;
  for (const auto* e : list) out.push_back(e->pod);
  return out;
}

TEST(Select, WhoIsSentTo) {
  for (const auto& c : cases()) {
    std::vector<Endpoint> endpoints;
    for (const auto& text : c.endpoints) endpoints.push_back(endpoint(text));
    std::vector<const Endpoint*> pointers;
    for (const auto& e : endpoints) pointers.push_back(&e);
    Chosen chosen = select(pointers, c.node, c.zone);
    EXPECT_EQ(names(chosen.cluster), c.cluster) << c.what;
    EXPECT_EQ(names(chosen.local), c.local) << c.what;
  }
}

}  // namespace
}  // namespace trama::servicelb
