// SPDX-License-Identifier: GPL-2.0-or-later
// The two tables of servicelb: what is constant in them, and what each element looks like.
//
// A new connection meets, in the nat hooks only (packets of known connections never come here):
//   services:  is it from a pod, and to a front end?     -> its mark (one lookup for what is most frequent)
//              is the destination a ClusterIP in use?    -> clusterip
//              is it another address of a Service range? -> drop
//              is (address, protocol, port) a front end? -> its mark: external and load balancer addresses
//              is it an address of this node?            -> node-ports: the mark by (protocol, port)
//   clusterip: services: (address, protocol, port) -> mark; an echo request is answered by the node; nothing -> refuse
// A mark is a service id and a class. The class leads on (in the chain by-class):
//   a number of slots (draw.h)  -> a chain that draws one of them: slots: (service id, number) -> endpoint
//   guarded                     -> only sources in `allowed`, then the mark in `guarded`
//   local-address, local-port   -> policy Local: pods and the node itself take the mark in `inside`, others in
//   `outside` no-local, refuse            -> drop, reject
// so that a change of Services changes elements of data maps and nothing else, which the kernel does in microseconds
// whatever the size of the table.
#pragma once

#include <map>

#include "base/nft/blueprint.h"
#include "servicelb/draw.h"
#include "servicelb/mark.h"
#include "servicelb/model.h"

namespace trama::servicelb {

const nft::Table& table_of(Family family);

// Where elements live, in the order in which they may be written: what is pointed at comes first.
enum class Home : std::uint8_t {
  slots,          // service id . number -> endpoint
  counted,        // the same, for services whose connections are counted
  sticky,         // service id . protocol . port . endpoint number -> endpoint: affinity
  picks,          // service id . protocol . port . number -> endpoint number
  affinity,       // service id . client -> endpoint number; rules write it
  classes,        // class -> chain
  inside,         // address . protocol . port -> mark
  outside,        //
  inside_ports,   // protocol . port -> mark
  outside_ports,  //
  guarded,        // address . protocol . port -> mark
  allowed,        // address . protocol . port . sources
  services,       // address . protocol . port -> mark
  nodeports,      // protocol . port -> mark
  vips,           // ClusterIPs in use
  ping,           // ClusterIP -> who answers echo requests
  hairpin,        // local pod . local pod
  pods,           // pod ranges of the cluster
  service_cidrs,  // ranges of ClusterIPs
  nodeport_cidrs  // addresses of this node that have node ports
};
constexpr std::size_t kHomes = static_cast<std::size_t>(Home::nodeport_cidrs) + 1;
const nft::Set& set_of(Family family, Home home);
// Homes whose data is a mark.
constexpr bool holds_marks(Home h) {
  return h == Home::services || h == Home::nodeports || (h >= Home::inside && h <= Home::guarded);
}

struct Shape {
  Classes classes;
  bool restrict_node_ports = false;  // to nodeport_cidrs; otherwise every address but loopback
};
// The whole table, elements aside.
nft::Blueprint blueprint(Family family, const Shape& shape);
// The chain of it that depends on restrict_node_ports.
nft::Blueprint::ChainRules services_chain(Family family, bool restrict_node_ports);
// The places that are no drawing: class and chain.
const std::vector<std::pair<std::uint32_t, std::string>>& fixed_classes();

// ---- elements
// ---------------------------------------------------------------------------------------------------------

// What a connection is addressed to. Of vip only the address counts, of node everything else.
struct Front {
  enum class Kind : std::uint8_t { vip, address, node };
  Kind kind = Kind::address;
  Family family = Family::v4;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  Ip ip;
  std::string to_string() const;  // "10.96.0.1:80/tcp", "node port 30080/tcp"
  friend auto operator<=>(const Front&, const Front&) = default;
};

nft::Element mark_element(const Front& front, std::uint32_t mark, std::string comment);
nft::Element vip_element(const Ip& ip, std::string comment);
nft::Element ping_element(const Ip& ip, const Ip& answers, std::string comment);
nft::Element allowed_element(const Front& front, const Cidr& sources, std::string comment);
nft::Element slot_element(std::uint32_t id, std::uint32_t slot, const Ip& ip, std::uint16_t port, std::string comment);
nft::Element sticky_element(std::uint32_t id, const Front& front, std::uint32_t number, const Ip& ip,
                            std::uint16_t port, std::string comment);
nft::Element pick_element(std::uint32_t id, const Front& front, std::uint32_t slot, std::uint32_t number);
nft::Element class_element(std::uint32_t cls, const std::string& chain);
nft::Element hairpin_element(const Ip& pod);

// ---- back from the kernel. Nothing when the bytes are not such an element.
std::optional<Front> front_in(Family family, Home home, const nft::Value& key);  // homes that hold marks
std::optional<std::uint32_t> mark_in(const nft::Value& data);
struct SlotSeen {
  std::uint32_t id = 0, slot = 0;
  Ip ip;
  std::uint16_t port = 0;
};
std::optional<SlotSeen> slot_in(Family family, const nft::Element& element);
struct StickySeen {
  std::uint32_t id = 0;
  Protocol protocol = Protocol::tcp;
  std::uint16_t front_port = 0;
  std::uint32_t number = 0;  // in picks: the slot
  Ip ip;                     // sticky
  std::uint16_t port = 0;
  std::uint32_t picked = 0;  // picks: the endpoint's number
};
std::optional<StickySeen> sticky_in(Family family, const nft::Element& element);
std::optional<StickySeen> pick_in(const nft::Element& element);

}  // namespace trama::servicelb
