// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/kernel_linux.h"

#include <algorithm>
#include <set>
#include <thread>
#include <tuple>

#include <linux/membarrier.h>
#include <linux/netlink.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/netlink/conntrack.h"

namespace trama::servicelb {

Result<std::unique_ptr<LinuxKernel>> LinuxKernel::open(nft::Session& session) {
  auto conntrack = netlink::Client::open(NETLINK_NETFILTER);
  if (!conntrack) return std::move(conntrack).error().in("conntrack");
  return std::unique_ptr<LinuxKernel>(new LinuxKernel(session, std::move(*conntrack)));
}

Result<> LinuxKernel::commit(nft::Batch& batch) { return session_.commit(batch); }
void LinuxKernel::wait_for_packets() {
  // Packets are looked at under RCU, and this is synchronize_rcu() (kernel/sched/membarrier.c): some 10 ms. A kernel
  // with nohz_full refuses it; then a pause must do.
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}
Result<std::uint64_t> LinuxKernel::epoch() { return session_.epoch(); }
Result<std::string> LinuxKernel::damage(const nft::Blueprint& blueprint, std::map<std::string, std::size_t>& counts) {
  return nft::damage(session_, blueprint, &counts);
}

Result<std::vector<nft::Element>> LinuxKernel::elements(const nft::Table& table, const nft::Set& set) {
  auto seen = session_.elements(table, set);
  if (!seen && seen.error().is(std::errc::no_such_file_or_directory)) return std::vector<nft::Element>{};
  return seen;
}

Result<std::size_t> LinuxKernel::forget_flows(const std::vector<FlowsOf>& stale) {
  std::size_t deleted = 0;
  for (Family family : kFamilies) {
    std::unordered_map<std::uint32_t, const FlowsOf*> by_id;
    std::set<std::tuple<std::uint8_t, Ip, std::uint16_t>> fresh_ips;
    std::set<std::pair<std::uint8_t, std::uint16_t>> fresh_ports;
    constexpr auto kUdp = static_cast<std::uint8_t>(Protocol::udp);
    bool others = false;  // than UDP matter
    for (const auto& s : stale) {
      if (s.family != family) continue;
      by_id[s.id] = &s;
      others |= s.connections;
      for (const auto& front : s.untranslated) {
        auto protocol = static_cast<std::uint8_t>(front.protocol);
        others |= protocol != kUdp;
        if (front.kind == Front::Kind::address)
          fresh_ips.insert({protocol, front.ip, front.port});
        else
          fresh_ports.insert({protocol, front.port});
      }
    }
    if (by_id.empty()) continue;
    netlink::FlowFilter filter;
    filter.family = family;
    if (!others) filter.protocol = kUdp;
    // One service: let the kernel look at its mark. Flows without a mark matter only with new front ends.
    if (by_id.size() == 1 && fresh_ips.empty() && fresh_ports.empty())
      filter.mark = by_id.begin()->first << kIdShift, filter.mark_mask = kIdMask;
    auto ask = netlink::list_flows(filter);
    auto reply = conntrack_.dump(ask);
    if (!reply) return std::move(reply).error();
    std::vector<netlink::Request> deletions;
    for (const auto& part : *reply) {
      auto flow = netlink::decode_flow(part);
      if (!flow) return std::move(flow).error();
      if (!filter.matches(*flow)) continue;
      bool gone = false;
      if (auto it = by_id.find(id_of(flow->mark)); it != by_id.end() && flow->destination_translated()) {
        const auto& allowed = it->second->endpoints;
        gone = (flow->protocol == kUdp || it->second->connections) &&
               !std::binary_search(allowed.begin(), allowed.end(), flow->reply_source);
      } else if (!flow->destination_translated()) {
        // Began without the front end's rule. To a node port, or as a connection, only without an answer: it may be
        // somebody else's port. The next packet (of a connection: its repeated SYN) begins a flow that is translated.
        bool answered = flow->seen_reply();
        gone = ((flow->protocol == kUdp || !answered) &&
                fresh_ips.contains({flow->protocol, flow->destination.ip, flow->destination.port})) ||
               (!answered && fresh_ports.contains({flow->protocol, flow->destination.port}));
      }
      if (gone) deletions.push_back(netlink::delete_flow(*flow));
    }
    for (auto& result : conntrack_.batch(deletions)) {
      if (result)
        ++deleted;
      else if (!result.error().is(std::errc::no_such_file_or_directory))
        return std::move(result).error();
    }
  }
  return deleted;
}

}  // namespace trama::servicelb
