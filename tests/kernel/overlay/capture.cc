// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/overlay/capture.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

namespace trama::overlay::test {

Capture::Capture(const PrivateNetns& where, const std::string& link) {
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

std::vector<std::string> Capture::take() {
  std::vector<std::string> out;
  std::string frame(70'000, '\0');
  ssize_t n = 0;
  while ((n = recv(fd_.get(), frame.data(), frame.size(), MSG_DONTWAIT)) > 0)
    out.push_back(frame.substr(0, static_cast<std::size_t>(n)));
  return out;
}

std::uint16_t udp_port_of(const std::string& frame) {
  if (frame.size() < 42 || frame[12] != 8 || frame[13] != 0 || frame[23] != 17) return 0;
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(frame[36]) << 8 | static_cast<std::uint8_t>(frame[37]));
}

Sight look(const std::vector<std::string>& frames, const std::string& secret) {
  Sight s;
  for (const auto& f : frames) {
    ++s.frames;
    if (f.find(secret) != f.npos) ++s.clear;
    if (udp_port_of(f) == 6784) ++s.vxlan;
    if (udp_port_of(f) != 6783) continue;
    ++s.tunnel;
    if (f.size() > 44 && f[44] == 17) ++s.relayed;
  }
  return s;
}

void whisper(const Node& a, const Node& b) {
  Socket server(b.pod, Family::v4, SOCK_DGRAM), client(a.pod, Family::v4, SOCK_DGRAM);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.send_to({b.pod4(), server.port()}, kSecret));
    auto got = server.receive();
    ASSERT_TRUE(got);
    server.send_to(got->second, kSecret);
    ASSERT_TRUE(client.receive());
  }
}

}  // namespace trama::overlay::test
