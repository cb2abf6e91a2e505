// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include <boost/json.hpp>

namespace trama::cli {

// Block-style YAML that load_yaml() reads back as the same value. Ends with a newline.
std::string to_yaml(const boost::json::value& value);
// Indented JSON (4 blanks, as kubectl prints it). Ends with a newline.
std::string to_pretty_json(const boost::json::value& value);

}  // namespace trama::cli
