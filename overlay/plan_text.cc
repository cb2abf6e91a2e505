// SPDX-License-Identifier: GPL-2.0-or-later
// The text form of plans, in the words of ip(8) and nft(8).
#include "overlay/plan.h"

namespace trama::overlay {
namespace {

std::string behind(const std::string& node) { return node.empty() ? "" : "  # " + node; }

std::string vxlan_text(const netlink::Vxlan& v) {
  std::string who = v.external ? "external" : fmt::format("id {}", v.vni.value);
  if (v.local) who += " local " + v.local->to_string();
  return fmt::format("{} dstport {}", who, v.port);
}

std::string route_text(const Route& r) {
  if (r.unreachable) return fmt::format("unreachable {} metric {}", r.to.to_string(), kFenceMetric);
  std::string out = r.to.to_string();
  if (r.nexthop) out += fmt::format(" nhid {}", r.nexthop);
  if (r.gateway) out += fmt::format(" via {}", r.gateway->to_string());
  if (r.source) out += fmt::format(" src {}", r.source->to_string());
  if (r.mtu) out += fmt::format(" mtu {}", r.mtu);
  return out;
}

std::string binding_text(const Binding& b) { return b.underlay.to_string() + " . " + b.pods.to_string(); }

std::string plain_text(const PlainSource& p) { return p.mac.to_string() + " . " + p.pods.to_string(); }

// Of what stands on the device of another path.
std::string beside_vxlan(Through on) {
  if (on != Through::tunnel && on != Through::wireguard) return "";
  return fmt::format(" dev {}", on == Through::tunnel ? kTunnelDevice : kWireguardDevice);
}

std::string allowed_text(const netlink::WireguardPeer& peer) {
  std::string out;
  for (const auto& prefix : peer.allowed) out += (out.empty() ? "" : ",") + prefix.to_string();
  return out;
}

template <class Map>
void each_key(std::string& out, const char* word, const Map& map) {
  for (const auto& [key, node] : map) {
    if constexpr (std::is_same_v<typename Map::key_type, Ip>)
      out += fmt::format(" {} {} ({})", word, key.to_string(), node);
    else if constexpr (std::is_same_v<typename Map::key_type, PlainSource>)
      out += fmt::format(" {} {} ({})", word, plain_text(key), node);
    else
      out += fmt::format(" {} {} ({})", word, binding_text(key), node);
  }
}

struct Text {
  std::string operator()(const LoadGuards& o) const {
    const auto& f = o.guards.frame;
    return fmt::format("load guards: table inet {}, port {}, vni {}, {} peers, {} pod ranges{}", kGuardTable, f.port,
                       f.vni.value, o.guards.peers.size(), o.guards.pods.size(),
                       f.encrypt          ? fmt::format(", encryption required but for {} peers", o.guards.clear.size())
                       : f.uplink.empty() ? ""
                                          : fmt::format(", plain routes over {}", f.uplink));
  }
  std::string operator()(const ChangeGuards& o) const {
    std::string out = "change guards:";
    for (const auto& ip : o.change.remove_peers) out += " -peer " + ip.to_string();
    for (const auto& ip : o.change.remove_clear) out += " -clear " + ip.to_string();
    for (const auto& b : o.change.remove_pods) out += " -pods " + binding_text(b);
    for (const auto& p : o.change.remove_direct) out += " -direct " + plain_text(p);
    each_key(out, "~peer", o.change.retire_peers);
    each_key(out, "~pods", o.change.retire_pods);
    each_key(out, "+peer", o.change.put_peers);
    each_key(out, "+pods", o.change.put_pods);
    each_key(out, "+clear", o.change.put_clear);
    each_key(out, "+direct", o.change.put_direct);
    return out;
  }
  std::string operator()(const RemoveGuards&) const { return fmt::format("remove guards: table inet {}", kGuardTable); }
  std::string operator()(const SetSysctl& o) const { return fmt::format("sysctl {}={}", o.key, o.value); }
  std::string operator()(const CreateDevice& o) const {
    return fmt::format("create device {} {} address {} mtu {}", kDevice, vxlan_text(o.vxlan), o.mac.to_string(), o.mtu);
  }
  std::string operator()(const DeleteDevice&) const { return fmt::format("delete device {}", kDevice); }
  std::string operator()(const SetAlias&) const { return fmt::format("set alias of {}", kDevice); }
  std::string operator()(const SetLocal& o) const {
    return fmt::format("set local {} of {}", o.local.to_string(), kDevice);
  }
  std::string operator()(const SetMtu& o) const { return fmt::format("set mtu {} of {}", o.mtu, kDevice); }
  std::string operator()(const SetUp& o) const { return fmt::format("set {} up (udp {})", kDevice, o.port); }
  std::string operator()(const CreateTunnel&) const { return fmt::format("create device {} tun", kTunnelDevice); }
  std::string operator()(const HoldTunnel&) const { return fmt::format("hold device {}", kTunnelDevice); }
  std::string operator()(const DeleteTunnel&) const { return fmt::format("delete device {}", kTunnelDevice); }
  std::string operator()(const SetTunnelAlias&) const { return fmt::format("set alias of {}", kTunnelDevice); }
  std::string operator()(const SetTunnelMtu& o) const { return fmt::format("set mtu {} of {}", o.mtu, kTunnelDevice); }
  std::string operator()(const SetTunnelUp&) const { return fmt::format("set {} up", kTunnelDevice); }
  std::string operator()(const CreateWireguard& o) const {
    return fmt::format("create device {} wireguard listen-port {} mtu {}", kWireguardDevice, o.port, o.mtu);
  }
  std::string operator()(const DeleteWireguard&) const { return fmt::format("delete device {}", kWireguardDevice); }
  std::string operator()(const SetWireguard& o) const {
    return fmt::format("set private-key listen-port {} of {}", o.port, kWireguardDevice);
  }
  std::string operator()(const SetWireguardAlias&) const { return fmt::format("set alias of {}", kWireguardDevice); }
  std::string operator()(const SetWireguardMtu& o) const {
    return fmt::format("set mtu {} of {}", o.mtu, kWireguardDevice);
  }
  std::string operator()(const SetWireguardUp& o) const {
    return fmt::format("set {} up (udp {})", kWireguardDevice, o.port);
  }
  std::string operator()(const PutWireguardPeer& o) const {
    return fmt::format("put wireguard peer {} endpoint {} allowed-ips {}{}", o.peer.key.to_string(),
                       o.peer.endpoint ? o.peer.endpoint->to_string() : "none", allowed_text(o.peer), behind(o.node));
  }
  std::string operator()(const DeleteWireguardPeer& o) const { return "delete wireguard peer " + o.key.to_string(); }
  std::string operator()(const PutAddress& o) const {
    return fmt::format("put address {}/{}{}{}", o.ip.to_string(), o.ip.bits(),
                       !o.never_source ? ""
                       : o.ip.is_v4()  ? " scope host"
                                       : " deprecated",
                       beside_vxlan(o.on));
  }
  std::string operator()(const DeleteAddress& o) const {
    return fmt::format("delete address {}/{}{}", o.ip.to_string(), o.length, beside_vxlan(o.on));
  }
  std::string operator()(const PutNeighbour& o) const {
    return fmt::format("put neighbour {} lladdr {}{}", o.ip.to_string(), o.mac.to_string(), behind(o.node));
  }
  std::string operator()(const DeleteNeighbour& o) const { return "delete neighbour " + o.ip.to_string(); }
  std::string operator()(const PutForward& o) const {
    return fmt::format("put fdb {} dst {}{}", o.mac.to_string(), o.to.to_string(), behind(o.node));
  }
  std::string operator()(const DeleteForward& o) const {
    return fmt::format("delete fdb {} dst {}", o.mac.to_string(), o.to.to_string());
  }
  std::string operator()(const PutNexthop& o) const {
    const auto& n = o.nexthop;
    if (n.direct())
      return fmt::format("put nexthop {} via {} dev #{}{}", n.id, n.gateway.to_string(), n.link.value, behind(o.node));
    if (n.through() != Through::vxlan)
      return fmt::format("put nexthop {} via {}{}{}", n.id, n.gateway.to_string(), beside_vxlan(n.through()),
                         behind(o.node));
    return fmt::format("put nexthop {} via {} encap vni {} src {} dst {}{}", n.id, n.gateway.to_string(), n.vni.value,
                       n.from.to_string(), n.to.to_string(), behind(o.node));
  }
  std::string operator()(const DeleteNexthop& o) const { return fmt::format("delete nexthop {}", o.id); }
  std::string operator()(const AddRoute& o) const { return "add route " + route_text(o.route) + behind(o.node); }
  std::string operator()(const ReplaceRoute& o) const {
    return "replace route " + route_text(o.route) + behind(o.node);
  }
  std::string operator()(const DeleteRoute& o) const { return "delete route " + route_text(o.route); }
};

}  // namespace

std::string to_text(Mode mode) { return mode == Mode::nexthop ? "nexthop" : "fdb"; }
std::string to_text(const Op& op) { return std::visit(Text{}, op); }

}  // namespace trama::overlay
