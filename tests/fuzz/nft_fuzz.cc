// SPDX-License-Identifier: GPL-2.0-or-later
// The decoders of everything nftables and conntrack say: tables, chains, rules, sets, elements, flows.
#include <cstdint>
#include <cstdlib>

#include "base/netlink/conntrack.h"
#include "base/nft/decode.h"
#include "servicelb/ruleset.h"

using namespace trama;  // NOLINT: a test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  nft::Bytes payload(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  switch (data[0] % 6) {
    case 0: (void)nft::decode_table(payload); break;
    case 1: (void)nft::decode_chain(payload); break;
    case 2: (void)nft::decode_rule(payload); break;
    case 3: {
      if (auto set = nft::decode_set(payload))
        (void)set->matches(servicelb::set_of(base::Family::v4, servicelb::Home::slots));
      break;
    }
    case 4: {
      std::vector<nft::ElementSeen> seen;
      if (!nft::decode_elements(payload, seen)) break;
      for (auto family : servicelb::kFamilies) {
        for (const auto& s : seen) {
          (void)servicelb::slot_in(family, s.element);
          (void)servicelb::sticky_in(family, s.element);
          (void)servicelb::pick_in(s.element);
          for (std::size_t h = 0; h < servicelb::kHomes; ++h) {
            auto home = static_cast<servicelb::Home>(h);
            (void)servicelb::front_in(family, home, s.element.key);
            (void)nft::to_text(servicelb::set_of(family, home), s.element);
          }
        }
        std::uint32_t length = family == base::Family::v4 ? 4 : 16;
        auto joined = nft::join_ranges(seen, length);
        if (joined.size() > seen.size()) std::abort();
      }
      break;
    }
    default: {
      netlink::Part part;
      part.payload.assign(payload.begin(), payload.end());
      if (auto flow = netlink::decode_flow(part)) (void)netlink::delete_flow(*flow);
    }
  }
  return 0;
}
