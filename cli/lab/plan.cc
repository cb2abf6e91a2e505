// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/lab/plan.h"

#include <net/if.h>

#include "cli/lab/registry.h"

namespace trama::cli {

namespace {
constexpr const char *kSwitchLink = "switch", *kSecondSwitch = "switch2";

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
}  // namespace

std::string port_name(const LabSpec& lab, const NodeSpec& node) {
  if (node.name.size() < IFNAMSIZ) return node.name;
  for (std::size_t i = 0; i < lab.nodes.size(); ++i)
    if (lab.nodes[i].name == node.name) return fmt::format("{}-{}", node.name.substr(0, 10), i + 1);
  return node.name.substr(0, IFNAMSIZ - 1);
}

std::string second_port(const LabSpec& lab, const NodeSpec& node) {
  for (std::size_t i = 0; i < lab.nodes.size(); ++i)
    if (lab.nodes[i].name == node.name) return fmt::format("{}.{}-2", node.name.substr(0, 8), i + 1);
  return node.name.substr(0, IFNAMSIZ - 1);
}

base::Mac second_mac(const LabSpec& lab, const NodeSpec& node) {
  return base::Mac::from_seed(fmt::format("lab {} node {} eth1", lab.name, node.name));
}

base::Ip LabSpec::second_address(const NodeSpec& node) const {
  auto number = [](const base::Ip& ip) {
    std::uint64_t out = 0;
    for (auto byte : ip.bytes()) out = out << 8 | static_cast<std::uint8_t>(byte);
    return out;
  };
  return second_underlay.address().plus(number(node.address) - number(underlay.address()));
}

base::Mac node_mac(const LabSpec& lab, const NodeSpec& node) {
  return base::Mac::from_seed(fmt::format("lab {} node {}", lab.name, node.name));
}

std::vector<LabOp> plan_switch(const LabSpec& lab) {
  MakeNamespace ns{switch_netns(lab.name), {}};
  // Frames that only pass through the switch are none of a firewall's business; forwarding joins a lab to what a person
  // connects the switch to.
  ns.switches = {{"net/bridge/bridge-nf-call-iptables", "0"},
                 {"net/bridge/bridge-nf-call-ip6tables", "0"},
                 {"net/ipv4/ip_forward", "1"}};
  MakeSwitch bridge{ns.name, kSwitchLink, lab.switch_address, lab.underlay.length()};
  std::vector<LabOp> out{std::move(ns), bridge};
  if (lab.uplinks == 2) {
    bridge.link = kSecondSwitch;
    bridge.address = lab.second_underlay.address().plus(1);
    out.push_back(std::move(bridge));
  }
  return out;
}

std::vector<LabOp> plan_node(const LabSpec& lab, const NodeSpec& node) {
  MakeNamespace ns{node_netns(lab.name, node.name), {}};
  PlugIn cable;
  cable.switch_netns = switch_netns(lab.name);
  cable.switch_link = kSwitchLink;
  cable.port = port_name(lab, node);
  cable.node_netns = ns.name;
  cable.node = node.name;
  cable.address = node.address;
  cable.length = lab.underlay.length();
  cable.via = lab.switch_address;
  cable.port_mac = base::Mac::from_seed(fmt::format("lab {} port {}", lab.name, node.name));
  cable.node_mac = node_mac(lab, node);
  if (lab.nodes.size() > kNodesThatAsk) {
    cable.neighbours.emplace_back(lab.switch_address, base::Mac::from_seed(cable.switch_netns));
    for (const auto& other : lab.nodes)
      if (other.name != node.name) cable.neighbours.emplace_back(other.address, node_mac(lab, other));
  }
  std::vector<LabOp> out{std::move(ns), cable};
  if (lab.uplinks == 2) {
    auto second = cable;
    second.switch_link = kSecondSwitch;
    second.port = second_port(lab, node);
    second.link = "eth1";
    second.address = lab.second_address(node);
    second.via = base::Ip();
    second.port_mac = base::Mac::from_seed(fmt::format("lab {} port {} eth1", lab.name, node.name));
    second.node_mac = second_mac(lab, node);
    second.neighbours.clear();
    if (lab.nodes.size() > kNodesThatAsk)
      for (const auto& other : lab.nodes)
        if (other.name != node.name) second.neighbours.emplace_back(lab.second_address(other), second_mac(lab, other));
    out.push_back(std::move(second));
  }
  return out;
}

std::string to_text(const LabOp& op) {
  return std::visit(Overloaded{
                        [](const MakeNamespace& n) {
                          std::string text = "namespace " + n.name;
                          for (const auto& [path, value] : n.switches) text += fmt::format(" {}={}", path, value);
                          return text;
                        },
                        [](const MakeSwitch& s) {
                          return fmt::format("bridge {}/{} {}/{}", s.netns, s.link, s.address.to_string(), s.length);
                        },
                        [](const PlugIn& p) {
                          auto known = p.neighbours.empty() ? std::string()
                                                            : fmt::format(", {} neighbours known", p.neighbours.size());
                          auto via = p.via.is_unspecified() ? std::string() : " via " + p.via.to_string();
                          return fmt::format("veth {}/{} master {} <-> {}/{} {}/{}{} mtu {}{}", p.switch_netns, p.port,
                                             p.switch_link, p.node_netns, p.link, p.address.to_string(), p.length, via,
                                             p.mtu, known);
                        },
                    },
                    op);
}

}  // namespace trama::cli
