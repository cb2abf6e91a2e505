// SPDX-License-Identifier: GPL-2.0-or-later
// A socket for datagrams: UDP, or ICMP echo on a raw socket.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/async/event.h"
#include "base/ip.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::overlay::mesh {

using async::awaitable;
using base::Ip;
using base::IpPort;
namespace asio = async::asio;

class DatagramSocket {
 public:
  enum class Kind { udp, icmp };
  // Opened in the network namespace of the calling thread, bound to `local` whether an interface carries it or not.
  // Don't-fragment is set, and what the kernel believes of the path's MTU is not asked: the link's own MTU alone
  // bounds what is sent. A raw ICMP socket gets echo requests and replies, nothing else.
  static base::Result<std::shared_ptr<DatagramSocket>> open(asio::any_io_executor ex, Kind kind, const IpPort& local);

  // A UDP socket with others at the same address, which the kernel gives the datagrams of types from
  // peers::kFirstPacketType to: by the fourth byte, modulo their number. What this one gets waits behind none of those.
  struct Shared;
  static base::Result<Shared> open_shared(asio::any_io_executor ex, const IpPort& local, unsigned others);

  base::Result<> send(const IpPort& to, std::string_view datagram);
  // Calls back for each datagram until the socket is closed or the task cancelled. ICMP comes with its own header, but
  // without an IPv4 header.
  using OnDatagram = std::function<void(const IpPort& from, std::string_view datagram)>;
  static awaitable<void> receive(std::shared_ptr<DatagramSocket> self, OnDatagram on_datagram);
  void close();
  const IpPort& local() const { return local_; }

 private:
  DatagramSocket(asio::any_io_executor ex, Kind kind, const IpPort& local) : fd_(ex), kind_(kind), local_(local) {}
  static base::Result<std::shared_ptr<DatagramSocket>> open(asio::any_io_executor ex, Kind kind, const IpPort& local,
                                                            bool shared);
  void drain(const OnDatagram& on_datagram);
  asio::posix::stream_descriptor fd_;
  Kind kind_;
  IpPort local_;
};

struct DatagramSocket::Shared {
  std::shared_ptr<DatagramSocket> own;
  std::vector<base::UniqueFd> others;
};

// Echo request or reply around `payload`; the checksum of ICMPv6 is the kernel's.
std::string icmp_echo_request(base::Family family, std::uint16_t id, std::uint16_t sequence, std::string_view payload);
struct IcmpEcho {
  bool reply = false;
  std::string_view payload;
};
// Nothing for what is no echo.
std::optional<IcmpEcho> parse_icmp(base::Family family, std::string_view message);

}  // namespace trama::overlay::mesh
