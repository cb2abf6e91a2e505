// SPDX-License-Identifier: GPL-2.0-or-later
// What is seen on the wire.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "tests/support/private_netns.h"

namespace trama::overlay::test {

using trama::test::PrivateNetns;

class Capture {
 public:
  explicit Capture(const PrivateNetns& where, const std::string& link) {
    where.run([&] {
      fd_.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
      int size = 64 << 20;
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
      sockaddr_ll a{};
      a.sll_family = AF_PACKET;
      a.sll_protocol = htons(ETH_P_ALL);
      a.sll_ifindex = static_cast<int>(if_nametoindex(link.c_str()));
      if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) < 0) throw std::runtime_error("capture");
    });
  }
  // All that has come so far.
  std::vector<std::string> take() {
    std::vector<std::string> out;
    std::string frame(70'000, '\0');
    ssize_t n = 0;
    while ((n = recv(fd_.get(), frame.data(), frame.size(), MSG_DONTWAIT)) > 0)
      out.push_back(frame.substr(0, static_cast<std::size_t>(n)));
    return out;
  }

 private:
  base::UniqueFd fd_;
};

inline std::uint16_t udp_port_of(const std::string& frame) {  // of an IPv4 frame
  if (frame.size() < 42 || frame[12] != 8 || frame[13] != 0 || frame[23] != 17) return 0;
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(frame[36]) << 8 | static_cast<std::uint8_t>(frame[37]));
}

}  // namespace trama::overlay::test
