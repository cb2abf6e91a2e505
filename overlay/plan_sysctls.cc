// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel settings that the overlay needs, and those that it looks at. Pure.
#include <algorithm>

#include "overlay/plan.h"

namespace trama::overlay {
namespace {

constexpr const char* kForwarding4 = "net/ipv4/ip_forward";
constexpr const char* kForwarding6 = "net/ipv6/conf/all/forwarding";
constexpr const char* kRpFilterAll = "net/ipv4/conf/all/rp_filter";
constexpr const char* kRpFilterDevice = "net/ipv4/conf/trama0/rp_filter";

}  // namespace

std::vector<SetSysctl> global_sysctls(const Desired& desired) {
  std::vector<SetSysctl> out{{kForwarding4, "1", false}};
  if (cidr_of(desired.pod_cidrs, Family::v6)) out.push_back({kForwarding6, "1", false});
  return out;
}

std::vector<SetSysctl> device_sysctls(const Desired& desired, const std::string& device) {
  auto v4 = "net/ipv4/conf/" + device, v6 = "net/ipv6/conf/" + device;
  std::vector<SetSysctl> out{
      {v4 + "/rp_filter", "0", false}, {v4 + "/send_redirects", "0", false}, {v4 + "/forwarding", "1", false}};
  if (cidr_of(desired.pod_cidrs, Family::v6)) {
    out.push_back({v6 + "/addr_gen_mode", "1", false});  // no link-local address
    out.push_back({v6 + "/accept_ra", "0", false});
    out.push_back({v6 + "/disable_ipv6", "0", false});
    out.push_back({v6 + "/forwarding", "1", false});
  } else {
    out.push_back({v6 + "/disable_ipv6", "1", true});
  }
  return out;
}

std::vector<std::string> watched_sysctls() {
  std::vector<std::string> out{kForwarding4, kForwarding6, kRpFilterAll};
  for (const char* device : {kDevice, kTunnelDevice, kWireguardDevice}) {
    for (const char* knob : {"rp_filter", "send_redirects", "forwarding"})
      out.push_back(fmt::format("net/ipv4/conf/{}/{}", device, knob));
    for (const char* knob : {"addr_gen_mode", "accept_ra", "disable_ipv6", "forwarding"})
      out.push_back(fmt::format("net/ipv6/conf/{}/{}", device, knob));
  }
  return out;
}

unsigned effective_rp_filter(const Observed& observed) {
  unsigned strictest = 0;
  for (const char* key : {kRpFilterAll, kRpFilterDevice}) {
    auto found = observed.sysctls.find(key);
    if (found != observed.sysctls.end() && !found->second.empty() && std::isdigit(found->second[0]))
      strictest = std::max(strictest, static_cast<unsigned>(found->second[0] - '0'));
  }
  return strictest;
}

}  // namespace trama::overlay
