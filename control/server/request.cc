// SPDX-License-Identifier: GPL-2.0-or-later
#include <cctype>

#include "control/server/server.h"

namespace trama::server {

std::string Request::header(const std::string& name) const {
  auto it = headers.find(name);
  return it == headers.end() ? "" : it->second;
}

std::string Request::parameter(const std::string& name) const {
  auto it = query.find(name);
  return it == query.end() || it->second.empty() ? "" : it->second.front();
}

bool Request::flag(const std::string& name) const {
  if (!has(name)) return false;
  auto value = parameter(name);
  for (auto& c : value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return value != "false" && value != "0";
}

}  // namespace trama::server
