// SPDX-License-Identifier: GPL-2.0-or-later
// A body as it comes with Content-Type application/vnd.kubernetes.protobuf: whatever is in it, what comes out is an
// error or an object that can be written as JSON, read again, and given to the schema check.
#include <cstdlib>
#include <string_view>

#include "control/api/protobuf.h"
#include "control/api/schema.h"

namespace {

using namespace trama::api;

void decode(std::string_view message, const Kind* kind, std::string_view bytes) {
  auto object = decode_message(message, bytes);
  if (!object) return;
  auto text = json::serialize(*object);
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = 80;
  auto again = json::parse(text, ec, {}, options);
  if (ec || again != json::value(*object)) abort();
  if (!kind) return;
  Findings found;
  check_schema(*kind, *object, found);
  if (!found.unknown.empty()) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto envelope = open_envelope({reinterpret_cast<const char*>(data), size});
  if (!envelope) return 0;
  if (const auto* kind = kind_of_manifest(envelope->api_version, envelope->kind)) {
    decode(message_of(*kind), kind, envelope->message);
    return 0;
  }
  for (std::string_view message : {"DeleteOptions", "Eviction", "Binding", "Scale"})
    decode(message, nullptr, envelope->message);
  return 0;
}
