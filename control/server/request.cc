// SPDX-License-Identifier: GPL-2.0-or-later
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

}  // namespace trama::server
