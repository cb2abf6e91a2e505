// SPDX-License-Identifier: GPL-2.0-or-later
// Reading of the shapes that several kinds share; the decoders of types.h are written with these.
#pragma once

#include <algorithm>
#include <climits>
#include <string>
#include <vector>

#include "control/api/quantity.h"
#include "control/api/types.h"

namespace trama::api {

inline int small_int_at(const json::object& o, std::string_view path, int otherwise = 0) {
  return static_cast<int>(std::clamp<std::int64_t>(int_at(o, path, otherwise), INT_MIN, INT_MAX));
}

inline std::vector<std::string> texts_at(const json::object& o, std::string_view path) {
  std::vector<std::string> out;
  for (const auto& v : array_at(o, path))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

template <class F>
void for_objects(const json::object& o, std::string_view path, F&& each) {
  for (const auto& v : array_at(o, path))
    if (v.is_object()) each(v.get_object());
}

inline PortRef port_ref_at(const json::object& o, std::string_view path) {
  const auto* v = at(o, path);
  PortRef p;
  if (v && v->is_string())
    p.name = std::string(v->get_string());
  else if (v)
    p.number = small_int_at(o, path);
  return p;
}

inline std::vector<Condition> conditions_at(const json::object& o, std::string_view path) {
  std::vector<Condition> out;
  for_objects(o, path, [&](const json::object& c) {
    out.push_back({text_at(c, "type"), text_at(c, "status"), text_at(c, "reason"), text_at(c, "message"),
                   text_at(c, "lastTransitionTime")});
  });
  return out;
}

inline Resources resources_at(const json::object& o, std::string_view path) {
  const auto& list = object_at(o, path);
  Resources r;
  if (const auto* v = list.if_contains("cpu")) r.cpu_milli = milli_of(*v);
  if (const auto* v = list.if_contains("memory")) r.memory_bytes = units_of(*v);
  if (const auto* v = list.if_contains("pods")) r.pods = units_of(*v);
  return r;
}

}  // namespace trama::api
