// SPDX-License-Identifier: GPL-2.0-or-later
// Elements of the maps, both ways.
#include <cstring>

#include <fmt/format.h>

#include "servicelb/ruleset.h"

namespace trama::servicelb {
namespace {
using nft::Bytes;
using nft::Element;
using nft::Value;

std::uint32_t host32(Bytes b) {
  std::uint32_t v = 0;
  std::memcpy(&v, b.data(), sizeof v);
  return v;
}
std::uint16_t be16(Bytes b) {
  return static_cast<std::uint16_t>(static_cast<unsigned>(b[0]) << 8 | static_cast<unsigned>(b[1]));
}
std::optional<Protocol> protocol_in(std::byte b) {
  switch (static_cast<unsigned>(b)) {
    case 6: return Protocol::tcp;
    case 17: return Protocol::udp;
    case 132: return Protocol::sctp;
    default: return std::nullopt;
  }
}
std::uint8_t number_of(Protocol p) { return static_cast<std::uint8_t>(p); }

Value address_key(const Front& f) { return Value().ip(f.ip).proto(number_of(f.protocol)).port(f.port); }
Value front_key(const Front& f) {
  return f.kind == Front::Kind::node ? Value().proto(number_of(f.protocol)).port(f.port) : address_key(f);
}
Element element(Value key, Value data, std::string comment) {
  Element e;
  e.key = key, e.data = data, e.comment = nft::clean_comment(comment);
  return e;
}
}  // namespace

std::string Front::to_string() const {
  switch (kind) {
    case Kind::vip: return ip.to_string();
    case Kind::address: return fmt::format("{}/{}", base::IpPort{ip, port}.to_string(), servicelb::to_string(protocol));
    case Kind::node: return fmt::format("node port {}/{}", port, servicelb::to_string(protocol));
  }
  return "?";
}

Element mark_element(const Front& front, std::uint32_t mark, std::string comment) {
  return element(front_key(front), Value().mark(mark), std::move(comment));
}
Element vip_element(const Ip& ip, std::string comment) { return element(Value().ip(ip), {}, std::move(comment)); }
Element ping_element(const Ip& ip, const Ip& answers, std::string comment) {
  return element(Value().ip(ip), Value().ip(answers), std::move(comment));
}
Element allowed_element(const Front& front, const Cidr& sources, std::string comment) {
  Element e = element(address_key(front).ip(sources.address()), {}, std::move(comment));
  if (sources.length() < sources.address().bits()) e.key_end = address_key(front).ip(sources.last());
  return e;
}
Element slot_element(std::uint32_t id, std::uint32_t slot, const Ip& ip, std::uint16_t port, std::string comment) {
  return element(Value().mark(id << kIdShift).host32(slot), Value().ip(ip).port(port), std::move(comment));
}
Element sticky_element(std::uint32_t id, const Front& front, std::uint32_t number, const Ip& ip, std::uint16_t port,
                       std::string comment) {
  return element(Value().mark(id << kIdShift).proto(number_of(front.protocol)).port(front.port).host32(number),
                 Value().ip(ip).port(port), std::move(comment));
}
Element pick_element(std::uint32_t id, const Front& front, std::uint32_t slot, std::uint32_t number) {
  return element(Value().mark(id << kIdShift).proto(number_of(front.protocol)).port(front.port).host32(slot),
                 Value().host32(number), {});
}
Element class_element(std::uint32_t cls, const std::string& name) {
  Element e;
  e.key.mark(cls);
  e.chain = name;
  return e;
}
Element hairpin_element(const Ip& pod) { return element(Value().ip(pod).ip(pod), {}, {}); }

std::optional<Front> front_in(Family family, Home home, const Value& key) {
  bool port_only = home == Home::nodeports || home == Home::inside_ports || home == Home::outside_ports;
  auto b = key.bytes();
  std::size_t n = port_only ? 0 : layout(family).size;
  if (b.size() != n + 8) return std::nullopt;
  auto protocol = protocol_in(b[n]);
  if (!protocol) return std::nullopt;
  Front f;
  f.kind = port_only ? Front::Kind::node : Front::Kind::address;
  f.family = family, f.protocol = *protocol, f.port = be16(b.subspan(n + 4));
  if (!port_only) {
    auto ip = Ip::from_bytes(b.first(n));
    if (!ip) return std::nullopt;
    f.ip = *ip;
  }
  return f;
}
std::optional<std::uint32_t> mark_in(const Value& data) {
  if (data.size() != 4) return std::nullopt;
  return host32(data.bytes());
}
std::optional<SlotSeen> slot_in(Family family, const Element& e) {
  std::size_t n = layout(family).size;
  if (e.key.size() != 8 || e.data.size() != n + 4) return std::nullopt;
  auto ip = Ip::from_bytes(e.data.bytes().first(n));
  if (!ip) return std::nullopt;
  SlotSeen s;
  s.id = id_of(host32(e.key.bytes())), s.slot = host32(e.key.bytes().subspan(4));
  s.ip = *ip, s.port = be16(e.data.bytes().subspan(n));
  return s;
}
namespace {
std::optional<StickySeen> sticky_key(const Value& key) {
  auto b = key.bytes();
  if (b.size() != 16) return std::nullopt;
  auto protocol = protocol_in(b[4]);
  if (!protocol) return std::nullopt;
  StickySeen s;
  s.id = id_of(host32(b)), s.protocol = *protocol, s.front_port = be16(b.subspan(8)), s.number = host32(b.subspan(12));
  return s;
}
}  // namespace
std::optional<StickySeen> sticky_in(Family family, const Element& e) {
  auto s = sticky_key(e.key);
  std::size_t n = layout(family).size;
  if (!s || e.data.size() != n + 4) return std::nullopt;
  auto ip = Ip::from_bytes(e.data.bytes().first(n));
  if (!ip) return std::nullopt;
  s->ip = *ip, s->port = be16(e.data.bytes().subspan(n));
  return s;
}
std::optional<StickySeen> pick_in(const Element& e) {
  auto s = sticky_key(e.key);
  if (!s || e.data.size() != 4) return std::nullopt;
  s->picked = host32(e.data.bytes());
  return s;
}

}  // namespace trama::servicelb
