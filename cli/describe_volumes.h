// SPDX-License-Identifier: GPL-2.0-or-later
// What a pod is given besides its command, in kubectl's words and layout. Pure: JSON in, text out.
#pragma once

#include <string>
#include <vector>

#include <boost/json.hpp>

namespace trama::cli {

// Sections of one container: each begins with its title and is indented below it; "" = there is nothing in it.
std::string environment_from_text(const boost::json::object& container);
std::string environment_text(const boost::json::object& container, const boost::json::object& pod);
std::string mounts_text(const boost::json::object& container);

// The pod's volumes, what kind each is and where its content comes from.
std::string volumes_text(const boost::json::object& pod);
// "node.kubernetes.io/not-ready:NoExecute op=Exists for 300s", one for each.
std::vector<std::string> toleration_lines(const boost::json::object& pod);

}  // namespace trama::cli
