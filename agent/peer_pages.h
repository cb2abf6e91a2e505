// SPDX-License-Identifier: GPL-2.0-or-later
// What is shown of peers and paths: 127.0.0.1:6784 (TCP), /overlay/… of the agent's API, `trama overlay`. Pure.
#pragma once

#include <string>

#include <boost/json.hpp>

#include "overlay/peers/status.h"

namespace trama::agent {

using overlay::peers::MeshStatus;

std::string overlay_summary(const MeshStatus& status);  // /status
// One line per connection, in the form that Weave Net's users know: "-> 10.0.0.2:6783  established  vxlan n2 mtu=1450".
std::string overlay_connections(const MeshStatus& status);  // /status/connections
std::string overlay_peers(const MeshStatus& status);        // /status/peers
std::string overlay_paths(const MeshStatus& status);        // /status/paths
boost::json::object overlay_report(const MeshStatus& status);
// Sums alone: no series per peer, which would be n^2 in a cluster.
std::string overlay_metrics(const MeshStatus& status);
// For /status of the agent's API, which `trama doctor` reads.
boost::json::object overlay_brief(const MeshStatus& status);
// 200 when every peer is reached; the text says what is missing.
std::string overlay_ready(const MeshStatus& status, int& code);

}  // namespace trama::agent
