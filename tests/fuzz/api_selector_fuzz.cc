// SPDX-License-Identifier: GPL-2.0-or-later
// Label and field selectors: parsing never crashes, and what parses can be asked.
#include <string_view>

#include "control/api/selector.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::api;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  static const auto pod = make_object(
      {"pods", "d", "a"},
      json::parse(R"({"metadata":{"name":"a","namespace":"d","labels":{"app":"web"}},"spec":{}})").as_object(), 1);
  for (const char* resource : {"pods", "events"}) {
    const auto& kind = *kind_of_resource(resource);
    if (auto s = Selector::parse(kind, text, "")) (void)s->matches(*pod);
    if (auto s = Selector::parse(kind, "", text)) (void)s->matches(*pod), (void)s->name();
  }
  return 0;
}
