// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdint>
#include <string_view>

#include "cli/echo/http.h"
#include "cli/echo/probe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)trama::cli::parse_http_request(text);
  (void)trama::cli::parse_http_response(text);
  (void)trama::cli::parse_probe_target(text);
  return 0;
}
