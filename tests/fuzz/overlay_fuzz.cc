// SPDX-License-Identifier: GPL-2.0-or-later
// What the overlay reads from outside: socket tables of /proc, dumped elements of its nft sets, netlink events.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/netlink/event.h"
#include "overlay/guards_table.h"
#include "overlay/port_owner.h"

namespace {

using namespace trama;

// Elements whose keys are cut out of the input in all lengths, under each of the sets that vary.
void read_elements(nft::Bytes input) {
  overlay::GuardDump dump;
  for (const char* name : {overlay::kPeersSet, overlay::kPods4Set, overlay::kPods6Set, "never4"}) {
    overlay::GuardDump::DumpedSet set;
    set.set.name = name;
    for (std::size_t at = 0; at + 2 < input.size();) {
      auto length = std::min<std::size_t>(static_cast<unsigned>(input[at]) % 40, input.size() - at - 1);
      auto end = std::min<std::size_t>(static_cast<unsigned>(input[at + 1]) % 40, input.size() - at - 1);
      nft::Element e;
      e.key.raw(input.subspan(at + 1, length));
      e.key_end.raw(input.subspan(at + 1, end));
      e.comment.assign(reinterpret_cast<const char*>(input.data()) + at, length);
      set.elements.push_back(std::move(e));
      at += length + 1;
    }
    dump.sets.push_back(std::move(set));
  }
  auto seen = overlay::read_guards(dump);
  for (const auto& [binding, element] : seen.pods)  // what is believed must be a prefix that exists
    if (binding.pods.length() > binding.pods.address().bits()) __builtin_trap();
  auto change = overlay::change_between(overlay::Guards{}, seen);
  if (change.remove_peers.size() != seen.peers.size() || change.remove_pods.size() != seen.pods.size())
    __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  nft::Bytes rest(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: (void)overlay::udp_inodes({reinterpret_cast<const char*>(rest.data()), rest.size()}, 6784); break;
    case 1: read_elements(rest); break;
    default: (void)netlink::read_event(rest); break;
  }
  return 0;
}
