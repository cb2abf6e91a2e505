// SPDX-License-Identifier: GPL-2.0-or-later
// Request targets: whatever parses names a known kind and holds no empty or relative step.
#include <cstdlib>
#include <string_view>

#include "control/server/route.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::server;
  auto target = parse_target({reinterpret_cast<const char*>(data), size});
  if (!target) return 0;
  auto path = parse_resource(target->path);
  if (!path) return 0;
  if (!path->kind || path->name == "." || path->name == ".." || path->ns == ".." ||
      path->name.find('/') != std::string::npos)
    std::abort();
  return 0;
}
