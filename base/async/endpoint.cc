// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/endpoint.h"

#include <algorithm>
#include <cerrno>

#include <netinet/in.h>
#include <sys/socket.h>

namespace trama::async {

namespace asio = boost::asio;

namespace {

template <class Address>
Address made_of(std::span<const std::byte> bytes) {
  typename Address::bytes_type raw;
  std::transform(bytes.begin(), bytes.end(), raw.begin(),
                 [](std::byte b) { return std::to_integer<unsigned char>(b); });
  return Address(raw);
}

}  // namespace

asio::ip::address to_asio(const base::Ip& ip) {
  if (ip.is_v4()) return made_of<asio::ip::address_v4>(ip.bytes());
  return made_of<asio::ip::address_v6>(ip.bytes());
}

base::Ip from_asio(const asio::ip::address& address) {
  auto ip_of = [](const auto& raw) { return base::Ip::from_bytes(std::as_bytes(std::span(raw))).value_or(base::Ip()); };
  return address.is_v4() ? ip_of(address.to_v4().to_bytes()) : ip_of(address.to_v6().to_bytes());
}

boost::system::error_code bind_early(int fd, base::Family family) {
  int on = 1;
  int done = family == base::Family::v4 ? ::setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on)
                                        : ::setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
  boost::system::error_code ec;
  if (done < 0) ec.assign(errno, boost::system::system_category());
  return ec;
}

}  // namespace trama::async
