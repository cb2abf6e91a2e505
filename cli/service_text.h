// SPDX-License-Identifier: GPL-2.0-or-later
// A node's page about one Service (agent/service_page.h) for people. Pure: JSON in, text out.
#pragma once

#include <string>
#include <vector>

#include <boost/json.hpp>

namespace trama::cli {

// netns: the node's network namespace on this machine, for labs; "" = a machine of its own.
std::string service_text(const boost::json::object& page, const std::string& netns);
// The commands that show the same without trama: one look at a map, one at an element, one at connections for each
// port. None where nothing is known about the kernel.
std::vector<std::string> commands_by_hand(const boost::json::object& page, const std::string& netns);

}  // namespace trama::cli
