// SPDX-License-Identifier: GPL-2.0-or-later
// What is seen on the wire of a lab.
#pragma once

#include <string>
#include <vector>

#include "tests/kernel/overlay/lab.h"

namespace trama::overlay::test {

class Capture {
 public:
  explicit Capture(const PrivateNetns& where, const std::string& link);
  // All that has come so far.
  std::vector<std::string> take();

 private:
  base::UniqueFd fd_;
};

std::uint16_t udp_port_of(const std::string& frame);  // of an IPv4 frame

struct Sight {
  std::size_t frames = 0, clear = 0, vxlan = 0, tunnel = 0;
  std::size_t relayed = 0;  // of those in the tunnel, in an envelope
};
Sight look(const std::vector<std::string>& frames, const std::string& secret);

constexpr const char* kSecret = "these words are nobody's business";
// Says it there and back, fifty times.
void whisper(const Node& a, const Node& b);

}  // namespace trama::overlay::test
