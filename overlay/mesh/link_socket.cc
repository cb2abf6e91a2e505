// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/mesh/link_socket.h"

#include <algorithm>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

namespace trama::overlay::mesh {

base::Result<LinkSocket> LinkSocket::open() {
  base::UniqueFd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::Error::from_errno(errno, "open a socket for the link");
  return LinkSocket(std::move(fd));
}

base::Result<> LinkSocket::send(base::IfIndex link, const base::Mac& to, base::Family family, std::string_view packet) {
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(family == base::Family::v4 ? ETH_P_IP : ETH_P_IPV6);
  where.sll_ifindex = static_cast<int>(link.value);
  where.sll_halen = static_cast<unsigned char>(to.octets.size());
  std::copy(to.octets.begin(), to.octets.end(), where.sll_addr);
  if (::sendto(fd_.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&where), sizeof where) < 0)
    return base::Error::from_errno(errno, "send on the link");
  return {};
}

}  // namespace trama::overlay::mesh
