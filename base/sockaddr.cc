// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/sockaddr.h"

#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace trama::base {

socklen_t to_sockaddr(const IpPort& address, sockaddr_storage& out) {
  out = {};
  if (address.ip.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    std::memcpy(&v4->sin_addr, address.ip.bytes().data(), 4);
    return sizeof *v4;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(address.port);
  std::memcpy(&v6->sin6_addr, address.ip.bytes().data(), 16);
  return sizeof *v6;
}

Result<IpPort> from_sockaddr(const sockaddr* address) {
  auto bytes = [](const void* p, std::size_t n) { return std::span(static_cast<const std::byte*>(p), n); };
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return IpPort{*Ip::from_bytes(bytes(&v4->sin_addr, 4)), ntohs(v4->sin_port)};
  }
  if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    return IpPort{*Ip::from_bytes(bytes(&v6->sin6_addr, 16)), ntohs(v6->sin6_port)};
  }
  return Error::text("not an Internet address");
}

}  // namespace trama::base
