// SPDX-License-Identifier: GPL-2.0-or-later
// Other people's packet filters that may stand in the way of pods and Services. Pure.
#pragma once

#include <string>
#include <vector>

#include <boost/json.hpp>

#include "base/nft/decode.h"

namespace trama::agent {

// A base chain of a foreign table that drops what its rules do not accept. Whether the rules accept our traffic is not
// looked at: that is for whoever reads the line.
struct Obstacle {
  std::string table, chain;  // "ip filter", "FORWARD"
  std::string hook;          // "forward"
  std::string harm;          // what it does to pods and Services
  std::string remedy;        // what to type
  std::string line() const;  // all of it
  friend bool operator==(const Obstacle&, const Obstacle&) = default;
};

// Tables named `trama` and `trama-…` are our own. In the order of the kernel's listing.
std::vector<Obstacle> find_obstacles(const std::vector<nft::ChainSeen>& base_chains);

// For the condition ServicesUnobstructed.
struct ObstacleVerdict {
  std::string reason, message;
};
ObstacleVerdict judge_obstacles(const std::vector<Obstacle>& obstacles);

// For /status: a list of objects.
boost::json::array obstacles_page(const std::vector<Obstacle>& obstacles);

}  // namespace trama::agent
