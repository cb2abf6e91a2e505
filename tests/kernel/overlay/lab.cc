// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/overlay/lab.h"

#include <regex>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

namespace trama::overlay::test {
namespace {

std::string checked(const PrivateNetns& ns, const std::string& command) {
  std::string out;
  int code = ns.shell("set -e; " + command, &out);
  if (code != 0) throw std::runtime_error(fmt::format("{}\nexit {}: {}", command, code, out));
  return out;
}

std::pair<sockaddr_storage, socklen_t> to_sockaddr(const base::IpPort& a) {
  sockaddr_storage s{};
  if (a.ip.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&s);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(a.port);
    std::memcpy(&v4->sin_addr, a.ip.bytes().data(), 4);
    return {s, sizeof(sockaddr_in)};
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&s);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(a.port);
  std::memcpy(&v6->sin6_addr, a.ip.bytes().data(), 16);
  return {s, sizeof(sockaddr_in6)};
}

base::IpPort from_sockaddr(const sockaddr_storage& s) {
  if (s.ss_family == AF_INET) {
    auto* v4 = reinterpret_cast<const sockaddr_in*>(&s);
    return {*Ip::from_bytes(std::as_bytes(std::span(&v4->sin_addr, 1))), ntohs(v4->sin_port)};
  }
  auto* v6 = reinterpret_cast<const sockaddr_in6*>(&s);
  return {*Ip::from_bytes(std::as_bytes(std::span(&v6->sin6_addr, 1))), ntohs(v6->sin6_port)};
}

bool readable(int fd, int milliseconds) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, milliseconds) == 1;
}

}  // namespace

Host::Host(const PrivateNetns& fabric, const std::string& port, const std::vector<std::string>& addresses) {
  checked(fabric, fmt::format("ip link add {0} type veth peer name eth0 netns {1}; ip link set {0} master sw up", port,
                              netns_.path()));
  std::string command =
      "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0; "
      "ip link set eth0 up";
  for (const auto& a : addresses)
    command += "; ip addr add " + a + " dev eth0" + (a.find(':') != a.npos ? " nodad" : "");
  checked(netns_, command);
}

std::string Host::shell(const std::string& command) const { return checked(netns_, command); }

Node::Node(const PrivateNetns& fabric, unsigned number, const Desired& d, std::optional<Mode> mode)
    : host(fabric, fmt::format("p{}", number),
           {fmt::format("{}/{}", d.underlay.to_string(), d.underlay.is_v4() ? 16 : 64)}),
      desired(d),
      number_(number),
      mode_(mode) {
  make_pod(overlay_mtu(d, 0));
  restart();
}

Ip Node::pod4() const { return Ip::v4(10, 244, static_cast<std::uint8_t>(number_), 5); }
Ip Node::pod6() const { return ip(fmt::format("fd00:244:{:x}::5", number_).c_str()); }

void Node::make_pod(unsigned mtu) {
  checked(host.netns(), fmt::format("ip link add pod0 address 02:00:00:00:00:01 mtu {0} type veth peer name eth0 "
                                    "address 02:00:00:00:00:02 mtu {0} netns {1}; ip link set pod0 up; "
                                    "ip addr add 169.254.1.1/32 dev pod0; ip route add {2} dev pod0; "
                                    "ip -6 addr add fe80::1/64 dev pod0 nodad; ip -6 route add {3} dev pod0; "
                                    "ip neigh add {2} lladdr 02:00:00:00:00:02 dev pod0; "
                                    "ip neigh add {3} lladdr 02:00:00:00:00:02 dev pod0",
                                    mtu, pod.path(), pod4().to_string(), pod6().to_string()));
  checked(pod, fmt::format("ip link set eth0 up; ip addr add {}/32 dev eth0; ip addr add {}/128 dev eth0 nodad; "
                           "ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0; "
                           "ip neigh add fe80::1 lladdr 02:00:00:00:00:01 dev eth0; "
                           "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1; "
                           "ip -6 route add default via fe80::1 dev eth0",
                           pod4().to_string(), pod6().to_string()));
}

void Node::restart() {
  kernel_.reset();
  host.netns().run([&] {
    auto session = nft::Session::open();
    if (!session) throw std::runtime_error(session.error().to_string());
    session_.emplace(std::move(*session));
    auto kernel = KernelLinux::open(*session_, {mode_});
    if (!kernel) throw std::runtime_error(kernel.error().to_string());
    kernel_ = std::move(*kernel);
  });
}

Observed Node::observe() {
  Observed out;
  host.netns().run([&] {
    auto seen = kernel_->observe();
    if (!seen) throw std::runtime_error(seen.error().to_string());
    out = std::move(*seen);
  });
  return out;
}

std::vector<std::string> Node::apply() {
  auto ops = plan(desired, observe());
  std::vector<std::string> errors;
  host.netns().run([&] {
    for (const auto& op : ops)
      if (auto done = kernel_->apply(op); !done) errors.push_back(to_text(op) + ": " + done.error().to_string());
  });
  return errors;
}

std::size_t Node::converge() {
  auto steps = plan(desired, observe()).size();
  for (const auto& e : apply()) ADD_FAILURE() << desired.node << ": " << e;
  EXPECT_EQ(outstanding(), "") << desired.node;
  return steps;
}

std::string Node::outstanding() { return text_of(plan(desired, observe())); }

std::uint64_t Node::counted(const std::string& comment) const {
  auto table = host.shell(std::string("nft list table inet ") + kGuardTable);
  std::uint64_t sum = 0;
  std::regex line("counter packets ([0-9]+) .*\"" + comment + "\"");
  for (std::sregex_iterator it(table.begin(), table.end(), line), end; it != end; ++it) sum += std::stoull((*it)[1]);
  return sum;
}

Lab::Lab(unsigned count, std::optional<Mode> mode, Family underlay) {
  checked(fabric, "ip link add sw type bridge mcast_snooping 0; ip link set sw up");
  auto on_v6 = [&](Ip& address) {
    if (underlay == Family::v6)
      address = ip(fmt::format("fd77::{}", static_cast<unsigned>(address.bytes()[3])).c_str());
  };
  for (unsigned n = 1; n <= count; ++n) {
    auto d = node(n, count);
    on_v6(d.underlay);
    for (auto& [name, p] : d.peers) on_v6(p.underlay);
    nodes.emplace(n, std::make_unique<Node>(fabric, n, d, mode));
  }
}

void Lab::add_uplink(unsigned mtu) {
  checked(fabric, "ip link add sw2 type bridge mcast_snooping 0; ip link set sw2 up");
  auto address = [](const Node& node, unsigned n) {
    return node.desired.underlay.is_v4() ? Ip::v4(172, 30, 0, static_cast<std::uint8_t>(n))
                                         : ip(fmt::format("fd79::{}", n).c_str());
  };
  for (auto& [n, node] : nodes) {
    auto own = address(*node, n);
    checked(fabric, fmt::format("ip link add r{0} mtu {2} type veth peer name eth1 mtu {2} netns {1}; ip link set r{0} "
                                "master sw2 up",
                                n, node->host.netns().path(), mtu));
    node->host.shell(
        fmt::format("sysctl -qw net.ipv6.conf.eth1.accept_dad=0; ip link set eth1 up; ip addr add {}/{} "
                    "dev eth1{}",
                    own.to_string(), own.is_v4() ? 24 : 64, own.is_v4() ? "" : " nodad"));
    node->desired.further = {own};
    for (auto& [name, peer] : node->desired.peers)
      peer.further = {address(*node, static_cast<unsigned>(std::stoul(name.substr(1))))};
  }
}

void Lab::converge() {
  for (auto& [n, node] : nodes) node->converge();
}

Socket::Socket(const PrivateNetns& in, Family family, int type, std::optional<base::IpPort> address) {
  in.run([&] { fd_.reset(socket(family == Family::v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0)); });
  auto [where, size] = to_sockaddr(address ? *address : base::IpPort{family == Family::v4 ? Ip() : ip("::"), 0});
  if (!fd_ || bind(fd_.get(), reinterpret_cast<sockaddr*>(&where), size) < 0)
    throw std::runtime_error(fmt::format("bind a test socket: {}", strerror(errno)));
}

std::uint16_t Socket::port() const {
  sockaddr_storage s{};
  socklen_t n = sizeof s;
  getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&s), &n);
  return from_sockaddr(s).port;
}

bool Socket::connect_to(const base::IpPort& to) const {
  auto [where, size] = to_sockaddr(to);
  return connect(fd_.get(), reinterpret_cast<sockaddr*>(&where), size) == 0;
}

bool Socket::send_to(const base::IpPort& to, const std::string& data) const {
  auto [where, size] = to_sockaddr(to);
  return sendto(fd_.get(), data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&where), size) ==
         static_cast<ssize_t>(data.size());
}

std::optional<std::pair<std::string, base::IpPort>> Socket::receive(int milliseconds) const {
  if (!readable(fd_.get(), milliseconds)) return std::nullopt;
  std::string data(1 << 16, '\0');
  sockaddr_storage s{};
  socklen_t size = sizeof s;
  auto n = recvfrom(fd_.get(), data.data(), data.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&s), &size);
  if (n < 0) return std::nullopt;
  data.resize(static_cast<std::size_t>(n));
  return std::pair{data, from_sockaddr(s)};
}

std::string udp_round_trip(const PrivateNetns& from, const PrivateNetns& to, const Ip& address, std::size_t size,
                           int milliseconds) {
  Socket server(to, address.family(), SOCK_DGRAM), client(from, address.family(), SOCK_DGRAM);
  std::string data(size, 'u');
  if (!client.send_to({address, server.port()}, data)) return fmt::format("send: {}", strerror(errno));
  auto there = server.receive(milliseconds);
  if (!there || there->first != data) return "the datagram did not arrive";
  if (!server.send_to(there->second, there->first)) return fmt::format("answer: {}", strerror(errno));
  auto back = client.receive();
  return back && back->first == data ? "" : "the answer did not arrive";
}

std::string tcp_transfer(const PrivateNetns& from, const PrivateNetns& to, const Ip& address, std::size_t bytes) {
  Socket server(to, address.family(), SOCK_STREAM), client(from, address.family(), SOCK_STREAM);
  if (listen(server.fd(), 1) < 0) return "listen";
  timeval limit{5, 0};
  setsockopt(client.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  auto [where, size] = to_sockaddr({address, server.port()});
  if (connect(client.fd(), reinterpret_cast<sockaddr*>(&where), size) < 0)
    return fmt::format("connect: {}", strerror(errno));
  if (!readable(server.fd(), 2000)) return "no connection to accept";
  base::UniqueFd accepted(accept(server.fd(), nullptr, nullptr));
  std::thread writer([&] {
    std::string chunk(65536, 'x');
    for (std::size_t left = bytes; left > 0;) {
      auto n = send(client.fd(), chunk.data(), std::min(left, chunk.size()), MSG_NOSIGNAL);
      if (n <= 0) break;
      left -= static_cast<std::size_t>(n);
    }
    shutdown(client.fd(), SHUT_WR);
  });
  std::size_t got = 0;
  std::string buffer(65536, '\0');
  while (readable(accepted.get(), 5000)) {
    auto n = recv(accepted.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  shutdown(accepted.get(), SHUT_RDWR);
  writer.join();
  return got == bytes ? "" : fmt::format("{} of {} bytes arrived", got, bytes);
}

Conversation::Conversation(const Node& from, const Node& to)
    : server_(to.pod, Family::v4, SOCK_STREAM), client_(from.pod, Family::v4, SOCK_STREAM) {
  listen(server_.fd(), 1);
  if (!client_.connect_to({to.pod4(), server_.port()})) throw std::runtime_error("connect");
  accepted_.reset(accept(server_.fd(), nullptr, nullptr));
  timeval limit{10, 0};
  setsockopt(accepted_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

std::string Conversation::say(const std::string& text) {
  if (send(client_.fd(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return "send";
  std::string got(text.size(), '\0');
  auto n = recv(accepted_.get(), got.data(), got.size(), MSG_WAITALL);
  return n == static_cast<ssize_t>(text.size()) && got == text ? "" : fmt::format("{} bytes", n);
}

}  // namespace trama::overlay::test
