// SPDX-License-Identifier: GPL-2.0-or-later
// The first line of the input is an object of the kind that its first letter names, the rest is a patch: schema check,
// defaults, validation all three patches and server-side apply, as a hostile client would send them.
#include <cstdlib>
#include <string_view>

#include "control/api/lifecycle.h"
#include "control/api/managed_fields.h"
#include "control/api/patch.h"
#include "control/api/schema.h"
#include "control/api/table.h"
#include "control/api/types.h"

namespace {

using namespace trama::api;

bool parse(std::string_view text, json::value& out) {
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = 64;
  out = json::parse({text.data(), text.size()}, ec, {}, options);
  return !ec;
}

void whole_life(const Kind& kind, json::object body) {
  Findings found;
  check_schema(kind, body, found);
  if (!found.mistyped.empty()) return;  // what the server refuses at the door
  auto now = std::chrono::system_clock::from_time_t(1'767'323'045);
  auto created = prepare_create(kind, {std::string(kind.resource), kind.namespaced ? "d" : "", ""}, body, now);
  if (!created) return;
  Key key{std::string(kind.resource), text_at(*created, "metadata.namespace"), text_at(*created, "metadata.name")};
  auto object = make_object(key, *created, 1);
  (void)prepare_update(kind, *object, body, Part::main, now);
  (void)prepare_delete(kind, *object, {}, now);
  (void)make_table(kind, {object}, RowObject::metadata, now);
  (void)decode_pod(*object), (void)decode_service(*object), (void)decode_node(*object),
      (void)decode_endpoint_slice(*object);
}

// What has been applied once changes nothing the second time.
void apply_twice(const Kind& kind, json::object live, json::object config) {
  Findings found;
  check_schema(kind, live, found);
  check_schema(kind, config, found);
  if (!found.mistyped.empty()) return;
  auto now = std::chrono::system_clock::from_time_t(1'767'323'045);
  auto once = apply_fields(kind, live, config, {"f", "", true}, now);
  if (!once) return;
  auto twice = apply_fields(kind, *once, config, {"f", "", false}, now);
  if (!twice || *twice != *once) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto& table = kinds();
  const auto& kind = table[static_cast<std::size_t>(data[0]) % table.size()];
  text.remove_prefix(1);
  auto line = text.find('\n');
  json::value target, patch;
  if (!parse(text.substr(0, line), target) || !target.is_object()) return 0;
  whole_life(kind, target.get_object());
  if (line == std::string_view::npos || !parse(text.substr(line + 1), patch)) return 0;
  if (patch.is_object()) {
    apply_twice(kind, target.get_object(), patch.get_object());
    whole_life(kind, merge_patch(target.get_object(), patch.get_object()));
    if (auto got = strategic_patch(kind, target.get_object(), patch.get_object())) whole_life(kind, std::move(*got));
  }
  if (auto got = json_patch(target.get_object(), patch)) whole_life(kind, std::move(*got));
  return 0;
}
