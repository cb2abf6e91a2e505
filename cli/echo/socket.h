// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses as people type them, and sockets made from them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::cli {

struct HostPort {
  std::string host;  // "" = any address
  std::uint16_t port = 0;
};
// "host:port", ":port", "[v6]:port"; `default_port` < 0 makes the port mandatory.
base::Result<HostPort> parse_host_port(std::string_view text, int default_port = -1);

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  std::string to_string() const;  // "10.0.0.1:80"; an IPv4 address in IPv6 clothes is shown as IPv4
  std::uint16_t port() const;
};

// A bound, non-blocking, close-on-exec socket; stream sockets listen. An empty host binds both families where the
// machine has IPv6, else IPv4.
base::Result<base::UniqueFd> bind_socket(int type, const HostPort& where);
// Names are looked up with getaddrinfo (hosts file first); the first address of the list.
base::Result<SocketAddress> resolve(const HostPort& where, int type);
SocketAddress local_address(int fd);

}  // namespace trama::cli
