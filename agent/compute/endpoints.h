// SPDX-License-Identifier: GPL-2.0-or-later
// The EndpointSlices of one Service -> its endpoints, by port. Pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/api/object.h"
#include "servicelb/model.h"

namespace trama::agent {

// Where no endpoint may be; refers to the caller's.
struct EndpointLimits {
  const std::vector<base::Cidr>& service_cidrs;
  const std::set<base::Ip>& node_addresses;  // of every node: the overlay's ports on them are no endpoints
};

using PortName = std::pair<std::string, servicelb::Protocol>;
// Sorted by address and port.
using EndpointMap = std::map<base::IpPort, servicelb::Endpoint>;
using EndpointsByPort = std::map<PortName, EndpointMap>;

// All endpoints with their conditions and hints; whom to use is decided by servicelb. Of an endpoint that stands in
// several slices the ready one counts, else the one that does not terminate, else the one that serves. Only the first
// address of an entry is used, as kube-proxy does. Slices of FQDNs and those labelled service.kubernetes.io/headless
// are left out. Unacceptable endpoints are named in `refusals`.
EndpointsByPort collect_endpoints(const servicelb::ServiceKey& key, const std::vector<api::ObjectPtr>& slices,
                                  const EndpointLimits& limits, std::vector<std::string>& refusals);

// "TCP", also for "", "UDP", "SCTP".
std::optional<servicelb::Protocol> protocol_of(const std::string& text);

// Why nothing may be sent to this address: "loopback address"; "" when it is acceptable.
std::string unacceptable(const base::Ip& ip);

}  // namespace trama::agent
