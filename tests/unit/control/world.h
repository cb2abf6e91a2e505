// SPDX-License-Identifier: GPL-2.0-or-later
// Objects for tests of planners, written as JSON text, and a transaction over a plain map.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/loops/meta.h"
#include "control/store/store.h"

namespace trama::control::test {

inline Time at(const char* text) { return *base::parse_timestamp(text); }

inline json::object object(const std::string& text) { return json::parse(text).as_object(); }

// An object as the store holds it. The uid defaults to "uid-<name>".
inline api::ObjectPtr stored(const std::string& resource, const std::string& text, std::uint64_t revision = 1) {
  auto body = object(text);
  api::Key key{resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
  if (api::text_at(body, "metadata.uid").empty()) api::make_object_at(body, "metadata")["uid"] = "uid-" + key.name;
  return api::make_object(key, std::move(body), revision);
}

class MapTransaction : public store::Transaction {
 public:
  api::ObjectPtr get(const api::Key& key) const override {
    auto it = objects.find(key);
    return it == objects.end() ? nullptr : it->second;
  }
  std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns) const override {
    std::vector<api::ObjectPtr> out;
    for (const auto& [key, o] : objects)
      if (key.resource == resource && (ns.empty() || key.ns == ns)) out.push_back(o);
    return out;
  }
  api::ObjectPtr put(const api::Key& key, json::object body) override {
    return objects[key] = api::make_object(key, std::move(body), ++revision);
  }
  void erase(const api::Key& key) override { objects.erase(key); }
  void guard(const std::string& name) override { guarded.push_back(name); }

  std::map<api::Key, api::ObjectPtr> objects;
  std::vector<std::string> guarded;
  std::uint64_t revision = 0;
};

}  // namespace trama::control::test
