// SPDX-License-Identifier: GPL-2.0-or-later
// The two tables of servicelb: what is constant in them, how a mark is built, and what each element looks like.
//
// A new connection meets, in the nat hooks only (packets of known connections never come here):
//   services:  is the destination a ClusterIP in use?   -> clusterip
//              is it another address of a Service range? -> drop
//              is it an address of this node?            -> nodeports: address the mark by (protocol, port)
//   clusterip: services: (address, protocol, port) -> mark = service id, class; nothing -> refuse
//   class:     the number of slots -> a chain that draws one of them: slots: (service id, number) -> endpoint
// so that a change of Services changes elements of data maps and nothing else, which the kernel does in microseconds
// whatever the size of the table.
#pragma once

#include <map>

#include "base/nft/blueprint.h"
#include "servicelb/model.h"

namespace trama::servicelb {

using base::Family;

// ---- the ct mark ----------------------------------------------------------------------------------------------------
//   31            12 11 10           0
//   | service id    | M |   class    |     M: masquerade, whatever the source
constexpr std::uint32_t kIdShift = 12;
constexpr std::uint32_t kIdMask = 0xfffff000;
constexpr std::uint32_t kMaxId = 0xfffff;
constexpr std::uint32_t kMasquerade = 0x800;
constexpr std::uint32_t kClassMask = 0x7ff;
// Classes: 1…960 are the number of slots itself; larger numbers of slots get one of 961…1000 on demand.
// 0x400… is kept for session affinity, which does not exist yet.
constexpr std::uint32_t kDirectClasses = 960;
constexpr std::uint32_t kLastClass = 1000;
constexpr std::uint32_t kRefuseClass = 0x3ff;  // no endpoints: TCP reset, ICMP port unreachable
constexpr std::uint32_t mark_of(std::uint32_t id, std::uint32_t cls) { return id << kIdShift | cls; }
constexpr std::uint32_t id_of(std::uint32_t mark) { return mark >> kIdShift; }

// Class number -> number of slots, for one family.
using Classes = std::map<std::uint32_t, std::uint32_t>;

constexpr std::array<Family, 2> kFamilies = {Family::v4, Family::v6};
constexpr std::size_t index_of(Family f) { return f == Family::v6 ? 1 : 0; }

const nft::Table& table_of(Family family);

struct Sets {
  nft::Set vips;           // ClusterIPs in use
  nft::Set services;       // ClusterIP . protocol . port -> mark
  nft::Set nodeports;      // protocol . port -> mark
  nft::Set slots;          // service id . number -> endpoint
  nft::Set classes;        // class -> chain
  nft::Set hairpin;        // local pod . local pod
  nft::Set pods;           // pod ranges of the cluster
  nft::Set service_cidrs;  // ranges of ClusterIPs
  std::vector<const nft::Set*> all() const {
    return {&vips, &services, &nodeports, &slots, &classes, &hairpin, &pods, &service_cidrs};
  }
};
const Sets& sets_of(Family family);

std::string class_chain_name(std::uint32_t slots);  // "n3"
nft::Blueprint::ChainRules class_chain(Family family, std::uint32_t slots);
// The whole table for these classes, elements aside.
nft::Blueprint blueprint(Family family, const Classes& classes);

// ---- elements
// ---------------------------------------------------------------------------------------------------------

// What a connection is addressed to. kind vip has only the address.
struct Front {
  enum class Kind : std::uint8_t { vip, cluster, node };
  Kind kind = Kind::cluster;
  Family family = Family::v4;
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  Ip ip;                          // unused with node ports
  std::string to_string() const;  // "10.96.0.1:80/tcp", "node port 30080/tcp"
  friend auto operator<=>(const Front&, const Front&) = default;
};

const nft::Set& set_of(const Front& front);
nft::Element front_element(const Front& front, std::uint32_t mark, std::string comment);
nft::Element slot_element(std::uint32_t id, std::uint32_t slot, const Ip& ip, std::uint16_t port, std::string comment);
nft::Element class_element(std::uint32_t cls, const std::string& chain);
nft::Element hairpin_element(const Ip& pod);

// Back from the kernel. Nothing when the bytes are not such a key.
std::optional<Front> front_of_services_key(Family family, const nft::Value& key);
std::optional<Front> front_of_nodeports_key(Family family, const nft::Value& key);
std::optional<std::uint32_t> mark_in(const nft::Value& data);
struct SlotSeen {
  std::uint32_t id = 0, slot = 0;
  Ip ip;
  std::uint16_t port = 0;
};
std::optional<SlotSeen> slot_in(Family family, const nft::Element& element);

}  // namespace trama::servicelb
