// SPDX-License-Identifier: GPL-2.0-or-later
// What is wrong with a node, and what to do about it. Pure: what its agent says in, findings out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <boost/json.hpp>

namespace trama::cli {

struct Patient {
  std::string name;
  boost::json::object status;  // the agent's page /status
  std::string error;           // why there is none
};
// The newest Service and EndpointSlice that the API has.
struct ApiRevisions {
  std::uint64_t services = 0, slices = 0;
};

struct Finding {
  enum class Verdict { ok, fail, unknown };
  std::string node;
  std::string check;  // "agent", "services", "foreign", …
  Verdict verdict = Verdict::ok;
  std::string text;
  std::string remedy;  // "" when all is well
};

// everything: the other rooms of the agent too. At least one finding for each check, in a fixed order.
std::vector<Finding> examine(const Patient& patient, const ApiRevisions& api, bool everything);
// Its Services are only on their way: worth another look in a moment.
bool is_behind(const Patient& patient, const ApiRevisions& api);

bool all_well(const std::vector<Finding>& findings);
// One line a finding below a line for each node; "to do" below what failed; the number of faults at the end.
std::string doctor_text(const std::vector<Finding>& findings);
boost::json::object doctor_page(const std::vector<Finding>& findings);

}  // namespace trama::cli
