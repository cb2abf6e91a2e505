// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever is accepted survives a round trip; whatever is not has a sentence.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "netns/launch.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::netns;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto spec = parse_pod_spec(text)) {
    auto again = parse_pod_spec(to_json(*spec));
    if (!again || !(*again == *spec)) std::abort();
  } else if (spec.error().to_string().empty()) {
    std::abort();
  }
  (void)parse_pod_launch(text);
  (void)parse_exec_launch(text);
  return 0;
}
