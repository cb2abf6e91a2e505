// SPDX-License-Identifier: GPL-2.0-or-later
// A resolv.conf as values: the node's own, for its pods and for the DNS server. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace trama::agent {

constexpr std::size_t kMostNameservers = 3, kMostSearches = 32;  // that the C library reads

struct ResolvConf {
  std::vector<base::Ip> nameservers;  // those that can be read
  std::vector<std::string> searches, options;
};
ResolvConf read_resolv_conf(std::string_view text);

}  // namespace trama::agent
