// SPDX-License-Identifier: GPL-2.0-or-later
// The saved view: whatever is on the disk, decoding gives all of it or an error, and what it gives encodes the same
// again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/view_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::agent;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (auto kind : kKinds) {
    auto saved = decode_view(kind, text);
    if (!saved) continue;
    auto again = decode_view(kind, encode_view(kind, saved->revision, saved->objects));
    if (!again || again->objects.size() != saved->objects.size() || again->revision != saved->revision) std::abort();
  }
  return 0;
}
