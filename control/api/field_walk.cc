// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/field_walk.h"

#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>

#include "control/api/schema.h"

namespace trama::api {
namespace {

// How a value falls into fields.
struct Shape {
  enum Form { whole, record, map, items, set } form = whole;
  std::string_view message = "";  // of a record or of the items
  std::string_view keys = "";     // of the items
  bool root = false;              // a record that also has metadata
};

// Structures that upstream sets as a whole.
bool is_atomic(std::string_view message) {
  static constexpr auto names = std::to_array<std::string_view>(
      {"LabelSelector", "ObjectReference", "LocalObjectReference", "OwnerReference", "ConfigMapKeySelector",
       "SecretKeySelector", "ObjectFieldSelector", "ResourceFieldSelector", "NodeSelector", "NodeSelectorTerm",
       "TypedLocalObjectReference", "FieldsV1"});
  return std::find(names.begin(), names.end(), message) != names.end();
}

Shape shape_of(const Field& f) {
  switch (f.type) {
    case Type::object: return is_atomic(f.of) ? Shape{} : Shape{Shape::record, f.of};
    case Type::list: return f.keys.empty() ? Shape{} : Shape{Shape::items, f.of, f.keys};
    case Type::texts: return f.keys == "-" ? Shape{Shape::set} : Shape{};
    case Type::map:
    case Type::bytes_map:
    case Type::quantities: return f.atomic ? Shape{} : Shape{Shape::map};
    default: return {};
  }
}

Shape item_shape(const Shape& list) { return is_atomic(list.message) ? Shape{} : Shape{Shape::record, list.message}; }

// The shape of a member of a record or map; null for what has none (apiVersion, kind, unknown fields).
std::optional<Shape> member_shape(const Shape& around, std::string_view name) {
  if (around.form == Shape::map) return Shape{};
  const auto* f = around.root && name == "metadata" ? &metadata_field() : find_field(around.message, name);
  if (!f) return std::nullopt;
  return shape_of(*f);
}

bool fits(const Shape& shape, const json::value& v) {
  bool by_name = shape.form == Shape::record || shape.form == Shape::map;
  return shape.form == Shape::whole || (by_name ? v.is_object() : v.is_array());
}

// "k:{…}" with the keys in order, or "v:…"; keys that the item lacks have their defaults. `complete` tells whether
// every key is there.
std::string element_of(const Shape& list, const json::value& item, bool* complete = nullptr) {
  if (list.form == Shape::set) return "v:" + json::serialize(item);
  std::map<std::string, json::value> keys;
  bool all = item.is_object();
  for (std::size_t from = 0; from < list.keys.size() && item.is_object();) {
    auto comma = std::min(list.keys.find(',', from), list.keys.size());
    auto name = list.keys.substr(from, comma - from);
    from = comma + 1;
    const auto* f = find_field(list.message, name);
    if (const auto* v = item.get_object().if_contains(name))
      keys.emplace(name, *v);
    else if (f && !f->fallback.empty())
      keys.emplace(name, json::parse({f->fallback.data(), f->fallback.size()}));
    else
      all = false;
  }
  if (complete) *complete = all;
  json::object sorted;
  for (auto& [name, value] : keys) sorted[name] = std::move(value);
  return "k:" + json::serialize(sorted);
}

// ---- which fields there are

std::string collect(const Shape& shape, const json::value& v, FieldSet& out, const std::string& path) {
  if (shape.form == Shape::whole || !fits(shape, v)) {
    out.member = true;
    return "";
  }
  if (v.is_object()) {
    if (v.get_object().empty() && !shape.root) out.member = true;
    for (const auto& [raw, value] : v.get_object()) {
      std::string name(raw);
      auto inner = member_shape(shape, name);
      if (!inner) continue;
      FieldSet child;
      if (auto wrong = collect(*inner, value, child, path + "." + name); !wrong.empty()) return wrong;
      if (!child.empty()) out.children.emplace("f:" + name, std::move(child));
    }
    return "";
  }
  for (const auto& item : v.get_array()) {
    bool complete = true;
    auto element = element_of(shape, item, &complete);
    if (!complete)
      return fmt::format("{}: element: associative list with keys has an element that omits key field", path);
    auto [at, fresh] = out.children.try_emplace(element);
    if (!fresh) return fmt::format("{}: duplicate entries for key {}", path, element.substr(2));
    at->second.member = true;
    if (shape.form == Shape::set) continue;
    auto inner = item_shape(shape);
    if (inner.form == Shape::whole) continue;
    if (auto wrong = collect(inner, item, at->second, path); !wrong.empty()) return wrong;
  }
  return "";
}

// ---- what differs

using Parts = std::map<std::string, std::pair<const json::value*, Shape>>;

Parts members_of(const Shape& shape, const json::object& body) {
  Parts out;
  for (const auto& [raw, value] : body)
    if (auto inner = member_shape(shape, raw)) out.emplace("f:" + std::string(raw), std::pair{&value, *inner});
  return out;
}

// The parts of a value by path element. Of two items with the same keys the first counts.
Parts parts_of(const Shape& shape, const json::value* v) {
  Parts out;
  if (!v || !fits(shape, *v)) return out;
  if (v->is_object()) return members_of(shape, v->get_object());
  if (v->is_array()) {
    auto inner = shape.form == Shape::set ? Shape{} : item_shape(shape);
    for (const auto& item : v->get_array()) out.emplace(element_of(shape, item), std::pair{&item, inner});
  }
  return out;
}

void attach(FieldSet& to, const std::string& element, FieldSet child) {
  if (!child.empty()) to.children.emplace(element, std::move(child));
}

void differ_parts(const Parts& old_parts, const Parts& new_parts, bool items, Comparison& out);

// Null = not there. Collections and items of lists are fields themselves when they come or go, records are not unless
// they are empty.
Comparison differ(const Shape& shape, const json::value* before, const json::value* after, bool item) {
  Comparison out;
  if (before && after && *before == *after) return out;
  if (shape.form == Shape::whole || (before && !fits(shape, *before)) || (after && !fits(shape, *after))) {
    if (!before)
      out.added.member = true;
    else if (!after)
      out.removed.member = true;
    else if (*before != *after)
      out.modified.member = true;
    return out;
  }
  const auto* one = before ? before : after;
  bool empty = one->is_object() && one->get_object().empty();
  if ((!before || !after) && (shape.form != Shape::record || item || empty))
    (before ? out.removed : out.added).member = true;
  bool items = shape.form == Shape::items || shape.form == Shape::set;
  differ_parts(parts_of(shape, before), parts_of(shape, after), items, out);
  return out;
}

void differ_parts(const Parts& old_parts, const Parts& new_parts, bool items, Comparison& out) {
  auto was = old_parts.begin(), is = new_parts.begin();
  while (was != old_parts.end() || is != new_parts.end()) {
    bool gone = is == new_parts.end() || (was != old_parts.end() && was->first < is->first);
    bool fresh = was == old_parts.end() || (is != new_parts.end() && is->first < was->first);
    const auto& [element, part] = fresh ? *is : *was;
    auto inner = differ(part.second, fresh ? nullptr : was->second.first, gone ? nullptr : is->second.first, items);
    attach(out.added, element, std::move(inner.added));
    attach(out.modified, element, std::move(inner.modified));
    attach(out.removed, element, std::move(inner.removed));
    if (!fresh) ++was;
    if (!gone) ++is;
  }
}

// ---- laying over, taking out

void merge(const Shape& shape, json::value& body, const json::value& over) {
  if (shape.form == Shape::whole || !fits(shape, body) || !fits(shape, over)) {
    body = over;
    return;
  }
  if (over.is_object()) {
    auto& to = body.get_object();
    for (const auto& [name, value] : over.get_object()) {
      auto inner = member_shape(shape, name);
      if (auto* there = to.if_contains(name); there && inner)
        merge(*inner, *there, value);
      else
        to[name] = value;
    }
    return;
  }
  auto& list = body.get_array();
  for (const auto& item : over.get_array()) {
    auto element = element_of(shape, item);
    auto there = std::find_if(list.begin(), list.end(), [&](auto& v) { return element_of(shape, v) == element; });
    if (there == list.end())
      list.push_back(item);
    else if (shape.form == Shape::items)
      merge(item_shape(shape), *there, item);
  }
}

void take_out(const Shape& shape, json::value& body, const FieldSet& gone, const FieldSet& kept) {
  if (shape.form == Shape::whole || !fits(shape, body)) return;
  for (const auto& [element, part] : gone.children) {
    const auto* stays = kept.child(element);
    if (body.is_object()) {
      auto name = element.substr(2);
      auto* there = body.get_object().if_contains(name);
      if (!there) continue;
      if (!stays)
        body.get_object().erase(name);
      else if (auto inner = member_shape(shape, name))
        take_out(*inner, *there, part, *stays);
    } else {
      auto& list = body.get_array();
      auto there = std::find_if(list.begin(), list.end(),
                                [&, &wanted = element](auto& v) { return element_of(shape, v) == wanted; });
      if (there == list.end()) continue;
      if (!stays)
        list.erase(there);
      else if (shape.form == Shape::items)
        take_out(item_shape(shape), *there, part, *stays);
    }
  }
}

Shape root(std::string_view message) { return {Shape::record, message, "", true}; }

}  // namespace

Answer<FieldSet> fields_in(std::string_view message, const json::object& body) {
  FieldSet out;
  if (auto wrong = collect(root(message), json::value(body), out, ""); !wrong.empty())
    return Status::bad_request(std::move(wrong));
  return out;
}

Comparison compare_fields(std::string_view message, const json::object& before, const json::object& after) {
  Comparison out;
  differ_parts(members_of(root(message), before), members_of(root(message), after), false, out);
  return out;
}

void merge_fields(std::string_view message, json::object& body, const json::object& over) {
  json::value whole(std::move(body));
  merge(root(message), whole, json::value(over));
  body = std::move(whole.get_object());
}

void remove_fields(std::string_view message, json::object& body, const FieldSet& gone, const FieldSet& kept) {
  json::value whole(std::move(body));
  take_out(root(message), whole, gone, kept);
  body = std::move(whole.get_object());
}

}  // namespace trama::api
