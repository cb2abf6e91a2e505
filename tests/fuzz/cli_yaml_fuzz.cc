// SPDX-License-Identifier: GPL-2.0-or-later
// Any bytes as a lab file: an error or a lab, never a crash; and what was read can be written and read again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/lab/model.h"
#include "cli/yaml/emit.h"
#include "cli/yaml/load.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::cli;
  YamlLimits limits;
  limits.values = 20'000;
  auto documents = load_yaml(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits);
  if (!documents) return 0;
  for (const auto& d : *documents) {
    auto text = to_yaml(d.value);
    auto again = load_yaml(text, "again");
    // Bytes that are no UTF-8 are shown, not kept: only text must survive.
    bool text_only = std::all_of(data, data + size, [](std::uint8_t c) { return c < 0x80; });
    if (text_only && (!again || again->size() > 1)) std::abort();
    if (text_only && !again->empty() && !((*again)[0].value == d.value)) std::abort();
  }
  (void)parse_lab(std::move(*documents));
  return 0;
}
