// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/servicelb/lab.h"

#include <array>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace trama::test {
namespace {
using base::Ip;
using base::IpPort;
using servicelb::Protocol;

constexpr std::uint16_t kPort = 8080;

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  explicit Address(const IpPort& a) {
    if (a.ip.is_v4()) {
      auto* in = reinterpret_cast<sockaddr_in*>(&storage);
      in->sin_family = AF_INET, in->sin_port = htons(a.port);
      std::memcpy(&in->sin_addr, a.ip.bytes().data(), 4);
      length = sizeof *in;
    } else {
      auto* in = reinterpret_cast<sockaddr_in6*>(&storage);
      in->sin6_family = AF_INET6, in->sin6_port = htons(a.port);
      std::memcpy(&in->sin6_addr, a.ip.bytes().data(), 16);
      length = sizeof *in;
    }
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

std::string text_of(const sockaddr_in6& peer) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text);
  std::string s = text;
  return s.starts_with("::ffff:") ? s.substr(7) : s;
}
std::string failure(int err) {
  if (err == ECONNREFUSED) return "refused";
  if (err == EAGAIN || err == EINPROGRESS || err == ETIMEDOUT) return "timeout";
  return std::strerror(err);
}
void set_timeout(int fd, int ms) {
  timeval t{ms / 1000, (ms % 1000) * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}
base::UniqueFd listen_on(int type) {
  base::UniqueFd fd(socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int on = 1, off = 0;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6, any.sin6_port = htons(kPort);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) < 0) throw std::runtime_error("bind");
  if (type == SOCK_STREAM && listen(fd.get(), 4096) < 0) throw std::runtime_error("listen");
  return fd;
}
constexpr std::uint64_t kConnections = 1'000'000;  // above: file descriptors; below: two numbers for each pod
void watch(int epoll, int fd, std::uint64_t number) {
  epoll_event e{};
  e.events = EPOLLIN, e.data.u64 = number;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0) throw std::runtime_error("epoll_ctl");
}
}  // namespace

ServiceLab::ServiceLab(int pods) {
  std::string node =
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.accept_dad=0 "
      "net.ipv6.conf.default.accept_dad=0; ip -batch - <<E\n";
  node += fmt::format("link add out type veth peer name eth0 netns {}\n", outside_.path());
  node +=
      "addr add 192.168.50.1/24 dev out\naddr add fd00:50::1/64 dev out nodad\nlink set out up\nroute add default via "
      "192.168.50.2\nroute add default via fd00:50::2\n";
  for (int i = 1; i <= pods; ++i) {
    pods_.push_back(std::make_unique<PrivateNetns>());
    node += fmt::format(
        "link add v{0} type veth peer name eth0 netns {1}\naddr add 10.244.{0}.1/24 dev v{0}\naddr add "
        "fd00:244:{0}::1/64 dev v{0} nodad\nlink set v{0} up\n",
        i, pods_.back()->path());
  }
  std::string output;
  if (node_.shell(node + "E", &output) != 0) throw std::runtime_error("lab, node: " + output);
  auto end = [&](PrivateNetns& ns, const std::string& v4, const std::string& v6, const std::string& routes) {
    std::string all = fmt::format(
        "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0; ip -batch - <<E\nlink set eth0 "
        "up\naddr add {} dev eth0\naddr add {} dev eth0 nodad\n{}E",
        v4, v6, routes);
    if (ns.shell(all, &output) != 0) throw std::runtime_error("lab: " + output);
  };
  end(outside_, "192.168.50.2/24", "fd00:50::2/64",
      "route add 10.96.0.0/16 via 192.168.50.1\nroute add fd00:96::/112 via fd00:50::1\n"
      "route add 203.0.113.0/24 via 192.168.50.1\nroute add 2001:db8:1::/64 via fd00:50::1\n"
      "route add local 198.51.100.0/24 dev lo\nroute add local 2001:db8:7::/64 dev lo\n");
  for (int i = 1; i <= pods; ++i)
    end(pod(i), fmt::format("10.244.{}.2/24", i), fmt::format("fd00:244:{}::2/64", i),
        fmt::format("route add default via 10.244.{0}.1\nroute add default via fd00:244:{0}::1\n", i));
  for (auto& p : pods_) p->run([&] { listeners_.push_back({listen_on(SOCK_STREAM), listen_on(SOCK_DGRAM)}); });
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    watch(epoll_.get(), listeners_[i].tcp.get(), 2 * i);
    watch(epoll_.get(), listeners_[i].udp.get(), 2 * i + 1);
  }
  server_ = std::thread([this] { serve(); });
}

ServiceLab::~ServiceLab() {
  stop_ = true;
  server_.join();
}

// New connections, or datagrams.
void ServiceLab::answer(std::size_t i) {
  std::string name = "pod-" + std::to_string(i / 2 + 1);
  for (;;) {
    sockaddr_in6 peer{};
    socklen_t length = sizeof peer;
    auto* from = reinterpret_cast<sockaddr*>(&peer);
    if (i % 2 == 0) {
      base::UniqueFd c(accept4(listeners_[i / 2].tcp.get(), from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!c) return;
      std::string text = name + " " + text_of(peer);
      (void)send(c.get(), text.data(), text.size(), MSG_NOSIGNAL);
      watch(epoll_.get(), c.get(), kConnections + static_cast<std::uint64_t>(c.get()));
      int fd = c.get();
      connections_[fd] = {std::move(c), text};
    } else {
      int fd = listeners_[i / 2].udp.get();
      char question[64];
      if (recvfrom(fd, question, sizeof question, 0, from, &length) < 0) return;
      std::string text = name + " " + text_of(peer);
      (void)sendto(fd, text.data(), text.size(), 0, from, length);
    }
  }
}

// Closing is not enough: a child that is just being forked has the socket, too, and the kernel would go on about it.
void ServiceLab::forget(int connection) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection, nullptr);
  connections_.erase(connection);
}

void ServiceLab::serve() {
  std::array<epoll_event, 64> events{};
  while (!stop_) {
    int n = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 20);
    for (int i = 0; i < n; ++i) {
      auto which = events[static_cast<std::size_t>(i)].data.u64;
      if (which < kConnections) {
        answer(static_cast<std::size_t>(which));
        continue;
      }
      auto it = connections_.find(static_cast<int>(which - kConnections));
      if (it == connections_.end()) continue;
      char question[64];
      auto got = recv(it->first, question, sizeof question, 0);
      if (got > 0)
        (void)send(it->first, it->second.second.data(), it->second.second.size(), MSG_NOSIGNAL);
      else if (got == 0 || errno != EAGAIN)
        forget(it->first);
    }
  }
}

servicelb::Endpoint ServiceLab::endpoint(int pod, bool v6) {
  servicelb::Endpoint e;
  e.ip = *Ip::parse(v6 ? fmt::format("fd00:244:{}::2", pod) : fmt::format("10.244.{}.2", pod));
  e.port = kPort;
  e.pod = "default/pod-" + std::to_string(pod), e.node = pod <= 2 ? "here" : "there";
  return e;
}

servicelb::NodeFacts ServiceLab::facts() const {
  servicelb::NodeFacts f;
  f.name = "here", f.zone = "z1", f.addresses = {Ip::v4(192, 168, 50, 1), *Ip::parse("fd00:50::1")};
  f.service_cidrs = {*base::Cidr::parse("10.96.0.0/16"), *base::Cidr::parse("fd00:96::/112")};
  f.pod_cidrs = {*base::Cidr::parse("10.244.0.0/16"), *base::Cidr::parse("fd00:244::/32")};
  for (std::size_t i = 1; i <= pods_.size(); ++i)
    for (bool v6 : {false, true}) f.local_pods.push_back(endpoint(static_cast<int>(i), v6).ip);
  return f;
}

std::string ServiceLab::ask_here(Protocol protocol, const IpPort& to, int timeout_ms, const std::optional<Ip>& source,
                                 std::uint16_t source_port) {
  int type = protocol == Protocol::udp ? SOCK_DGRAM : SOCK_STREAM;
  Address address(to);
  base::UniqueFd fd(socket(address.get()->sa_family, type | SOCK_CLOEXEC, 0));
  set_timeout(fd.get(), timeout_ms);
  linger at_once{1, 0};  // closed by a reset: thousands of connections leave nothing behind
  if (type == SOCK_STREAM) setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  if (source || source_port != 0) {
    bool v4 = to.ip.is_v4();
    Address self(IpPort{source.value_or(v4 ? Ip() : *Ip::parse("::")), source_port});
    int on = 1;
    setsockopt(fd.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_FREEBIND : IPV6_FREEBIND, &on, sizeof on);
    if (bind(fd.get(), self.get(), self.length) < 0) return "bind: " + failure(errno);
  }
  if (connect(fd.get(), address.get(), address.length) < 0) return failure(errno);
  if (protocol == Protocol::udp && send(fd.get(), "?", 1, 0) < 0) return failure(errno);
  char text[128];
  auto n = recv(fd.get(), text, sizeof text, 0);
  return n < 0 ? failure(errno) : std::string(text, static_cast<std::size_t>(n));
}
std::string ServiceLab::ask(const PrivateNetns& from, Protocol protocol, const IpPort& to, int timeout_ms,
                            const std::optional<Ip>& source) {
  std::string answer;
  from.run([&] { answer = ask_here(protocol, to, timeout_ms, source); });
  return answer;
}

namespace {
base::UniqueFd connected(const PrivateNetns& from, const IpPort& to, int type) {
  base::UniqueFd fd;
  from.run([&] {
    Address address(to);
    fd.reset(socket(address.get()->sa_family, type | SOCK_CLOEXEC, 0));
    set_timeout(fd.get(), 1000);
    if (connect(fd.get(), address.get(), address.length) < 0) throw std::runtime_error("connect: " + failure(errno));
  });
  return fd;
}
}  // namespace

base::UniqueFd ServiceLab::udp_socket(const PrivateNetns& from, const IpPort& to) {
  return connected(from, to, SOCK_DGRAM);
}
base::UniqueFd ServiceLab::connection(const PrivateNetns& from, const IpPort& to) {
  auto fd = connected(from, to, SOCK_STREAM);
  char text[128];
  if (recv(fd.get(), text, sizeof text, 0) <= 0) throw std::runtime_error("no answer: " + failure(errno));
  return fd;
}
std::string ServiceLab::ask_again(int fd, int timeout_ms) {
  set_timeout(fd, timeout_ms);
  if (send(fd, "?", 1, MSG_NOSIGNAL) < 0) return failure(errno);
  char text[128];
  auto n = recv(fd, text, sizeof text, 0);
  return n < 0 ? failure(errno) : n == 0 ? "closed" : std::string(text, static_cast<std::size_t>(n));
}

}  // namespace trama::test
