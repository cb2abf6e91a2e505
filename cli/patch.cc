// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/patch.h"

#include <algorithm>

#include "control/api/object.h"

namespace trama::cli {

namespace json = boost::json;

namespace {

// The field by which the entries of a list are told apart; "" for lists that are replaced as a whole.
std::string merge_key(std::string_view field, const json::array& items) {
  for (auto list : {"containers", "initContainers", "ephemeralContainers", "env", "volumes"})
    if (field == list) return "name";
  if (field == "volumeMounts") return "mountPath";
  if (field == "hostAliases") return "ip";
  if (field != "ports") return "";
  bool container = std::any_of(items.begin(), items.end(), [](const json::value& i) {
    return i.is_object() && i.get_object().contains("containerPort");
  });
  return container ? "containerPort" : "port";
}

const json::value* entry_with(const json::array& items, const std::string& key, const json::value& value) {
  for (const auto& i : items)
    if (const auto* o = i.if_object(); o && o->contains(key) && o->at(key) == value) return &i;
  return nullptr;
}

json::object removals(const json::object& desired, const json::object& last);

// Directives for the entries that went, and patches for fields that went inside entries that stayed.
void remove_entries(const std::string& key, const json::array& last, json::array& patched) {
  for (const auto& old : last) {
    const auto* o = old.if_object();
    if (!o || !o->contains(key)) continue;
    auto* kept = const_cast<json::value*>(entry_with(patched, key, o->at(key)));
    if (kept) {
      for (auto& [field, value] : removals(kept->get_object(), *o)) kept->get_object()[field] = std::move(value);
      continue;
    }
    json::object gone;
    gone["$patch"] = "delete";
    gone[key] = o->at(key);
    patched.push_back(std::move(gone));
  }
}

// `desired`'s fields that must change so that what only `last` has goes away.
json::object removals(const json::object& desired, const json::object& last) {
  json::object out;
  for (const auto& [field, old] : last) {
    const auto* now = desired.if_contains(field);
    if (!now) {
      out[field] = nullptr;
    } else if (old.is_object() && now->is_object()) {
      auto inner = removals(now->get_object(), old.get_object());
      if (inner.empty()) continue;
      json::object merged = now->get_object();
      for (auto& [k, v] : inner) merged[k] = std::move(v);
      out[field] = std::move(merged);
    } else if (old.is_array() && now->is_array()) {
      auto key = merge_key(field, old.get_array());
      if (key.empty()) continue;
      json::array merged = now->get_array();
      remove_entries(key, old.get_array(), merged);
      out[field] = std::move(merged);
    }
  }
  return out;
}

}  // namespace

json::object with_last_applied(json::object desired) {
  auto text = json::serialize(desired);
  api::make_object_at(api::make_object_at(desired, "metadata"), "annotations")[kLastApplied] = text;
  return desired;
}

json::object apply_patch(const json::object& desired, const json::object& last_applied) {
  auto patch = with_last_applied(desired);
  for (auto& [field, value] : removals(desired, last_applied)) {
    if (field == "metadata" && value.is_object())
      api::make_object_at(value.get_object(), "annotations")[kLastApplied] = json::serialize(desired);
    patch[field] = std::move(value);
  }
  return patch;
}

}  // namespace trama::cli
