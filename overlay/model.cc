// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/model.h"

#include <algorithm>
#include <array>
#include <set>

namespace trama::overlay {
namespace {

constexpr unsigned kOverheadV4 = 20 + 8 + 8 + 14;  // outer IP, UDP, VXLAN, inner Ethernet
constexpr unsigned kOverheadV6 = 40 + 8 + 8 + 14;
constexpr unsigned kTunnelOverheadV4 = 20 + 8 + 16 + 4 + 16;  // outer IP, UDP, header, frame, tag
constexpr unsigned kTunnelOverheadV6 = 40 + 8 + 16 + 4 + 16;
constexpr unsigned kWireguardOverheadV4 = 20 + 8 + 16 + 16;  // outer IP, UDP, header, tag
constexpr unsigned kWireguardOverheadV6 = 40 + 8 + 16 + 16;
constexpr unsigned kLowestMtuV4 = 576, kLowestMtuV6 = 1280;

// Prefixes that do not overlap, each with its owner.
class Territory {
 public:
  // The owner of what `c` would overlap, or nullptr.
  const std::string* owner_over(const Cidr& c) const {
    auto next = taken_.lower_bound(c);
    if (next != taken_.end() && next->first.overlaps(c)) return &next->second;
    if (next != taken_.begin() && std::prev(next)->first.overlaps(c)) return &std::prev(next)->second;
    return nullptr;
  }
  void take(const Cidr& c, const std::string& owner) { taken_.emplace(c, owner); }

 private:
  std::map<Cidr, std::string> taken_;
};

unsigned mtu_within(const Desired& desired, unsigned underlay_mtu, unsigned cost) {
  if (underlay_mtu == 0) underlay_mtu = 1500;
  unsigned lowest = cidr_of(desired.pod_cidrs, Family::v6) ? kLowestMtuV6 : kLowestMtuV4;
  return std::max(lowest, underlay_mtu > cost ? underlay_mtu - cost : 0u);
}

}  // namespace

Mac vtep_mac(const std::string& cluster_id, const std::string& node) {
  return Mac::from_seed(fmt::format("{}\n{}\nvtep", cluster_id, node));
}

Ip tunnel_gateway(const Ip& gateway, const Mac& mac) {
  if (gateway.is_v4()) return gateway;
  std::array<std::byte, 16> raw{std::byte{0xfe}, std::byte{0x80}};
  for (std::size_t i = 0; i < mac.octets.size(); ++i) raw[10 + i] = static_cast<std::byte>(mac.octets[i]);
  return *Ip::from_bytes(raw);
}

Ip vtep_ip(const Cidr& pod_cidr) { return pod_cidr.address(); }

unsigned overhead(Family underlay) { return underlay == Family::v4 ? kOverheadV4 : kOverheadV6; }

unsigned overlay_mtu(const Desired& desired, unsigned underlay_mtu) {
  return mtu_within(desired, underlay_mtu, overhead(desired.underlay.family()));
}

unsigned tunnel_overhead(Family underlay) { return underlay == Family::v4 ? kTunnelOverheadV4 : kTunnelOverheadV6; }

unsigned tunnel_mtu(const Desired& desired, unsigned underlay_mtu) {
  return mtu_within(desired, underlay_mtu, tunnel_overhead(desired.underlay.family()));
}

unsigned wireguard_overhead(Family underlay) {
  return underlay == Family::v4 ? kWireguardOverheadV4 : kWireguardOverheadV6;
}

unsigned wireguard_mtu(const Desired& desired, unsigned underlay_mtu) {
  return mtu_within(desired, underlay_mtu, wireguard_overhead(desired.underlay.family()));
}

const Cidr* cidr_of(const std::vector<Cidr>& cidrs, Family family) {
  auto found = std::find_if(cidrs.begin(), cidrs.end(), [&](const Cidr& c) { return c.family() == family; });
  return found == cidrs.end() ? nullptr : &*found;
}

std::vector<Ip> uplinks_of(const Ip& first, const std::vector<Ip>& further) {
  std::vector<Ip> out{first};
  for (const auto& ip : further)
    if (out.size() < kMostUplinks && std::find(out.begin(), out.end(), ip) == out.end()) out.push_back(ip);
  return out;
}

namespace {

std::string unusable_underlay(const Ip& address, const Desired& desired) {
  auto text = address.to_string();
  if (address.is_unspecified() || address.is_multicast() || address.is_loopback())
    return fmt::format("its underlay address {} cannot be sent to", text);
  if (address.family() != desired.underlay.family())
    return fmt::format("its underlay address {} is of another family than ours, {}", text,
                       desired.underlay.to_string());
  auto own = uplinks_of(desired);
  if (std::find(own.begin(), own.end(), address) != own.end())
    return fmt::format("its underlay address {} is our own; give one of the two another address", text);
  return "";
}

}  // namespace

Admission admit(const Desired& desired) {
  Admission out;
  Territory territory;
  std::map<Mac, std::string> macs;
  for (const auto& c : desired.pod_cidrs) territory.take(c, desired.node);
  macs.emplace(vtep_mac(desired.cluster_id, desired.node), desired.node);
  for (const auto& [name, peer] : desired.peers) {
    std::string why;
    for (const auto& address : uplinks_of(peer))
      if (why.empty()) why = unusable_underlay(address, desired);
    auto mac = vtep_mac(desired.cluster_id, name);
    if (name == desired.node) {
      why = "it has this node's own name";
    } else if (auto twin = macs.find(mac); why.empty() && twin != macs.end()) {
      why =
          fmt::format("its overlay MAC {} is also that of node {}; rename one of them", mac.to_string(), twin->second);
    } else if (why.empty()) {
      for (Family f : {Family::v4, Family::v6})
        if (std::count_if(peer.pod_cidrs.begin(), peer.pod_cidrs.end(), [&](auto& c) { return c.family() == f; }) > 1)
          why = "it has two pod ranges of one family";
      for (const auto& c : peer.pod_cidrs)
        if (auto* owner = territory.owner_over(c); owner && why.empty())
          why = fmt::format("its pod range {} overlaps that of node {}; free one of the two", c.to_string(), *owner);
    }
    if (!why.empty()) {
      out.refused.push_back(fmt::format("peer {} is left out: {}", name, why));
      continue;
    }
    for (const auto& c : peer.pod_cidrs) territory.take(c, name);
    macs.emplace(mac, name);
    out.peers.push_back(&peer);
  }
  return out;
}

}  // namespace trama::overlay
