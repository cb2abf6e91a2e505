// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/reconciler.h"

#include <algorithm>

#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <linux/rtnetlink.h>

#include "base/netlink/monitor.h"

namespace trama::overlay {
namespace {

constexpr const char* kDevices[] = {kDevice, kTunnelDevice, kWireguardDevice};
constexpr std::uint32_t kLoopback = 1;                  // its index in every namespace
constexpr std::uint32_t kNetconfDefault = 0xffff'fffe;  // and "all" above it: conf/default, conf/all

// These loops end together: one exception for all of them is enough, and being cancelled is none.
async::awaitable<void> until_cancelled(async::awaitable<void> loop) {
  try {
    co_await std::move(loop);
  } catch (const boost::system::system_error& e) {
    if (e.code() != async::asio::error::operation_aborted) throw;
  }
}

// The kernel port with a memory of the small part of the last observation that the status needs. Written on the
// worker while the loop waits for it, read by the loop afterwards.
struct Tap {
  Kernel& kernel;
  Observed last{};

  base::Result<Observed> observe() {
    auto seen = kernel.observe();
    if (seen) {
      last.mode = seen->mode;
      last.device = seen->device;
      last.tunnel = seen->tunnel;
      last.no_tunnel = seen->no_tunnel;
      last.wireguard = seen->wireguard;
      last.no_wireguard = seen->no_wireguard;
      last.uplinks = seen->uplinks;
      last.sysctls = seen->sysctls;
    }
    return seen;
  }
  base::Result<> apply(const Op& op) { return kernel.apply(op); }
};

// Steps that only wait for one that failed say nothing new.
std::vector<std::string> without_echoes(const std::vector<std::string>& failures) {
  std::vector<std::string> out;
  for (const auto& line : failures) {
    bool echo = std::any_of(std::begin(kDevices), std::end(kDevices), [&](const char* device) {
      return line.find(fmt::format("waits for {}", device)) != std::string::npos;
    });
    if (!echo) out.push_back(line);
  }
  return out;
}

}  // namespace

struct Reconciler::Core {
  using Loop = async::Reconciler<Desired, Tap>;

  Core(async::Latest<Desired>& latest, Kernel& port, async::asio::any_io_executor where, Options o, OnStatus report)
      : want(latest),
        tap{port},
        worker(where),
        options(o),
        on_status(std::move(report)),
        loop(want, tap, where, Loop::Options{"overlay", o.refresh, o.settle},
             [this](const async::PassReport& r) { finished(r); }) {}

  void finished(const async::PassReport& report) {
    Status status;
    status.generation = report.generation;
    status.operations = report.operations;
    status.in_sync = report.failures.empty();
    status.mode = tap.last.mode;
    status.rp_filter = effective_rp_filter(tap.last);
    if (auto desired = want.get(); desired && !desired->absent()) {
      status.mtu = pod_mtu(*desired, tap.last);
      status.vxlan_mtu = wanted_mtu(*desired, tap.last);
      if (status.in_sync || (tap.last.tunnel && tap.last.tunnel->up))
        status.tunnel_mtu = wanted_tunnel_mtu(*desired, tap.last);
      status.wireguard = wireguard_of(*desired);
      if (desired->wireguard) status.no_wireguard = tap.last.no_wireguard;
      status.peers = admit(*desired).peers.size();
      status.problems = problems(*desired, tap.last);
      auto uplink = tap.last.uplinks.find(desired->underlay);
      if (uplink != tap.last.uplinks.end()) status.uplink = uplink->second.name;
      for (const auto& ip : tap.last.mode == Mode::nexthop ? uplinks_of(*desired) : std::vector{desired->underlay}) {
        UplinkStatus u{ip, std::nullopt, 0, 0};
        if (auto link = tap.last.uplinks.find(ip); link != tap.last.uplinks.end()) u.link = link->second;
        auto mtu = uplink_mtu(*desired, tap.last, ip);
        if (mtu) u.mtu = overlay_mtu(*desired, mtu);
        if (mtu && status.tunnel_mtu) u.tunnel_mtu = tunnel_mtu(*desired, mtu);
        status.uplinks.push_back(std::move(u));
      }
      status.direct_mtu = wanted_direct_mtu(*desired, tap.last);
      if (status.direct_mtu && uplink != tap.last.uplinks.end()) status.plain_link = uplink->second;
    }
    for (auto& line : without_echoes(report.failures)) status.problems.push_back(std::move(line));
    // Made in this pass: what its key is, the next one sees.
    bool expected = status.in_sync && status.mtu > 0 && want.get()->wireguard && status.no_wireguard.empty();
    if (expected && !status.wireguard && report.operations > 0) loop.wake();
    on_status(status);
  }

  // Once it can carry packets: what peers are told of it then stays true.
  std::optional<WireguardStatus> wireguard_of(const Desired& desired) const {
    auto mtu = wanted_wireguard_mtu(desired, tap.last);
    const auto& device = tap.last.wireguard;
    if (mtu == 0 || !device || !device->up || !device->own_key || device->port != desired.wireguard_port) return {};
    return WireguardStatus{device->index, device->key, device->port, mtu};
  }

  bool concerns_us(const netlink::Monitor::Seen& seen) const {
    auto ours = [&](std::uint32_t link) {
      if (tap.last.device && tap.last.device->index.value == link) return true;
      if (tap.last.tunnel && tap.last.tunnel->index.value == link) return true;
      if (tap.last.wireguard && tap.last.wireguard->index.value == link) return true;
      return std::any_of(tap.last.uplinks.begin(), tap.last.uplinks.end(),
                         [&](auto& u) { return u.second.index.value == link; });
    };
    switch (seen.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK: return ours(seen.link);
      // Of the address changes on other links only those matter that can make an uplink.
      case RTM_NEWADDR:
      case RTM_DELADDR: return ours(seen.link) || seen.scope == RT_SCOPE_UNIVERSE;
      // Neighbours of other links come and go all day.
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH: return tap.last.device && tap.last.device->index.value == seen.link;
      // Routes to local pods carry the same protocol; fences have no link, or lo.
      case RTM_NEWROUTE:
      case RTM_DELROUTE: return seen.protocol == kRouteProtocol && (seen.link <= kLoopback || ours(seen.link));
      case RTM_NEWNEXTHOP:
      case RTM_DELNEXTHOP: return seen.protocol == kRouteProtocol;
      case RTM_NEWNETCONF:
      case RTM_DELNETCONF: return seen.link >= kNetconfDefault || ours(seen.link);
      default: return true;  // lost events
    }
  }

  async::awaitable<void> watch_routing() {
    auto ex = co_await async::asio::this_coro::executor;
    std::vector<unsigned> groups{RTNLGRP_LINK,        RTNLGRP_NEIGH,        RTNLGRP_IPV4_IFADDR,
                                 RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,   RTNLGRP_IPV6_ROUTE,
                                 RTNLGRP_NEXTHOP,     RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};
    auto monitor = netlink::Monitor::open(ex, groups);
    if (!monitor) {  // an old kernel without nexthop events
      std::erase(groups, static_cast<unsigned>(RTNLGRP_NEXTHOP));
      monitor = netlink::Monitor::open(ex, groups);
    }
    if (!monitor) {
      base::logger("overlay")->warn("{}; changes by others are noticed every {} ms only", monitor.error().to_string(),
                                    options.refresh.count());
      co_return;
    }
    auto on_event = [this](netlink::Monitor::Seen seen) {
      if (concerns_us(seen)) loop.wake();
    };
    co_await monitor->run(on_event);
  }

  async::awaitable<void> watch_guards() {
    auto ask = [this] { return tap.kernel.guards_touched(); };
    moved.emplace(co_await async::asio::this_coro::executor);
    for (;;) {
      (void)co_await moved->wait_for(options.guard_poll);
      if (!want.get()) continue;
      bool touched = co_await async::run_on(worker, ask);
      if (touched) loop.wake();
    }
  }

  // The kernel says nothing when keys and peers of a device change.
  async::awaitable<void> watch_wireguard() {
    auto ask = [this] { return tap.kernel.wireguard_touched(); };
    for (;;) {
      auto pause = async::sleep_for(options.wireguard_poll);
      co_await std::move(pause);
      auto wanted = want.get();
      if (!wanted || !wanted->wireguard) continue;
      bool touched = co_await async::run_on(worker, ask);
      if (touched) loop.wake();
    }
  }

  async::Latest<Desired>& want;
  Tap tap;
  async::asio::any_io_executor worker;
  Options options;
  OnStatus on_status;
  Loop loop;
  std::optional<async::Event> moved;  // while somebody waits for it
};

Reconciler::Reconciler(async::Latest<Desired>& want, Kernel& kernel, async::asio::any_io_executor worker,
                       Options options, OnStatus on_status)
    : core_(std::make_unique<Core>(want, kernel, std::move(worker), options, std::move(on_status))) {}
Reconciler::~Reconciler() = default;

async::awaitable<void> Reconciler::run() {
  using namespace async::asio::experimental::awaitable_operators;
  auto routing = until_cancelled(core_->watch_routing());
  auto guards = until_cancelled(core_->watch_guards());
  auto wireguard = until_cancelled(core_->watch_wireguard());
  auto loop = until_cancelled(core_->loop.run());
  co_await (std::move(loop) && std::move(routing) && std::move(guards) && std::move(wireguard));
}

void Reconciler::wake() { core_->loop.wake(); }
void Reconciler::filter_moved() {
  if (core_->moved) core_->moved->set();
}
std::uint64_t Reconciler::reconciled_generation() const { return core_->loop.reconciled_generation(); }
std::uint64_t Reconciler::passes() const { return core_->loop.passes(); }
const std::vector<std::string>& Reconciler::last_plan() const { return core_->loop.last_plan(); }

}  // namespace trama::overlay
