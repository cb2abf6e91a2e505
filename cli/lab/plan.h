// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel must be told to make a lab's network: namespaces, one switch, one cable per node. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cli/lab/model.h"

namespace trama::cli {

// A namespace pinned under this name, its loopback up.
struct MakeNamespace {
  std::string name;
  std::vector<std::pair<std::string, std::string>> switches;  // path below /proc/sys, value
};
// A bridge, up, with an address.
struct MakeSwitch {
  std::string netns, link;
  base::Ip address;
  unsigned length = 24;
};
// A cable: one end is a port of the switch, the other a link of a node; both up, the node's end with its address and
// the default route through the switch (`via`; unspecified = no such route).
struct PlugIn {
  std::string switch_netns, switch_link, port;
  std::string node_netns, node, link = "eth0";
  base::Ip address;
  unsigned length = 24;
  base::Ip via;
  base::Mac port_mac, node_mac;
  unsigned mtu = 1500;
  std::vector<std::pair<base::Ip, base::Mac>> neighbours;  // whom the node need not ask for
};
using LabOp = std::variant<MakeNamespace, MakeSwitch, PlugIn>;

// In this order: the switch first, because the controller lives in its namespace and can start before the nodes exist.
std::vector<LabOp> plan_switch(const LabSpec& lab);
std::vector<LabOp> plan_node(const LabSpec& lab, const NodeSpec& node);
std::string to_text(const LabOp& op);

// The kernel keeps the neighbours that were asked for of all namespaces in one table, of 1,024 entries unless the
// machine says otherwise, and drops packets when it is full. n nodes that speak with each other fill n * n; what is
// permanent does not count. So in labs with more nodes than this they know each other from the start.
constexpr std::size_t kNodesThatAsk = 16;

// The address of a node's eth0.
base::Mac node_mac(const LabSpec& lab, const NodeSpec& node);
// The address of its eth1, in a lab of two uplinks, and that cable's port on the second switch.
base::Mac second_mac(const LabSpec& lab, const NodeSpec& node);
std::string second_port(const LabSpec& lab, const NodeSpec& node);
// The port's name on the switch: the node's own when it fits (15 characters), otherwise shortened and still unique.
std::string port_name(const LabSpec& lab, const NodeSpec& node);

}  // namespace trama::cli
