// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "netns/cgroup.h"
#include "netns/pod_status.h"
#include "netns/privileges.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::netns;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto status = parse_pod_status(text)) {
    auto again = parse_pod_status(to_json(*status));
    if (!again || !(*again == *status)) std::abort();
  }
  (void)parse_cgroup_mounts(text, text);
  (void)resolve_user(text.substr(0, text.find('\n')), text, text);
  return 0;
}
