// SPDX-License-Identifier: GPL-2.0-or-later
// What the overlay costs, beside a floor measured in the same run.
// Every figure is the best of several rounds, ours and the floor's in turn: other load on the machine only ever adds.
// program.N: peers (dual stack) per millisecond from an empty machine to all of them in the kernel. Floor: the same
//   kernel objects as ready-made netlink requests in big batches, without observing, planning or guards.
// look.N: milliseconds to observe N peers and plan nothing. Floor: the bare dumps.
// move.N: milliseconds to notice and carry out one peer's move among N.
// rtt: microseconds (CPU) of a UDP round trip between pods. Floor: a VXLAN device set up by hand, without guards;
//   rtt.tracked is that device with connection tracking on, which masquerading and Services need anyway.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include <linux/neighbour.h>
#include <sys/socket.h>

#include "base/log.h"
#include "tests/bench/overlay_throughput.h"
#include "tests/bench/report.h"
#include "tests/kernel/overlay/lab.h"

namespace {

namespace base = trama::base;
namespace netlink = trama::netlink;
namespace nft = trama::nft;
using namespace trama::overlay;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point t) { return std::chrono::duration<double, std::milli>(Clock::now() - t).count(); }
double least(const std::vector<double>& v) { return *std::min_element(v.begin(), v.end()); }
double most(const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); }

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench_overlay: %s\n", why.c_str());
  std::_Exit(1);
}
template <class T>
T must(base::Result<T> r) {
  if (!r) die(r.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

using trama::bench::Row;

// The objects of a plan as requests that need nothing but sending.
std::vector<netlink::Request> requests_of(const std::vector<Op>& ops, base::IfIndex link) {
  std::vector<netlink::Request> out;
  for (const auto& op : ops) {
    if (auto* n = std::get_if<PutNeighbour>(&op)) {
      out.push_back(netlink::put_neighbour({link, n->ip, n->mac, NUD_PERMANENT, {}}));
    } else if (auto* h = std::get_if<PutNexthop>(&op)) {
      netlink::Nexthop nexthop;
      nexthop.id = h->nexthop.id, nexthop.link = link, nexthop.gateway = h->nexthop.gateway, nexthop.onlink = true;
      nexthop.protocol = kRouteProtocol;
      nexthop.encap = netlink::Nexthop::Encap{h->nexthop.vni, h->nexthop.to, h->nexthop.from, true};
      out.push_back(netlink::put_nexthop(nexthop));
    } else if (auto* r = std::get_if<AddRoute>(&op); r && !r->route.unreachable) {
      netlink::Route route;
      route.destination = r->route.to, route.nexthop_id = r->route.nexthop, route.source = r->route.source;
      route.mtu = r->route.mtu, route.protocol = kRouteProtocol;
      out.push_back(netlink::add_route(route));
    }
  }
  return out;
}

void program(unsigned peers, std::vector<Row>& rows) {
  std::vector<double> ours, floor, look, bare_look, move;
  for (int round = 0; round < 3; ++round) {
    test::Lab lab(1, Mode::nexthop);
    auto alone = lab[1].desired;
    auto crowd = test::node(1, peers + 1);
    auto& node = lab[1];
    node.host.netns().run([&] {
      auto session = must(nft::Session::open());
      auto kernel = must(KernelLinux::open(session, {Mode::nexthop}));
      auto client = must(netlink::Client::open(NETLINK_ROUTE));
      auto converge = [&](const Desired& d) {
        for (const auto& op : plan(d, must(kernel->observe())))
          if (auto done = kernel->apply(op); !done) die(to_text(op) + ": " + done.error().to_string());
      };
      // Both start from a node with its device up and no peers.
      converge(alone);
      auto start = Clock::now();
      converge(crowd);
      ours.push_back(peers / ms_since(start));
      start = Clock::now();
      if (!plan(crowd, must(kernel->observe())).empty()) die("not converged");
      look.push_back(ms_since(start));
      start = Clock::now();
      for (auto f : {Family::v4, Family::v6}) {
        auto routes = netlink::list_routes(f, kRouteProtocol);
        auto neighbours = netlink::list_neighbours(f);
        (void)must(client.dump(routes));
        (void)must(client.dump(neighbours));
      }
      auto nexthops = netlink::list_nexthops();
      (void)must(client.dump(nexthops));
      bare_look.push_back(ms_since(start));
      auto moved = crowd;
      moved.peers.at("n2").underlay = test::ip("192.168.99.2");
      start = Clock::now();
      converge(moved);
      move.push_back(ms_since(start));
      converge(alone);
      auto seen = must(kernel->observe());
      auto requests = requests_of(plan(crowd, seen), seen.device->index);
      start = Clock::now();
      for (auto& result : client.batch(requests)) must(result);
      floor.push_back(peers / ms_since(start));
    });
  }
  // All of 5,000 in 200 ms.
  double goal = peers == 5000 ? 25 : 0;
  rows.push_back({fmt::format("overlay.program.{}", peers), most(ours), "peers/ms", most(floor), 0, goal, true});
  rows.push_back({fmt::format("overlay.look.{}", peers), least(look), "ms", least(bare_look)});
  rows.push_back({fmt::format("overlay.move.{}", peers), least(move), "ms", 0});
}

// Sending runs the whole path, both nodes, on the sender's time: so the thread's own clock is the path's cost, and
// other load on the machine does not count.
double cpu_us() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

double round_trip(const test::Node& from, const test::Node& to) {
  test::Socket server(to.pod, Family::v4, SOCK_DGRAM), client(from.pod, Family::v4, SOCK_DGRAM);
  if (!client.send_to({to.pod4(), server.port()}, "hello")) die("send");
  auto hello = server.receive();
  if (!hello || !server.send_to(hello->second, "hello") || !client.receive()) die("no way between the pods");
  for (auto [a, b] : {std::pair{&client, base::IpPort{to.pod4(), server.port()}}, std::pair{&server, hello->second}})
    if (!a->connect_to(b)) die("connect");
  constexpr int kTrips = 2000;
  char byte = 'x';
  timeval limit{2, 0};
  for (int fd : {server.fd(), client.fd()}) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  double start = cpu_us();
  for (int i = 0; i < kTrips; ++i)
    if (send(client.fd(), &byte, 1, 0) != 1 || recv(server.fd(), &byte, 1, 0) != 1 ||
        send(server.fd(), &byte, 1, 0) != 1 || recv(client.fd(), &byte, 1, 0) != 1)
      die("lost");
  return (cpu_us() - start) / kTrips;
}

// The same two nodes without trama: static FDB, neighbour and route, as a person would type them.
void by_hand(test::Lab& lab) {
  for (unsigned n : {1u, 2u}) {
    unsigned other = 3 - n;
    lab[n].host.shell(fmt::format(
        "sysctl -qw net.ipv4.ip_forward=1; ip link add vx0 address 02:00:00:00:01:0{0} mtu 1450 type vxlan id 5 local "
        "192.168.77.{0} dstport 4790 nolearning udpcsum; ip link set vx0 up; ip addr add 10.244.{0}.0/32 dev vx0; "
        "ip neigh add 10.244.{1}.0 lladdr 02:00:00:00:01:0{1} dev vx0; bridge fdb add 02:00:00:00:01:0{1} dev vx0 dst "
        "192.168.77.{1}; ip route add 10.244.{1}.0/24 via 10.244.{1}.0 dev vx0 onlink",
        n, other));
  }
}

void rtt(std::vector<Row>& rows) {
  test::Lab bare(2, Mode::nexthop), tracked(2, Mode::nexthop), nexthop(2, Mode::nexthop), fdb(2, Mode::fdb);
  by_hand(bare);
  by_hand(tracked);
  for (unsigned n : {1u, 2u})
    tracked[n].host.shell(
        "nft add table ip t; nft add chain ip t c '{ type nat hook postrouting priority 100; }'; "
        "nft add rule ip t c ip daddr 192.0.2.1 masquerade");
  nexthop.converge();
  fdb.converge();
  std::vector<double> hand, with_tracking, with_nexthop, with_fdb;
  for (int round = 0; round < 9; ++round) {  // interleaved: the machine is not quiet
    hand.push_back(round_trip(bare[1], bare[2]));
    with_tracking.push_back(round_trip(tracked[1], tracked[2]));
    with_nexthop.push_back(round_trip(nexthop[1], nexthop[2]));
    with_fdb.push_back(round_trip(fdb[1], fdb[2]));
  }
  rows.push_back({"overlay.rtt.tracked", least(with_tracking), "us", least(hand)});
  rows.push_back({"overlay.rtt.nexthop", least(with_nexthop), "us", least(hand)});
  rows.push_back({"overlay.rtt.fdb", least(with_fdb), "us", least(hand)});
}

}  // namespace

int main() {
  must(trama::base::configure_logging("error"));
  std::vector<Row> rows;
  program(500, rows);
  program(2000, rows);
  program(5000, rows);
  rtt(rows);
  trama::bench::throughput(rows);
  trama::bench::print(rows);
}
