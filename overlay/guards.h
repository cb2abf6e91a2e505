// SPDX-License-Identifier: GPL-2.0-or-later
// The packet filter in front of the overlay as a value: table `inet trama-overlay`.
//
// A VXLAN device takes any packet on its port, and in external mode any VNI. So what arrives on UDP 6784 must come
// from a peer, carry our VNI, and hold an inner packet whose source is a pod of that very peer. This binds addresses
// to addresses; against somebody who can forge a peer's address on the underlay only encryption helps.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "overlay/model.h"

namespace trama::overlay {

// Pods that may speak through that underlay address.
struct Binding {
  Ip underlay;
  Cidr pods;
  friend auto operator<=>(const Binding&, const Binding&) = default;
};

// Pods whose packets come as they are, from that address on the link.
struct PlainSource {
  Mac mac;
  Cidr pods;
  friend auto operator<=>(const PlainSource&, const PlainSource&) = default;
};

// How long packets from a peer's previous underlay address are still taken after the peer has moved: the peer and
// we learn of the move at different times. The kernel itself forgets the element.
constexpr unsigned kRetireSeconds = 10;

// The element's comment in the kernel: the peer's name, cut to what nft prints (128 bytes).
std::string element_comment(const std::string& node);

// What does not change with the peers: a difference here means the table is loaded anew, in one transaction.
struct GuardFrame {
  Family underlay = Family::v4;
  Vni vni;
  std::uint16_t port = 0;
  std::vector<Cidr> own;      // our pods, sorted
  std::vector<Cidr> cluster;  // all pods, sorted and free of overlaps
  std::vector<Cidr> dns;      // host addresses, sorted
  bool masquerade = false;
  bool tunnel = false;          // trama1 is there
  std::uint16_t wireguard = 0;  // trama2 listens there; 0 = it is not there
  std::string uplink;           // plain routes lead over it: pods' packets that come there are looked at; "" = none do
  bool encrypt = false;         // VXLAN with peers is dropped, both ways, but for those in Guards::clear
  friend bool operator==(const GuardFrame&, const GuardFrame&) = default;
};

struct Guards {
  GuardFrame frame;
  std::map<Ip, std::string> peers;            // underlay address -> node
  std::map<Binding, std::string> pods;        // -> node
  std::map<Ip, std::string> clear;            // peers that may be spoken with in the clear; only with frame.encrypt
  std::map<PlainSource, std::string> direct;  // -> node; only with frame.uplink
  friend bool operator==(const Guards&, const Guards&) = default;
};

// What one transaction does to the elements: removals, then retirements, then additions.
struct GuardChange {
  std::vector<Ip> remove_peers;
  std::vector<Binding> remove_pods;
  std::vector<Ip> remove_clear;
  std::vector<PlainSource> remove_direct;
  std::map<Ip, std::string> retire_peers;  // become elements that expire after kRetireSeconds
  std::map<Binding, std::string> retire_pods;
  std::map<Ip, std::string> put_peers;
  std::map<Binding, std::string> put_pods;
  std::map<Ip, std::string> put_clear;
  std::map<PlainSource, std::string> put_direct;
  bool empty() const {
    return remove_peers.empty() && remove_pods.empty() && retire_peers.empty() && retire_pods.empty() &&
           put_peers.empty() && put_pods.empty() && remove_clear.empty() && put_clear.empty() &&
           remove_direct.empty() && put_direct.empty();
  }
};

// The table as found. `frame` is absent when the rules are not exactly those that some GuardFrame makes: changed by
// hand, or by another version.
struct SeenGuards {
  struct Element {
    std::string comment;
    bool expiring = false;
    friend bool operator==(const Element&, const Element&) = default;
  };
  std::string rules;  // a text of all rules and constant sets; equal to rules_text(frame) when untouched
  std::map<Ip, Element> peers;
  std::map<Binding, Element> pods;
  std::map<Ip, Element> clear;
  std::map<PlainSource, Element> direct;
};

// `uplink`: of plain routes, see GuardFrame.
Guards desired_guards(const Desired& desired, const std::vector<const Peer*>& peers, const std::string& uplink = "");
// The elements that must change; assumes that the rules are right.
GuardChange change_between(const Guards& want, const SeenGuards& have);
// The text that the kernel port gives for a table made from `frame` alone.
const std::string& rules_text(const GuardFrame& frame);  // valid until the next call

}  // namespace trama::overlay
