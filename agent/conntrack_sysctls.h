// SPDX-License-Identifier: GPL-2.0-or-later
// The settings of connection tracking that kube-proxy makes, so that Services survive many and long connections.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trama::agent {

// kube-proxy's --conntrack-max-per-core 32768 and --conntrack-min 131072, and never more than 1048576.
std::uint64_t wanted_conntrack_max(unsigned cores);

// nf_conntrack_max is raised if it is lower; established connections are remembered for a day, half-closed ones for an
// hour. What is not there or not ours to write (nf_conntrack_max in any but the first network namespace) is left alone.
// A line for each setting: "nf_conntrack_max: 65536 -> 131072", "nf_conntrack_max: left at 65536: Permission denied";
// none for what already is as it should be. `dir` is /proc/sys/net/netfilter.
std::vector<std::string> apply_conntrack_sysctls(unsigned cores, const std::string& dir = "/proc/sys/net/netfilter");

}  // namespace trama::agent
