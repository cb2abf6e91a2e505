// SPDX-License-Identifier: GPL-2.0-or-later
// Our addresses as Asio's, and back.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/system/error_code.hpp>

#include "base/ip.h"

namespace trama::async {

boost::asio::ip::address to_asio(const base::Ip& ip);
// The interface of a link-local address is not kept.
base::Ip from_asio(const boost::asio::ip::address& address);

// endpoint_of<tcp>(where), endpoint_of<udp>(where)
template <class Protocol>
typename Protocol::endpoint endpoint_of(const base::IpPort& where) {
  return {to_asio(where.ip), where.port};
}
template <class Endpoint>
base::IpPort ip_port_of(const Endpoint& endpoint) {
  return {from_asio(endpoint.address()), endpoint.port()};
}

// Before bind(): the address may come later, or be away for a moment.
boost::system::error_code bind_early(int fd, base::Family family);

}  // namespace trama::async
