// SPDX-License-Identifier: GPL-2.0-or-later
// The objects of the API as values: canonical JSON plus the few header fields everybody asks for.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace trama::api {

namespace json = boost::json;

// Where an object lives. `resource` is the plural name ("pods"); it is unique over all groups that we serve.
// `ns` is empty for cluster-scoped resources.
struct Key {
  std::string resource;
  std::string ns;
  std::string name;
  std::string to_string() const;  // "pods/default/web-1", "nodes/n1"
  friend auto operator<=>(const Key&, const Key&) = default;
};

// One stored version of one object. Immutable and shared: the store, the watches and the loops hold the same one.
struct Object {
  Key key;
  std::string uid;
  std::uint64_t revision = 0;  // metadata.resourceVersion as a number
  std::map<std::string, std::string> labels;
  json::object body;  // the whole object, apiVersion and kind included
  // `body` as bytes, serialised once on first use; every watcher shares them.
  const std::string& text() const;

 private:
  mutable std::string text_;
};
using ObjectPtr = std::shared_ptr<const Object>;

// Builds the header from a body. The body must have metadata.name; `revision` is written into it.
ObjectPtr make_object(Key key, json::object body, std::uint64_t revision);

// Reading JSON without ceremony. Every function answers "nothing there" for a missing or differently typed field:
// validation has happened at the door, later code never re-validates.
const json::value* at(const json::value& v, std::string_view dotted_path);  // "spec.template.metadata"
const json::value* at(const json::object& v, std::string_view dotted_path);
std::string text_at(const json::object& v, std::string_view dotted_path, std::string_view otherwise = "");
std::int64_t int_at(const json::object& v, std::string_view dotted_path, std::int64_t otherwise = 0);
bool bool_at(const json::object& v, std::string_view dotted_path, bool otherwise = false);
const json::array& array_at(const json::object& v, std::string_view dotted_path);    // a shared empty one if absent
const json::object& object_at(const json::object& v, std::string_view dotted_path);  // a shared empty one if absent
std::map<std::string, std::string> strings_at(const json::object& v, std::string_view dotted_path);
// The object at the path, made (with its parents) when absent.
json::object& make_object_at(json::object& v, std::string_view dotted_path);

}  // namespace trama::api
