// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>

#include "control/server/server.h"

namespace trama::server {

bool Identity::in(std::string_view group) const {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

std::string Request::header(const std::string& name) const {
  auto it = headers.find(name);
  return it == headers.end() ? "" : it->second;
}

std::string Request::parameter(const std::string& name) const {
  auto it = query.find(name);
  return it == query.end() || it->second.empty() ? "" : it->second.front();
}

}  // namespace trama::server
