// SPDX-License-Identifier: GPL-2.0-or-later
// Annotations of a Service: the first character names one, the rest is its value. Whatever is accepted is within the
// bounds that are promised; whatever is not has a sentence.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/api/service_options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::api;
  if (size == 0) return 0;
  constexpr const char* kNames[] = {"trama.dev/weights", "trama.dev/drain", "trama.dev/slow-start",
                                    "trama.dev/algorithm", "trama.dev/counters"};
  std::string_view text(reinterpret_cast<const char*>(data), size);
  json::object annotations;
  annotations[kNames[data[0] % 5]] = text.substr(1);
  auto got = read_service_options(annotations);
  for (const auto& [name, weight] : got.options.weights)
    if (weight > 100 || name.empty() || name.size() > 253) std::abort();
  constexpr std::chrono::seconds kDay = std::chrono::hours(24);
  if (got.options.slow_start.count() < 0 || got.options.slow_start > kDay) std::abort();
  if (got.options.drain && (got.options.drain->count() < 0 || *got.options.drain > kDay)) std::abort();
  for (const auto& fault : got.faults)
    if (fault.why.empty()) std::abort();
  if (!got.faults.empty() && (got.options.drain || !got.options.weights.empty())) std::abort();
  auto range = parse_source_range(text.substr(1));
  if (range && !range->contains(range->address())) std::abort();
  return 0;
}
