// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/fake_nft.h"

namespace trama::test {

// The first packet of a connection.
struct Packet {
  servicelb::Protocol protocol = servicelb::Protocol::tcp;
  base::Ip source, destination;
  std::uint16_t port = 0;  // destination port
  bool from_node = false;  // sent by this node: output instead of prerouting
  bool to_node = false;    // the destination is an address of this node
  bool echo = false;       // an ICMP echo request instead of `protocol`
};

// What becomes of it.
struct Fate {
  enum class Kind { untouched, refused, dropped, translated } kind = Kind::untouched;
  base::IpPort to;  // translated
  bool masqueraded = false;
  std::uint32_t mark = 0;
  std::string to_string() const;
  friend auto operator<=>(const Fate&, const Fate&) = default;
};

// Runs the expressions of a blueprint as the kernel's machine would, with the elements of a fake kernel.
class NftMachine {
 public:
  NftMachine(const nft::Blueprint& blueprint, FakeNft& kernel, base::Family family)
      : blueprint_(blueprint),
        elements_(kernel.tables[{blueprint.table.family, blueprint.table.name}].elements),
        family_(family) {}
  // random: a number below the modulus it is given.
  Fate trace(const Packet& packet, const std::function<std::uint32_t(std::uint32_t)>& random) const;
  // What the rules remember of clients, from one trace to the next; without it every trace starts with nothing.
  std::map<nft::Value, nft::Value>* remembered = nullptr;
  // Every fate there can be, with the number of draws that lead to it.
  std::map<Fate, int> all_fates(const Packet& packet) const;

 private:
  struct State;
  enum class Verdict { next, accept, drop, returned };
  Verdict run_chain(const std::string& name, State& state) const;
  const nft::Blueprint& blueprint_;
  std::map<std::string, std::map<nft::Value, nft::Element>>& elements_;
  base::Family family_;
};

}  // namespace trama::test
