// SPDX-License-Identifier: GPL-2.0-or-later
// The network of one sandbox in netlink terms: a veth pair whose host end is the pod's only neighbour.
//   inside   lo, eth0: the pod's address as /32 (/128); a link route to the gateway, a default route by it, and a
//            permanent neighbour entry for it: nothing is ever asked by ARP or neighbour discovery
//   outside  tr…: no address; a route and a permanent neighbour entry for each address of the pod
// Everything is idempotent. Clients decide by the namespace they were opened in where things happen.
#pragma once

#include <string>
#include <vector>

#include "base/netlink/client.h"
#include "base/netlink/rtnl.h"
#include "netns/model.h"

namespace trama::netns {

constexpr const char* kInsideLink = "eth0";

// Switches of a pod's namespace, below /proc/sys.
const std::vector<std::pair<std::string, std::string>>& pod_switches();

// Makes both ends, down. A host end of that name that is ours (by its alias, or without alias and in our group: half
// made) is deleted first; a foreign one is EEXIST. Returns the index of the host end.
base::Result<base::IfIndex> make_pair(netlink::Client& here, const Sandbox& sandbox, int netns_fd);
base::Result<> put_inside(netlink::Client& inside, const Network& network, const Mac& mac);
// "" when all of it is there; else what is missing, in words.
base::Result<std::string> inside_damage(netlink::Client& inside, const Network& network, const Mac& mac);

// Alias, names, MAC, MTU, group and switches of the host end; then up. Must be called in the node's namespace.
base::Result<> put_outside_link(netlink::Client& here, base::IfIndex link, const Sandbox& sandbox);
// "" when the host end is as put_outside_link leaves it.
std::string outside_damage(const netlink::Link& link, const Sandbox& sandbox);

std::vector<netlink::Neighbour> outside_neighbours(base::IfIndex link, const std::vector<Ip>& addresses,
                                                   const Mac& mac);
std::vector<netlink::Route> outside_routes(base::IfIndex link, const std::vector<Ip>& addresses);
base::Result<> put_outside_neighbours(netlink::Client& here, base::IfIndex link, const std::vector<Ip>& addresses,
                                      const Mac& mac);
// EEXIST, naming the other route, when an address is routed elsewhere by somebody else.
base::Result<> put_outside_routes(netlink::Client& here, base::IfIndex link, const std::vector<Ip>& addresses);
// What is gone already is fine.
base::Result<> delete_outside(netlink::Client& here, base::IfIndex link, const std::vector<Ip>& addresses);

// Hands the host end to the reaper: its names are free again, nothing routes to it.
base::Result<> doom_link(netlink::Client& here, const netlink::Link& link);

// Nothing when there is no such link.
base::Result<std::optional<netlink::Link>> find_link(netlink::Client& client, const std::string& name);

}  // namespace trama::netns
