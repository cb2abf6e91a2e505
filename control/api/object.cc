// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/object.h"

namespace trama::api {

std::string Key::to_string() const { return ns.empty() ? resource + "/" + name : resource + "/" + ns + "/" + name; }

const std::string& Object::text() const {
  if (text_.empty()) text_ = json::serialize(body);
  return text_;
}

ObjectPtr make_object(Key key, json::object body, std::uint64_t revision) {
  auto object = std::make_shared<Object>();
  auto& metadata = make_object_at(body, "metadata");
  metadata["resourceVersion"] = std::to_string(revision);
  object->uid = text_at(metadata, "uid");
  object->labels = strings_at(metadata, "labels");
  object->key = std::move(key);
  object->revision = revision;
  object->body = std::move(body);
  return object;
}

const json::value* at(const json::object& v, std::string_view path) {
  const json::object* here = &v;
  for (;;) {
    auto dot = path.find('.');
    auto it = here->find(path.substr(0, dot));
    if (it == here->end()) return nullptr;
    if (dot == std::string_view::npos) return &it->value();
    if (!it->value().is_object()) return nullptr;
    here = &it->value().get_object();
    path = path.substr(dot + 1);
  }
}

const json::value* at(const json::value& v, std::string_view path) {
  return v.is_object() ? at(v.get_object(), path) : nullptr;
}

std::string text_at(const json::object& v, std::string_view path, std::string_view otherwise) {
  auto* found = at(v, path);
  return found && found->is_string() ? std::string(found->get_string()) : std::string(otherwise);
}

std::int64_t int_at(const json::object& v, std::string_view path, std::int64_t otherwise) {
  auto* found = at(v, path);
  if (!found) return otherwise;
  if (found->is_int64()) return found->get_int64();
  if (found->is_uint64() && found->get_uint64() <= INT64_MAX) return static_cast<std::int64_t>(found->get_uint64());
  return otherwise;
}

bool bool_at(const json::object& v, std::string_view path, bool otherwise) {
  auto* found = at(v, path);
  return found && found->is_bool() ? found->get_bool() : otherwise;
}

const json::array& array_at(const json::object& v, std::string_view path) {
  static const json::array nothing;
  auto* found = at(v, path);
  return found && found->is_array() ? found->get_array() : nothing;
}

const json::object& object_at(const json::object& v, std::string_view path) {
  static const json::object nothing;
  auto* found = at(v, path);
  return found && found->is_object() ? found->get_object() : nothing;
}

std::map<std::string, std::string> strings_at(const json::object& v, std::string_view path) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : object_at(v, path))
    if (value.is_string()) out.emplace(std::string(name), std::string(value.get_string()));
  return out;
}

json::object& make_object_at(json::object& v, std::string_view path) {
  json::object* here = &v;
  for (;;) {
    auto dot = path.find('.');
    auto& child = (*here)[path.substr(0, dot)];
    if (!child.is_object()) child = json::object();
    here = &child.get_object();
    if (dot == std::string_view::npos) return *here;
    path = path.substr(dot + 1);
  }
}

}  // namespace trama::api
