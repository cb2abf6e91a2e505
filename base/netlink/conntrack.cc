// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

namespace trama::netlink {
namespace {

constexpr std::uint16_t kFilter = 25;           // CTA_FILTER
constexpr std::uint16_t kOrigFlags = 1;         // CTA_FILTER_ORIG_FLAGS
constexpr std::uint32_t kByProtocol = 1u << 3;  // CTA_FILTER_F_CTA_PROTO_NUM

std::uint16_t ct_type(std::uint16_t message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message);
}
nfgenmsg header(base::Family family) {
  nfgenmsg g{};
  g.nfgen_family = base::address_family(family);
  g.version = NFNETLINK_V0;
  return g;
}

// One direction: addresses and ports.
Result<> read_tuple(const Attributes& tuple, Flow& flow, base::IpPort& from, base::IpPort& to) {
  auto ip = tuple.nested(CTA_TUPLE_IP);
  auto address = [&](std::uint16_t v4, std::uint16_t v6, base::Ip& out) -> Result<> {
    Bytes raw = ip.bytes(flow.family == base::Family::v4 ? v4 : v6);
    auto parsed = base::Ip::from_bytes(raw);
    if (!parsed || parsed->family() != flow.family)
      return Error::from_errno(EBADMSG, "conntrack entry without address");
    out = *parsed;
    return {};
  };
  if (auto ok = address(CTA_IP_V4_SRC, CTA_IP_V6_SRC, from.ip); !ok) return ok;
  if (auto ok = address(CTA_IP_V4_DST, CTA_IP_V6_DST, to.ip); !ok) return ok;
  auto proto = tuple.nested(CTA_TUPLE_PROTO);
  flow.protocol = proto.get<std::uint8_t>(CTA_PROTO_NUM).value_or(0);
  from.port = ntohs(proto.get<std::uint16_t>(CTA_PROTO_SRC_PORT).value_or(0));
  to.port = ntohs(proto.get<std::uint16_t>(CTA_PROTO_DST_PORT).value_or(0));
  return {};
}
}  // namespace

bool FlowFilter::matches(const Flow& flow) const {
  return flow.family == family && (protocol == 0 || flow.protocol == protocol) &&
         (flow.mark & mark_mask) == (mark & mark_mask);
}

Request list_flows(const FlowFilter& filter) {
  Request r(ct_type(IPCTNL_MSG_CT_GET), 0, "list conntrack entries");
  r.body(header(filter.family));
  if (filter.mark_mask != 0) r.be32(CTA_MARK, filter.mark).be32(CTA_MARK_MASK, filter.mark_mask);
  if (filter.protocol != 0) {
    auto* tuple = r.begin(CTA_TUPLE_ORIG | NLA_F_NESTED);
    auto* proto = r.begin(CTA_TUPLE_PROTO | NLA_F_NESTED);
    r.u8(CTA_PROTO_NUM, filter.protocol);
    r.end(proto);
    r.end(tuple);
    auto* by = r.begin(kFilter | NLA_F_NESTED);
    r.u32(kOrigFlags, kByProtocol);
    r.end(by);
  }
  return r;
}

Request delete_flow(const Flow& flow) {
  Request r(ct_type(IPCTNL_MSG_CT_DELETE), 0, "delete a conntrack entry");
  r.body(header(flow.family));
  bool v4 = flow.family == base::Family::v4;
  auto* tuple = r.begin(CTA_TUPLE_ORIG | NLA_F_NESTED);
  auto* ip = r.begin(CTA_TUPLE_IP | NLA_F_NESTED);
  r.ip(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, flow.source.ip).ip(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, flow.destination.ip);
  r.end(ip);
  auto* proto = r.begin(CTA_TUPLE_PROTO | NLA_F_NESTED);
  r.u8(CTA_PROTO_NUM, flow.protocol)
      .be16(CTA_PROTO_SRC_PORT, flow.source.port)
      .be16(CTA_PROTO_DST_PORT, flow.destination.port);
  r.end(proto);
  r.end(tuple);
  r.be32(CTA_ID, flow.id);
  if (flow.zone != 0) r.be16(CTA_ZONE, flow.zone);
  return r;
}

Result<Flow> decode_flow(const Part& part) {
  auto g = fixed_header<nfgenmsg>(part.payload);
  if (!g) return Error::from_errno(EBADMSG, "conntrack message cut short");
  auto a = Attributes::parse(behind_header<nfgenmsg>(part.payload));
  if (!a) return std::move(a).error();
  Flow flow;
  flow.family = g->nfgen_family == AF_INET6 ? base::Family::v6 : base::Family::v4;
  if (auto ok = read_tuple(a->nested(CTA_TUPLE_REPLY), flow, flow.reply_source, flow.reply_destination); !ok)
    return std::move(ok).error();
  if (auto ok = read_tuple(a->nested(CTA_TUPLE_ORIG), flow, flow.source, flow.destination); !ok)
    return std::move(ok).error();
  flow.mark = ntohl(a->get<std::uint32_t>(CTA_MARK).value_or(0));
  flow.status = ntohl(a->get<std::uint32_t>(CTA_STATUS).value_or(0));
  flow.id = ntohl(a->get<std::uint32_t>(CTA_ID).value_or(0));
  flow.zone = ntohs(a->get<std::uint16_t>(CTA_ZONE).value_or(0));
  return flow;
}

}  // namespace trama::netlink
