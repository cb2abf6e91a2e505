// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/tc.h"

#include <algorithm>

#include <arpa/inet.h>
#include <linux/gen_stats.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <netinet/in.h>

namespace trama::netlink {
namespace {

constexpr std::uint16_t kPut = NLM_F_CREATE | NLM_F_REPLACE;
constexpr std::uint16_t kNew = NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint64_t kFastest = 4'000'000'000;    // bytes per second: 32 Gbit/s
constexpr std::uint64_t kOrderly = 125'000'000'000;  // bytes per second: fast enough not to be noticed
constexpr std::uint32_t kTicksOf10ms = 10'000'000 / 64;

template <class T>
Bytes bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

tcmsg header(IfIndex link, std::uint32_t parent, std::uint32_t handle, std::uint32_t info = 0) {
  tcmsg h{};
  h.tcm_family = AF_UNSPEC;
  h.tcm_ifindex = static_cast<int>(link.value);
  h.tcm_parent = parent;
  h.tcm_handle = handle;
  h.tcm_info = info;
  return h;
}
std::string text_of(std::uint32_t handle) { return fmt::format("{:x}:{:x}", handle >> 16, handle & 0xffff); }

// The kernel compares a random number of 32 bits with it.
std::uint32_t share_of(std::uint32_t ppm) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(0xffffffffu, std::uint64_t{ppm} * 0xffffffffu / 1'000'000));
}

template <class T>
void put_struct(Request& r, std::uint16_t type, const T& value) {
  r.put(type, bytes_of(value));
}

}  // namespace

Request put_netem(IfIndex link, std::uint32_t parent, std::uint32_t handle, const Netem& n) {
  Request r(RTM_NEWQDISC, kPut, fmt::format("put netem {} on link #{}", text_of(handle), link.value));
  r.body(header(link, parent, handle)).text(TCA_KIND, "netem");
  auto* options = r.begin(TCA_OPTIONS);
  tc_netem_qopt basic{};
  basic.limit = n.limit;
  basic.loss = share_of(n.loss_ppm);
  basic.gap = n.reorder_ppm ? 1 : 0;
  r.body(basic);
  tc_netem_reorder reorder{};
  reorder.probability = share_of(n.reorder_ppm);
  put_struct(r, TCA_NETEM_REORDER, reorder);
  tc_netem_rate rate{};
  std::uint64_t wanted = n.rate ? std::max<std::uint64_t>(1, n.rate / 8) : kOrderly;
  rate.rate = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, 0xffffffffu));
  put_struct(r, TCA_NETEM_RATE, rate);
  if (wanted > 0xffffffffu) put_struct(r, TCA_NETEM_RATE64, wanted);
  put_struct(r, TCA_NETEM_LATENCY64, static_cast<std::int64_t>(n.delay.count()));
  put_struct(r, TCA_NETEM_JITTER64, static_cast<std::int64_t>(n.jitter.count()));
  r.end(options);
  return r;
}

Request put_htb(IfIndex link, std::uint32_t handle) {
  Request r(RTM_NEWQDISC, kPut, fmt::format("put htb {} on link #{}", text_of(handle), link.value));
  r.body(header(link, TC_H_ROOT, handle)).text(TCA_KIND, "htb");
  auto* options = r.begin(TCA_OPTIONS);
  tc_htb_glob global{};
  global.version = 3;
  global.rate2quantum = 10;
  put_struct(r, TCA_HTB_INIT, global);
  r.end(options);
  return r;
}

Request put_htb_class(IfIndex link, std::uint32_t parent, std::uint32_t classid) {
  Request r(RTM_NEWTCLASS, kPut, fmt::format("put class {} on link #{}", text_of(classid), link.value));
  r.body(header(link, parent, classid)).text(TCA_KIND, "htb");
  auto* options = r.begin(TCA_OPTIONS);
  tc_htb_opt o{};
  for (auto* rate : {&o.rate, &o.ceil}) {
    rate->rate = static_cast<std::uint32_t>(kFastest);
    rate->linklayer = TC_LINKLAYER_ETHERNET;
  }
  o.buffer = o.cbuffer = kTicksOf10ms;
  o.quantum = 200'000;
  put_struct(r, TCA_HTB_PARMS, o);
  r.end(options);
  return r;
}

Request put_ingress(IfIndex link) {
  Request r(RTM_NEWQDISC, kPut, fmt::format("put ingress on link #{}", link.value));
  r.body(header(link, TC_H_INGRESS, tc_handle(0xffff))).text(TCA_KIND, "ingress");
  return r;
}

Request delete_qdisc(IfIndex link, std::uint32_t parent) {
  Request r(RTM_DELQDISC, 0, fmt::format("delete qdisc of link #{}", link.value));
  r.body(header(link, parent, parent == TC_H_INGRESS ? tc_handle(0xffff) : 0));
  return r;
}

Request create_ifb(const std::string& name) {
  Request r(RTM_NEWLINK, kNew, fmt::format("create ifb {}", name));
  r.body(ifinfomsg{});
  r.text(IFLA_IFNAME, name).u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
  auto* info = r.begin(IFLA_LINKINFO);
  r.text(IFLA_INFO_KIND, "ifb");
  r.end(info);
  return r;
}

Request list_qdiscs() {
  Request r(RTM_GETQDISC, 0, "list qdiscs");
  r.body(header({}, 0, 0));
  return r;
}

Request add_flower(IfIndex link, std::uint32_t parent, std::uint16_t priority, const TcMatch& m,
                   std::uint32_t classid) {
  std::uint16_t family = !m.family ? ETH_P_ALL : *m.family == Family::v4 ? ETH_P_IP : ETH_P_IPV6;
  Request r(RTM_NEWTFILTER, kNew, fmt::format("add filter {} on link #{}", priority, link.value));
  r.body(header(link, parent, 0, static_cast<std::uint32_t>(priority) << 16 | htons(family))).text(TCA_KIND, "flower");
  auto* options = r.begin(TCA_OPTIONS);
  r.u32(TCA_FLOWER_CLASSID, classid);
  if (m.family) r.be16(TCA_FLOWER_KEY_ETH_TYPE, family);
  if (m.destination) {
    Mac all;
    all.octets.fill(0xff);
    r.mac(TCA_FLOWER_KEY_ETH_DST, *m.destination).mac(TCA_FLOWER_KEY_ETH_DST_MASK, all);
  }
  if (m.family && m.protocol) r.u8(TCA_FLOWER_KEY_IP_PROTO, m.protocol);
  if (m.family && m.port) {
    bool tcp = m.protocol == IPPROTO_TCP;
    r.be16(tcp ? TCA_FLOWER_KEY_TCP_DST : TCA_FLOWER_KEY_UDP_DST, *m.port);
    r.be16(tcp ? TCA_FLOWER_KEY_TCP_DST_MASK : TCA_FLOWER_KEY_UDP_DST_MASK, 0xffff);
  }
  r.end(options);
  return r;
}

Request add_redirect(IfIndex link, std::uint16_t priority, IfIndex to) {
  Request r(RTM_NEWTFILTER, kNew, fmt::format("redirect what comes in on link #{}", link.value));
  r.body(header(link, tc_handle(0xffff), 0, static_cast<std::uint32_t>(priority) << 16 | htons(ETH_P_ALL)));
  r.text(TCA_KIND, "flower");
  auto* options = r.begin(TCA_OPTIONS);
  auto* actions = r.begin(TCA_FLOWER_ACT);
  auto* first = r.begin(1);
  r.text(TCA_ACT_KIND, "mirred");
  auto* how = r.begin(TCA_ACT_OPTIONS);
  tc_mirred m{};
  m.action = TC_ACT_STOLEN;
  m.eaction = TCA_EGRESS_REDIR;
  m.ifindex = to.value;
  put_struct(r, TCA_MIRRED_PARMS, m);
  r.end(how);
  r.end(first);
  r.end(actions);
  r.end(options);
  return r;
}

Result<QdiscSeen> decode_qdisc(const Part& part) {
  auto h = fixed_header<tcmsg>(part.payload);
  if (!h || part.type != RTM_NEWQDISC) return Error::from_errno(EBADMSG, "not a qdisc");
  auto attributes = Attributes::parse(behind_header<tcmsg>(part.payload));
  if (!attributes) return std::move(attributes).error();
  QdiscSeen q;
  q.link = IfIndex{static_cast<std::uint32_t>(h->tcm_ifindex)};
  q.handle = h->tcm_handle, q.parent = h->tcm_parent;
  q.kind = attributes->text(TCA_KIND);
  auto stats = attributes->nested(TCA_STATS2);
  if (auto basic = stats.get<gnet_stats_basic>(TCA_STATS_BASIC)) q.packets = basic->packets;
  if (auto queue = stats.get<gnet_stats_queue>(TCA_STATS_QUEUE)) q.drops = queue->drops;
  return q;
}

}  // namespace trama::netlink
