// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/bench/overlay_throughput.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/sockaddr.h"
#include "overlay/tunnel/packet.h"
#include "overlay/tunnel/session.h"
#include "overlay/tunnel/tun_device.h"
#include "tests/kernel/overlay/whole_node.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace trama::bench {
namespace {

using namespace overlay;
namespace test = trama::overlay::test;
using test::Socket;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr auto kTime = std::chrono::milliseconds(700);

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench_overlay: %s\n", why.c_str());
  std::_Exit(1);
}

double gbits(const test::PrivateNetns& from, const test::PrivateNetns& to, const Ip& address) {
  Socket server(to, address.family(), SOCK_STREAM), client(from, address.family(), SOCK_STREAM);
  listen(server.fd(), 1);
  if (!client.connect_to({address, server.port()})) die("no connection between the pods");
  base::UniqueFd accepted(accept(server.fd(), nullptr, nullptr));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::vector<char> chunk(256 * 1024, 'x');
    while (!stop && send(client.fd(), chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0) continue;
    shutdown(client.fd(), SHUT_RDWR);
  });
  std::vector<char> buffer(256 * 1024);
  auto warm = Clock::now() + std::chrono::milliseconds(150);
  while (Clock::now() < warm) (void)!recv(accepted.get(), buffer.data(), buffer.size(), 0);
  std::uint64_t bytes = 0;
  auto begin = Clock::now();
  while (Clock::now() - begin < kTime) {
    auto n = recv(accepted.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) die("the connection has ended");
    bytes += static_cast<std::uint64_t>(n);
  }
  auto seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  stop = true;
  while (recv(accepted.get(), buffer.data(), buffer.size(), 0) > 0) continue;
  writer.join();
  return static_cast<double>(bytes) * 8 / seconds / 1e9;
}

// TUN and UDP as a person would join them who knows about large pieces: what the tunnel does, without its keys and
// without looking at who sends what. One thread for each end, as a single connection has.
class BarePipe {
 public:
  BarePipe(const test::Node& node, const Ip& peer) {
    node.host.netns().run([&] {
      auto held = tunnel::hold_tun("bare");
      if (!held) die(held.error().to_string());
      hold_ = std::move(*held);
      auto queues = tunnel::attach_tun("bare", 1);
      if (!queues) die(queues.error().to_string());
      tun_ = std::move(queues->front());
    });
    socket_.emplace(node.host.netns(), Family::v4, SOCK_DGRAM, base::IpPort{node.desired.underlay, 7000});
    int on = 1, size = 8 << 20;
    setsockopt(socket_->fd(), SOL_UDP, UDP_GRO, &on, sizeof on);
    setsockopt(socket_->fd(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(socket_->fd(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    if (!socket_->connect_to({peer, 7000})) die("connect the floor");
    thread_ = std::thread([this] { run(); });
  }
  ~BarePipe() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run() {
    while (!stop_) {
      pollfd p[2] = {{socket_->fd(), POLLIN, 0}, {tun_.get(), POLLIN, 0}};
      if (poll(p, 2, 20) <= 0) continue;
      if (p[0].revents) receive();
      if (p[1].revents) transmit();
    }
  }
  void transmit() {
    for (int i = 0; i < 64; ++i) {
      auto n = read(tun_.get(), piece_.data(), piece_.size());
      if (n <= 0) return;
      tunnel::VnetHeader vnet;
      std::memcpy(&vnet, piece_.data(), sizeof vnet);
      tunnel::Cutter cutter;
      if (!cutter.start(vnet, std::span(piece_).subspan(sizeof vnet, static_cast<std::size_t>(n) - sizeof vnet)))
        continue;
      std::size_t used = 0, segment = cutter.next_size();
      while (!cutter.done()) {
        auto size = cutter.next_size();
        if (used + size > 65'000) send_out(std::exchange(used, 0), segment);
        cutter.next(out_.data() + used);
        used += size;
      }
      send_out(used, segment);
    }
  }
  void send_out(std::size_t size, std::size_t segment) {
    iovec v{out_.data(), size};
    msghdr m{};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> control{};
    if (size > segment) {
      m.msg_control = control.data();
      m.msg_controllen = control.size();
      auto* c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_UDP;
      c->cmsg_type = UDP_SEGMENT;
      c->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
      auto s = static_cast<std::uint16_t>(segment);
      std::memcpy(CMSG_DATA(c), &s, sizeof s);
    }
    (void)!sendmsg(socket_->fd(), &m, MSG_NOSIGNAL);
  }
  void receive() {
    auto write = [this](tunnel::Joiner::Pieces pieces) {
      (void)!writev(tun_.get(), pieces.data(), static_cast<int>(pieces.size()));
    };
    for (int i = 0; i < 8; ++i) {
      iovec v{in_.data(), in_.size()};
      msghdr m{};
      m.msg_iov = &v;
      m.msg_iovlen = 1;
      alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
      m.msg_control = control.data();
      m.msg_controllen = control.size();
      auto n = recvmsg(socket_->fd(), &m, MSG_DONTWAIT);
      if (n <= 0) return;
      auto segment = static_cast<std::size_t>(n);
      for (auto* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO) continue;
        int s = 0;
        std::memcpy(&s, CMSG_DATA(c), sizeof s);
        if (s > 0) segment = static_cast<std::size_t>(s);
      }
      auto whole = std::span(in_).first(static_cast<std::size_t>(n));
      for (std::size_t at = 0; at < whole.size(); at += segment)
        joiner_.add(whole.subspan(at, std::min(segment, whole.size() - at)), write);
      joiner_.flush(write);
    }
  }

  base::UniqueFd hold_, tun_;
  std::optional<Socket> socket_;
  std::atomic<bool> stop_{false};
  std::array<std::byte, 65'536 + 64> piece_, out_, in_;
  tunnel::Joiner joiner_;
  std::thread thread_;
};

// The floor's nodes: no overlay of ours, one route into the pipe.
struct BareLab {
  BareLab() : lab(2, std::nullopt) {
    for (unsigned n : {1u, 2u}) {
      auto& node = lab[n];
      pipes.push_back(std::make_unique<BarePipe>(node, lab[3 - n].desired.underlay));
      node.host.shell(
          fmt::format("sysctl -qw net.ipv4.ip_forward=1; ip link set bare mtu 1436 up; ip route add "
                      "10.244.{}.0/24 dev bare",
                      3 - n));
    }
  }
  test::Lab lab;
  std::vector<std::unique_ptr<BarePipe>> pipes;
};

void by_hand(test::Lab& lab) {
  for (unsigned n : {1u, 2u})
    lab[n].host.shell(fmt::format(
        "sysctl -qw net.ipv4.ip_forward=1; ip link add vx0 address 02:00:00:00:01:0{0} mtu 1450 type vxlan id 5 local "
        "192.168.77.{0} dstport 4790 nolearning udpcsum; ip link set vx0 up; ip addr add 10.244.{0}.0/32 dev vx0; "
        "ip neigh add 10.244.{1}.0 lladdr 02:00:00:00:01:0{1} dev vx0; bridge fdb add 02:00:00:00:01:0{1} dev vx0 dst "
        "192.168.77.{1}; ip route add 10.244.{1}.0/24 via 10.244.{1}.0 dev vx0 onlink",
        n, 3 - n));
}

// Plain routes, the floor of --direct-routing: nobody looks at what comes.
void plain_by_hand(test::Lab& lab) {
  for (unsigned n : {1u, 2u})
    lab[n].host.shell(fmt::format(
        "sysctl -qw net.ipv4.ip_forward=1; ip route add 10.244.{0}.0/24 via 192.168.77.{0} dev eth0", 3 - n));
}

void at_full_mtu(test::Lab& lab) {
  for (unsigned n : {1u, 2u}) {
    lab[n].host.shell("ip link set pod0 mtu 1500");
    if (lab[n].pod.shell("ip link set eth0 mtu 1500") != 0) die("the pods' MTU");
  }
}

double seal_rate(bool aes) {
  peers::TunnelPort::Keys keys;
  keys.node = "n2";
  keys.aes = aes;
  auto session = tunnel::Session::make(keys, 1);
  if (!session) die(session.error().to_string());
  std::vector<std::byte> datagram(1440 + tunnel::kSealedOverhead);
  constexpr int kPackets = 200'000;
  auto begin = Clock::now();
  for (int i = 0; i < kPackets; ++i) (*session)->seal(0, datagram.data(), 1440);
  auto seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return 1440.0 * 8 * kPackets / seconds / 1e9;
}

}  // namespace

void throughput(std::vector<Row>& rows) {
  test::Lab hand(2, std::nullopt), ours(2, std::nullopt), sealed(2, std::nullopt);
  test::Lab routed(2, std::nullopt), direct_lab(2, std::nullopt);
  by_hand(hand);
  plain_by_hand(routed);
  at_full_mtu(routed);
  at_full_mtu(direct_lab);
  ours.converge();
  BareLab bare;
  test::TestAuthority authority;
  test::Demands demands;
  demands.encrypt = true;
  std::vector<std::unique_ptr<test::WholeNode>> nodes;
  for (unsigned n : {1u, 2u}) nodes.push_back(std::make_unique<test::WholeNode>(sealed[n], authority, demands));
  test::Demands on_link;
  on_link.direct = true;
  std::vector<std::unique_ptr<test::WholeNode>> neighbours;
  for (unsigned n : {1u, 2u})
    neighbours.push_back(std::make_unique<test::WholeNode>(direct_lab[n], authority, on_link));
  for (unsigned n : {0u, 1u})
    if (!neighbours[n]->takes(n == 0 ? "n2" : "n1", peers::Use::direct)) die("plain routes do not come up");
  for (unsigned n : {0u, 1u})
    if (!nodes[n]->takes(n == 0 ? "n2" : "n1", peers::Use::tunnel)) die("the tunnel does not come up");
  test::Lab line(3, std::nullopt);
  for (auto [here, there] : {std::pair{1u, 3u}, {3u, 1u}})
    line[here].host.shell(
        "nft 'add table inet cut; add chain inet cut in { type filter hook prerouting priority -400; }; add rule inet "
        "cut in ip saddr " +
        line[there].desired.underlay.to_string() + " drop'");
  std::vector<std::unique_ptr<test::WholeNode>> on_line;
  for (unsigned n : {1u, 2u, 3u}) on_line.push_back(std::make_unique<test::WholeNode>(line[n], authority, demands));
  for (unsigned n : {0u, 2u})
    if (!on_line[n]->takes(n == 0 ? "n3" : "n1", peers::Use::relay, 20'000)) die("the relay does not come up");
  std::vector<double> by_hands, vxlan, floor, tunnel, routes_by_hand, direct, relay;
  for (int round = 0; round < kRounds; ++round) {
    by_hands.push_back(gbits(hand[1].pod, hand[2].pod, hand[2].pod4()));
    vxlan.push_back(gbits(ours[1].pod, ours[2].pod, ours[2].pod4()));
    floor.push_back(gbits(bare.lab[1].pod, bare.lab[2].pod, bare.lab[2].pod4()));
    tunnel.push_back(gbits(sealed[1].pod, sealed[2].pod, sealed[2].pod4()));
    relay.push_back(gbits(line[1].pod, line[3].pod, line[3].pod4()));
    routes_by_hand.push_back(gbits(routed[1].pod, routed[2].pod, routed[2].pod4()));
    direct.push_back(gbits(direct_lab[1].pod, direct_lab[2].pod, direct_lab[2].pod4()));
  }
  auto most = [](const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); };
  rows.push_back({"overlay.vxlan.throughput", most(vxlan), "Gbit/s", most(by_hands), 0, 0.97 * most(by_hands), true});
  rows.push_back({"overlay.tunnel.throughput", most(tunnel), "Gbit/s", most(floor), 0, 0.60 * most(floor), true});
  rows.push_back({"overlay.relay.throughput", most(relay), "Gbit/s", most(tunnel), 0, 0.25 * most(tunnel), true});
  // Against plain routes by hand, which let anybody in, and against our own VXLAN.
  rows.push_back(
      {"overlay.direct.throughput", most(direct), "Gbit/s", most(routes_by_hand), most(vxlan), most(vxlan), true});
  for (bool aes : {true, false}) {
    double best = 0;
    for (int i = 0; i < 3; ++i) best = std::max(best, seal_rate(aes));
    rows.push_back({std::string("overlay.tunnel.seal.") + (aes ? "aes" : "chacha"), best, "Gbit/s"});
  }
}

}  // namespace trama::bench
