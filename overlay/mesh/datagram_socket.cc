// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/mesh/datagram_socket.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "base/sockaddr.h"
#include "base/unique_fd.h"
#include "overlay/peers/tunnel_port.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace trama::overlay::mesh {

using base::Error;
using base::Family;
using base::Result;

namespace {

constexpr int kBuffer = 1 << 20;
constexpr unsigned kAtOnce = 64;  // datagrams before others have their turn
constexpr std::uint8_t kEchoRequest4 = 8, kEchoReply4 = 0, kEchoRequest6 = 128, kEchoReply6 = 129;
constexpr std::size_t kEchoHeader = 8, kIp4Header = 20;

void set(int fd, int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof value); }

std::uint16_t checksum(std::string_view data) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < data.size(); i += 2) {
    auto high = static_cast<std::uint8_t>(data[i]);
    auto low = i + 1 < data.size() ? static_cast<std::uint8_t>(data[i + 1]) : std::uint8_t{0};
    sum += static_cast<std::uint32_t>(high << 8 | low);
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace

Result<std::shared_ptr<DatagramSocket>> DatagramSocket::open(asio::any_io_executor ex, Kind kind, const IpPort& local) {
  return open(std::move(ex), kind, local, false);
}

Result<std::shared_ptr<DatagramSocket>> DatagramSocket::open(asio::any_io_executor ex, Kind kind, const IpPort& local,
                                                             bool shared) {
  bool v4 = local.ip.is_v4();
  int type = kind == Kind::udp ? SOCK_DGRAM : SOCK_RAW;
  int protocol = kind == Kind::udp ? IPPROTO_UDP
                 : v4              ? static_cast<int>(IPPROTO_ICMP)
                                   : static_cast<int>(IPPROTO_ICMPV6);
  auto what = fmt::format("{} socket on {}", kind == Kind::udp ? "UDP" : "ICMP", local.to_string());
  base::UniqueFd fd(::socket(v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return Error::from_errno(errno, what);
  set(fd.get(), SOL_SOCKET, SO_RCVBUF, kBuffer);
  if (shared) {
    set(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    // All of them or none: which one the kernel asks whether it may put datagrams together, it decides by a hash.
    set(fd.get(), SOL_UDP, UDP_GRO, 1);
  }
  if (v4) {
    set(fd.get(), IPPROTO_IP, IP_FREEBIND, 1);
    set(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  } else {
    set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set(fd.get(), IPPROTO_IPV6, IPV6_FREEBIND, 1);
    set(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  }
  if (kind == Kind::icmp && v4) {
    icmp_filter filter{~((1u << kEchoRequest4) | (1u << kEchoReply4))};
    (void)::setsockopt(fd.get(), SOL_RAW, ICMP_FILTER, &filter, sizeof filter);
  } else if (kind == Kind::icmp) {
    icmp6_filter filter;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(kEchoRequest6, &filter);
    ICMP6_FILTER_SETPASS(kEchoReply6, &filter);
    (void)::setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
  }
  sockaddr_storage where;
  IpPort bound = local;
  if (kind == Kind::icmp) bound.port = 0;
  auto size = base::to_sockaddr(bound, where);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), size) < 0) return Error::from_errno(errno, what);
  if (kind == Kind::udp && bound.port == 0) {
    size = sizeof where;
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where), &size) == 0)
      bound = base::from_sockaddr(reinterpret_cast<sockaddr*>(&where)).value_or(bound);
  }
  auto out = std::shared_ptr<DatagramSocket>(new DatagramSocket(ex, kind, bound));
  boost::system::error_code ec;
  out->fd_.assign(fd.release(), ec);
  if (ec) return Error(ec, what);
  return out;
}

Result<DatagramSocket::Shared> DatagramSocket::open_shared(asio::any_io_executor ex, const IpPort& local,
                                                           unsigned others) {
  Shared out;
  auto own = open(ex, Kind::udp, local, others > 0);
  if (!own) return std::move(own).error();
  out.own = std::move(*own);
  if (others == 0) return out;
  // The group's order is that of the binds: we are 0. A datagram that is too short for a load ends the program with 0.
  std::array<sock_filter, 7> program{
      {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 2), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, peers::kFirstPacketType, 1, 0),
       BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 3), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, others),
       BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 1), BPF_STMT(BPF_RET | BPF_A, 0)}};
  sock_fprog attached{program.size(), program.data()};
  if (::setsockopt(out.own->fd_.native_handle(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) < 0)
    return Error::from_errno(errno, fmt::format("share UDP {} by the datagrams' type", local.to_string()));
  for (unsigned i = 0; i < others; ++i) {
    auto next = open(ex, Kind::udp, out.own->local(), true);
    if (!next) return std::move(next).error();
    base::UniqueFd fd((*next)->fd_.release());
    int flags = ::fcntl(fd.get(), F_GETFL);
    (void)::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK);
    out.others.push_back(std::move(fd));
  }
  return out;
}

Result<> DatagramSocket::send(const IpPort& to, std::string_view datagram) {
  if (!fd_.is_open()) return Error::from_errno(EBADF, "send");
  sockaddr_storage where;
  IpPort target = to;
  if (kind_ == Kind::icmp) target.port = 0;
  auto size = base::to_sockaddr(target, where);
  auto sent = ::sendto(fd_.native_handle(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                       reinterpret_cast<sockaddr*>(&where), size);
  if (sent < 0) return Error::from_errno(errno, fmt::format("{} bytes", datagram.size()));
  return {};
}

void DatagramSocket::drain(const OnDatagram& on_datagram) {
  static thread_local std::array<char, 65536> buffer;
  for (unsigned i = 0; i < kAtOnce && fd_.is_open(); ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    iovec piece{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = size;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto n = ::recvmsg(fd_.native_handle(), &message, MSG_DONTWAIT);
    if (n < 0) {
      // What an ICMP error said of an earlier datagram is taken from the socket by reading it.
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      continue;
    }
    std::string_view datagram(buffer.data(), static_cast<std::size_t>(n));
    if (kind_ == Kind::icmp && local_.ip.is_v4()) {
      std::size_t header = datagram.empty() ? 0 : (static_cast<std::uint8_t>(datagram[0]) & 0xf) * 4u;
      if (header < kIp4Header || datagram.size() < header) continue;
      datagram.remove_prefix(header);
    }
    auto who = base::from_sockaddr(reinterpret_cast<sockaddr*>(&from)).value_or(IpPort());
    std::size_t segment = datagram.size();
    for (auto* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO) continue;
      int together = 0;
      std::memcpy(&together, CMSG_DATA(c), sizeof together);
      if (together > 0) segment = static_cast<std::size_t>(together);
    }
    do {
      on_datagram(who, datagram.substr(0, segment));
      datagram.remove_prefix(std::min(segment, datagram.size()));
    } while (!datagram.empty());
  }
}

awaitable<void> DatagramSocket::receive(std::shared_ptr<DatagramSocket> self, OnDatagram on_datagram) {
  while (self->fd_.is_open()) {
    auto [ec] = co_await self->fd_.async_wait(asio::posix::stream_descriptor::wait_read, async::kTuple);
    if (ec) co_return;
    self->drain(on_datagram);
  }
}

void DatagramSocket::close() {
  boost::system::error_code ignored;
  fd_.close(ignored);
}

std::string icmp_echo_request(Family family, std::uint16_t id, std::uint16_t sequence, std::string_view payload) {
  std::string out(kEchoHeader, '\0');
  out[0] = static_cast<char>(family == Family::v4 ? kEchoRequest4 : kEchoRequest6);
  out[4] = static_cast<char>(id >> 8);
  out[5] = static_cast<char>(id);
  out[6] = static_cast<char>(sequence >> 8);
  out[7] = static_cast<char>(sequence);
  out += payload;
  if (family == Family::v4) {
    auto sum = checksum(out);
    out[2] = static_cast<char>(sum >> 8);
    out[3] = static_cast<char>(sum);
  }
  return out;
}

std::optional<IcmpEcho> parse_icmp(Family family, std::string_view message) {
  if (message.size() < kEchoHeader || message[1] != 0) return std::nullopt;
  auto type = static_cast<std::uint8_t>(message[0]);
  bool v4 = family == Family::v4;
  IcmpEcho out;
  out.reply = type == (v4 ? kEchoReply4 : kEchoReply6);
  if (!out.reply && type != (v4 ? kEchoRequest4 : kEchoRequest6)) return std::nullopt;
  out.payload = message.substr(kEchoHeader);
  return out;
}

}  // namespace trama::overlay::mesh
