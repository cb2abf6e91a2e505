// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/guards.h"

#include <algorithm>
#include <set>

namespace trama::overlay {
namespace {

constexpr std::size_t kLongestComment = 127;

// Prefixes nest or are disjoint, so dropping the nested ones leaves a disjoint union.
std::vector<Cidr> outermost(std::set<Cidr> cidrs) {
  std::vector<Cidr> out;
  for (const auto& c : cidrs)
    if (out.empty() || !out.back().overlaps(c)) out.push_back(c);
  return out;
}

// One of the two element maps. `moved(key, comment)`: its peer is still there, at another underlay address.
template <class Key, class Moved>
void compare(const std::map<Key, std::string>& want, const std::map<Key, SeenGuards::Element>& have, Moved moved,
             std::map<Key, std::string>& put, std::map<Key, std::string>& retire, std::vector<Key>& remove) {
  for (const auto& [key, node] : want) {
    auto found = have.find(key);
    if (found != have.end() && found->second == SeenGuards::Element{element_comment(node), false}) continue;
    if (found != have.end()) remove.push_back(key);
    put.emplace(key, node);
  }
  for (const auto& [key, element] : have) {
    if (want.count(key)) continue;
    if (!moved(key, element.comment))
      remove.push_back(key);
    else if (!element.expiring)
      retire.emplace(key, element.comment);
  }
}

}  // namespace

std::string element_comment(const std::string& node) { return node.substr(0, kLongestComment); }

Guards desired_guards(const Desired& desired, const std::vector<const Peer*>& peers, const std::string& uplink) {
  Guards g;
  g.frame.underlay = desired.underlay.family();
  g.frame.vni = desired.vni;
  g.frame.port = desired.port;
  g.frame.own = outermost({desired.pod_cidrs.begin(), desired.pod_cidrs.end()});
  std::set<Cidr> all(desired.cluster_cidrs.begin(), desired.cluster_cidrs.end());
  all.insert(desired.pod_cidrs.begin(), desired.pod_cidrs.end());
  g.frame.cluster = outermost(std::move(all));
  std::set<Cidr> dns;
  for (const auto& ip : desired.dns) dns.insert(Cidr::host(ip));
  g.frame.dns.assign(dns.begin(), dns.end());
  g.frame.masquerade = desired.masquerade;
  g.frame.tunnel = desired.tunnel;
  g.frame.encrypt = desired.encrypt;
  if (desired.wireguard) g.frame.wireguard = desired.wireguard_port;
  g.frame.uplink = uplink;
  for (const auto* peer : peers) {
    for (const auto& address : uplinks_of(*peer)) {
      g.peers.emplace(address, peer->node);
      if (desired.encrypt && peer->clear) g.clear.emplace(address, peer->node);
      for (const auto& c : peer->pod_cidrs) g.pods.emplace(Binding{address, c}, peer->node);
    }
    if (uplink.empty() || !peer->direct) continue;
    for (const auto& c : peer->pod_cidrs)
      if (goes_direct(g.frame.underlay, c.family())) g.direct.emplace(PlainSource{*peer->direct, c}, peer->node);
  }
  return g;
}

GuardChange change_between(const Guards& want, const SeenGuards& have) {
  std::set<std::string> nodes;
  std::set<std::pair<Cidr, std::string>> ranges;
  for (const auto& [ip, node] : want.peers) nodes.insert(element_comment(node));
  for (const auto& [binding, node] : want.pods) ranges.emplace(binding.pods, element_comment(node));
  auto peer_moved = [&](const Ip&, const std::string& comment) { return nodes.count(comment) > 0; };
  auto pods_moved = [&](const Binding& b, const std::string& comment) { return ranges.count({b.pods, comment}) > 0; };
  GuardChange change;
  compare(want.peers, have.peers, peer_moved, change.put_peers, change.retire_peers, change.remove_peers);
  // An exception is kept for no address that is not the peer's own now.
  auto never = [](const Ip&, const std::string&) { return false; };
  std::map<Ip, std::string> none;
  compare(want.clear, have.clear, never, change.put_clear, none, change.remove_clear);
  // A peer whose uplink has another address now says so in a new conversation, and sends from that one alone.
  auto gone = [](const PlainSource&, const std::string&) { return false; };
  std::map<PlainSource, std::string> nothing;
  compare(want.direct, have.direct, gone, change.put_direct, nothing, change.remove_direct);
  compare(want.pods, have.pods, pods_moved, change.put_pods, change.retire_pods, change.remove_pods);
  return change;
}

}  // namespace trama::overlay
