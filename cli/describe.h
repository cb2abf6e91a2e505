// SPDX-License-Identifier: GPL-2.0-or-later
// Objects for people: one page each. Pure: JSON in, text out.
#pragma once

#include <string>
#include <vector>

#include <boost/json.hpp>

#include "cli/kinds.h"

namespace trama::cli {

struct Surroundings {
  std::vector<boost::json::object> events;
  std::vector<boost::json::object> related;  // of a Service its EndpointSlices, of a Node its pods
  std::string programmed;                    // of a Service: what a node has of it, or why nobody says; may be ""
};
std::string describe_text(const Kind& kind, const boost::json::object& object, const Surroundings& around);

}  // namespace trama::cli
