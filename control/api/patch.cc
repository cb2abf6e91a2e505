// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/patch.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

#include "control/api/schema.h"

namespace trama::api {

json::object merge_patch(json::object target, const json::object& patch) {
  for (const auto& [name, value] : patch) {
    if (value.is_null()) {
      target.erase(name);
    } else if (value.is_object()) {
      json::object inner;
      if (auto* there = target.if_contains(name); there && there->is_object()) inner = std::move(there->get_object());
      target[name] = merge_patch(std::move(inner), value.get_object());
    } else {
      target[name] = value;
    }
  }
  return target;
}

// ---- JSON patch -------------------------------------------------------------------------------------------------

namespace {

using Path = std::vector<std::string>;

Answer<Path> parse_pointer(std::string_view text) {
  Path path;
  if (text.empty()) return path;
  if (text[0] != '/')
    return Status::bad_request(fmt::format("JSON pointer \"{}\" does not start with '/'", text.substr(0, 100)));
  while (!text.empty()) {
    text.remove_prefix(1);
    auto slash = text.find('/');
    std::string token;
    auto raw = text.substr(0, slash);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '~' && i + 1 < raw.size() && (raw[i + 1] == '0' || raw[i + 1] == '1'))
        token += raw[++i] == '0' ? '~' : '/';
      else
        token += raw[i];
    }
    path.push_back(std::move(token));
    text = slash == std::string_view::npos ? std::string_view{} : text.substr(slash);
  }
  return path;
}

std::optional<std::size_t> array_index(const std::string& token, std::size_t limit) {
  std::size_t i = 0;
  auto [end, ec] = std::from_chars(token.data(), token.data() + token.size(), i);
  if (ec != std::errc{} || end != token.data() + token.size() || i >= limit || (token.size() > 1 && token[0] == '0'))
    return std::nullopt;
  return i;
}

json::value* find(json::value& root, const Path& path, std::size_t depth) {
  json::value* here = &root;
  for (std::size_t i = 0; i < depth; ++i) {
    if (here->is_object()) {
      here = here->get_object().if_contains(path[i]);
      if (!here) return nullptr;
    } else if (here->is_array()) {
      auto index = array_index(path[i], here->get_array().size());
      if (!index) return nullptr;
      here = &here->get_array()[*index];
    } else {
      return nullptr;
    }
  }
  return here;
}

bool add(json::value& root, const Path& path, json::value value) {
  if (path.empty()) {
    root = std::move(value);
    return true;
  }
  auto* parent = find(root, path, path.size() - 1);
  if (!parent) return false;
  if (parent->is_object()) {
    parent->get_object()[path.back()] = std::move(value);
    return true;
  }
  if (!parent->is_array()) return false;
  auto& list = parent->get_array();
  if (path.back() == "-") {
    list.push_back(std::move(value));
    return true;
  }
  auto index = array_index(path.back(), list.size() + 1);
  if (!index) return false;
  list.insert(list.begin() + *index, std::move(value));
  return true;
}

bool remove(json::value& root, const Path& path) {
  if (path.empty()) return false;
  auto* parent = find(root, path, path.size() - 1);
  if (!parent) return false;
  if (parent->is_object()) return parent->get_object().erase(path.back()) > 0;
  if (!parent->is_array()) return false;
  auto index = array_index(path.back(), parent->get_array().size());
  if (!index) return false;
  parent->get_array().erase(parent->get_array().begin() + *index);
  return true;
}

Answer<bool> run(json::value& root, const json::object& op) {
  auto name = text_at(op, "op");
  auto* path_value = op.if_contains("path");
  if (!path_value || !path_value->is_string()) return Status::bad_request("a JSON patch operation has no path");
  auto path = parse_pointer(std::string_view(path_value->get_string()));
  if (!path) return path.error();
  auto text = std::string_view(path_value->get_string());
  auto missing = [&] {
    return Status::invalid(Key{}, "JSONPatch",
                           {{"FieldValueInvalid",
                             fmt::format("the server rejected our request due to an error in our request: {} operation "
                                         "does not apply: doc is missing path: \"{}\"",
                                         name, text),
                             ""}});
  };
  auto* value = op.if_contains("value");
  if ((name == "add" || name == "replace" || name == "test") && !value)
    return Status::bad_request(fmt::format("JSON patch operation {} {} has no value", name, text));
  if (name == "add") return add(root, *path, *value) ? Answer<bool>(true) : missing();
  if (name == "remove") return remove(root, *path) ? Answer<bool>(true) : missing();
  if (name == "replace") {
    auto* there = find(root, *path, path->size());
    if (!there) return missing();
    *there = *value;
    return true;
  }
  if (name == "test") {
    auto* there = find(root, *path, path->size());
    if (there && *there == *value) return true;
    return Status::invalid(Key{}, "JSONPatch",
                           {{"FieldValueInvalid", fmt::format("testing path {} failed", text), ""}});
  }
  if (name == "move" || name == "copy") {
    auto from = parse_pointer(text_at(op, "from"));
    if (!from) return from.error();
    auto* source = find(root, *from, from->size());
    if (!source) return missing();
    json::value moved = *source;
    if (name == "move") {
      if (path->size() > from->size() && std::equal(from->begin(), from->end(), path->begin()))
        return Status::bad_request("JSON patch: cannot move a value into itself");
      remove(root, *from);
    }
    return add(root, *path, std::move(moved)) ? Answer<bool>(true) : missing();
  }
  return Status::bad_request(fmt::format("unknown JSON patch operation \"{}\"", name));
}

}  // namespace

namespace {

// How many values a document holds, counted up to `most`.
std::size_t weight(const json::value& v, std::size_t most) {
  std::size_t n = 1;
  if (v.is_array())
    for (const auto& item : v.get_array()) {
      if (n > most) break;
      n += weight(item, most - n);
    }
  if (v.is_object())
    for (const auto& member : v.get_object()) {
      if (n > most) break;
      n += weight(member.value(), most - n);
    }
  return n;
}

}  // namespace

Answer<json::object> json_patch(const json::object& target, const json::value& operations) {
  if (!operations.is_array()) return Status::bad_request("a JSON patch is a list of operations");
  if (operations.get_array().size() > 10'000)
    return Status::bad_request("the JSON patch has too many operations (the limit is 10000)");
  json::value root = target;
  for (const auto& op : operations.get_array()) {
    if (!op.is_object()) return Status::bad_request("a JSON patch operation is an object");
    auto done = run(root, op.get_object());
    if (!done) return done.error();
    // Each copy can double the document.
    constexpr std::size_t kValues = 1'000'000;
    if (text_at(op.get_object(), "op") == "copy" && weight(root, kValues) > kValues)
      return Status::bad_request("the JSON patch makes the object too large");
  }
  if (!root.is_object()) return Status::bad_request("the JSON patch does not leave an object");
  return std::move(root.get_object());
}

// ---- strategic merge patch --------------------------------------------------------------------------------------

namespace {

constexpr std::string_view kDelete = "$deleteFromPrimitiveList/", kOrder = "$setElementOrder/";

class Strategic {
 public:
  std::optional<Status> failure;

  void object(std::string_view message, json::object& target, const json::object& patch) {
    if (auto* directive = patch.if_contains("$patch");
        directive && directive->is_string() && directive->get_string() == "replace") {
      target = patch;
      target.erase("$patch");
      return;
    }
    if (auto* keep = patch.if_contains("$retainKeys"); keep && keep->is_array()) {
      std::set<std::string> names;
      for (const auto& k : keep->get_array())
        if (k.is_string()) names.emplace(k.get_string());
      for (auto it = target.begin(); it != target.end();)
        it = names.count(std::string(it->key())) ? std::next(it) : target.erase(it);
    }
    for (const auto& [raw, value] : patch) {
      std::string_view name(raw);
      if (name == "$patch" || name == "$retainKeys" || name.substr(0, kOrder.size()) == kOrder) continue;
      if (name.substr(0, kDelete.size()) == kDelete) {
        delete_primitives(target, name.substr(kDelete.size()), value);
        continue;
      }
      member(find(message, name), target, name, value, patch);
    }
  }

 private:
  static const Field* find(std::string_view message, std::string_view name) {
    auto* f = find_field(message, name);
    return !f && name == "metadata" ? &metadata_field() : f;
  }

  void member(const Field* field, json::object& target, std::string_view name, const json::value& value,
              const json::object& patch) {
    if (value.is_null()) {
      target.erase(name);
      return;
    }
    if (value.is_object()) {
      auto* directive = value.get_object().if_contains("$patch");
      if (directive && directive->is_string() && directive->get_string() == "delete") {
        target.erase(name);
        return;
      }
      auto& there = target[name];
      if (!there.is_object()) there = json::object();
      object(field ? field->of : "", there.get_object(), value.get_object());
      return;
    }
    if (value.is_array() && field && !field->keys.empty()) {
      auto& there = target[name];
      if (!there.is_array()) there = json::array();
      if (field->keys == "-")
        merge_primitives(there.get_array(), value.get_array());
      else
        merge_list(*field, there.get_array(), value.get_array(), name, patch);
      return;
    }
    target[name] = value;
  }

  static void merge_primitives(json::array& target, const json::array& patch) {
    for (const auto& v : patch)
      if (std::find(target.begin(), target.end(), v) == target.end()) target.push_back(v);
  }

  static void delete_primitives(json::object& target, std::string_view name, const json::value& values) {
    auto* there = target.if_contains(name);
    if (!there || !there->is_array() || !values.is_array()) return;
    auto& list = there->get_array();
    for (auto it = list.begin(); it != list.end();) {
      const auto& gone = values.get_array();
      it = std::find(gone.begin(), gone.end(), *it) != gone.end() ? list.erase(it) : std::next(it);
    }
  }

  static const json::value* key_of(const json::value& item, std::string_view key) {
    return item.is_object() ? item.get_object().if_contains(key) : nullptr;
  }
  static json::value* item_with(json::array& list, std::string_view key, const json::value& wanted) {
    for (auto& item : list)
      if (auto* k = key_of(item, key); k && *k == wanted) return &item;
    return nullptr;
  }

  void merge_list(const Field& field, json::array& target, const json::array& patch, std::string_view name,
                  const json::object& whole) {
    for (const auto& item : patch) {
      auto* directive = key_of(item, "$patch");
      auto action = directive && directive->is_string() ? std::string(directive->get_string()) : std::string();
      if (action == "replace") {
        target.clear();
        for (const auto& other : patch)
          if (!key_of(other, "$patch")) target.push_back(other);
        return;
      }
      auto* id = key_of(item, patch_key(field));
      if (!id) {
        failure = Status::bad_request(fmt::format(
            "strategic merge patch: an item of \"{}\" has no \"{}\", its merge key", name, patch_key(field)));
        return;
      }
      auto* there = item_with(target, patch_key(field), *id);
      if (action == "delete") {
        if (there) target.erase(target.begin() + (there - &target[0]));
      } else if (there) {
        object(field.of, there->get_object(), item.get_object());
      } else {
        json::object fresh;
        object(field.of, fresh, item.get_object());
        target.push_back(std::move(fresh));
      }
    }
    order(field, target, whole.if_contains(std::string(kOrder) + std::string(name)));
  }

  // Listed items come in the listed order; the others keep their places behind them.
  static void order(const Field& field, json::array& target, const json::value* wanted) {
    if (!wanted || !wanted->is_array()) return;
    json::array sorted;
    for (const auto& id : wanted->get_array()) {
      auto* key = key_of(id, patch_key(field));
      if (!key) continue;
      if (auto* item = item_with(target, patch_key(field), *key); item && !item_with(sorted, patch_key(field), *key))
        sorted.push_back(*item);
    }
    for (const auto& item : target) {
      auto* key = key_of(item, patch_key(field));
      if (!key || !item_with(sorted, patch_key(field), *key)) sorted.push_back(item);
    }
    target = std::move(sorted);
  }
};

}  // namespace

Answer<json::object> strategic_patch(const Kind& kind, json::object target, const json::object& patch) {
  Strategic s;
  s.object(message_of(kind), target, patch);
  if (s.failure) return *s.failure;
  return target;
}

}  // namespace trama::api
