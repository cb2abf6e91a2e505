// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/openapi.h"

#include <functional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/schema_table.h"

namespace trama::api {
namespace {

using testing::HasSubstr;

std::set<std::string_view> groups() {
  std::set<std::string_view> out;
  for (const auto& kind : kinds()) out.insert(kind.group);
  return out;
}

const json::object& schemas(const json::object& document) { return object_at(document, "components.schemas"); }

void each_reference(const json::value& v, const std::function<void(std::string)>& call) {
  if (v.is_array())
    for (const auto& item : v.get_array()) each_reference(item, call);
  if (!v.is_object()) return;
  for (const auto& [name, value] : v.get_object()) {
    if (name == "$ref")
      call(std::string(value.as_string()));
    else
      each_reference(value, call);
  }
}

const json::object* by_kind(const json::object& document, std::string_view group, std::string_view kind) {
  const json::object* found = nullptr;
  for (const auto& [name, schema] : schemas(document))
    for (const auto& gvk : array_at(schema.as_object(), "x-kubernetes-group-version-kind"))
      if (text_at(gvk.as_object(), "kind") == kind && text_at(gvk.as_object(), "group") == group) {
        EXPECT_EQ(found, nullptr) << kind << " is there twice";
        found = &schema.as_object();
      }
  return found;
}

// A property's schema behind its $ref, or itself.
const json::object& followed(const json::object& document, const json::object& property) {
  std::string ref;
  each_reference(property, [&](std::string r) { ref = std::move(r); });
  if (ref.empty()) return property;
  return schemas(document).at(ref.substr(std::string("#/components/schemas/").size())).as_object();
}

TEST(OpenApi, EveryReferenceResolvesAndEverySchemaIsUsed) {
  for (auto group : groups()) {
    SCOPED_TRACE(group);
    auto document = openapi_v3(group, "1");
    EXPECT_EQ(text_at(document, "openapi"), "3.0.0");
    std::set<std::string> used;
    each_reference(document, [&](std::string ref) {
      ASSERT_TRUE(ref.starts_with("#/components/schemas/")) << ref;
      used.insert(ref.substr(std::string("#/components/schemas/").size()));
    });
    for (const auto& name : used) EXPECT_TRUE(schemas(document).contains(name)) << name << " does not exist";
    for (const auto& [name, schema] : schemas(document)) {
      ASSERT_TRUE(schema.is_object()) << std::string_view(name);
      EXPECT_TRUE(used.count(std::string(name))) << std::string_view(name) << " is not used";
    }
    // Strict JSON: what is written is what is read.
    EXPECT_EQ(json::parse(json::serialize(document)), json::value(document));
  }
}

TEST(OpenApi, EveryKindHasAllOfItsFields) {
  for (const auto& kind : kinds()) {
    SCOPED_TRACE(std::string(kind.group) + "/" + std::string(kind.kind));
    auto document = openapi_v3(kind.group, "1");
    const auto* schema = by_kind(document, kind.group, kind.kind);
    ASSERT_NE(schema, nullptr);
    ASSERT_NE(by_kind(document, kind.group, std::string(kind.kind) + "List"), nullptr);
    EXPECT_FALSE(text_at(*schema, "description").empty());
    const auto& properties = object_at(*schema, "properties");
    for (const char* common : {"apiVersion", "kind", "metadata"}) EXPECT_TRUE(properties.contains(common)) << common;
    EXPECT_EQ(properties.size(), fields_of(message_of(kind)).size() + 3);
    for (const auto& [name, property] : properties)
      EXPECT_FALSE(text_at(property.as_object(), "description").empty()) << std::string_view(name);
  }
}

TEST(OpenApi, EveryRowIsShown) {
  std::set<std::pair<std::string, std::string>> shown;
  for (auto group : groups()) {
    auto document = openapi_v3(group, "1");
    for (const auto& [name, schema] : schemas(document))
      for (const auto& [field, property] : object_at(schema.as_object(), "properties"))
        shown.insert({std::string(name), std::string(field)});
  }
  // Inlined messages have no schema of their own, Preconditions and such stand in DeleteOptions.
  std::set<std::string_view> inlined;
  for (const auto& part : schema_parts())
    for (const auto& f : part.rows)
      if (f.type == Type::inlined) inlined.insert(f.of);
  for (const auto& part : schema_parts()) {
    // Reviews are answered and not stored: they are no kinds of a document.
    if (part.package.starts_with("io.k8s.api.auth")) continue;
    for (const auto& f : part.rows) {
      if (f.type == Type::inlined || (inlined.count(f.message) && f.message != "Container")) continue;
      auto component = std::string(part.package) + "." + std::string(f.message.substr(f.message.rfind('.') + 1));
      // A namespaced reference is only seen where a kind uses it.
      EXPECT_TRUE(shown.count({component, std::string(f.name)}) || f.message == "LocalObjectReference")
          << component << "." << f.name;
    }
  }
}

TEST(OpenApi, FieldsSayWhatTheTableSays) {
  auto core = openapi_v3("", "1");
  const auto* pod = by_kind(core, "", "Pod");
  ASSERT_NE(pod, nullptr);
  const auto& spec = followed(core, object_at(*pod, "properties.spec"));
  EXPECT_EQ(json::serialize(spec.at("required")), R"(["containers"])");
  const auto& properties = object_at(spec, "properties");
  EXPECT_EQ(text_at(properties, "containers.type"), "array");
  EXPECT_EQ(text_at(properties, "containers.x-kubernetes-patch-merge-key"), "name");
  EXPECT_EQ(text_at(properties, "containers.x-kubernetes-patch-strategy"), "merge");
  EXPECT_EQ(text_at(properties, "priority.format"), "int32");
  EXPECT_EQ(text_at(properties, "activeDeadlineSeconds.format"), "int64");
  EXPECT_EQ(json::serialize(*at(properties, "restartPolicy.enum")), R"(["Always","OnFailure","Never"])");
  EXPECT_EQ(text_at(properties, "restartPolicy.default"), "Always");
  EXPECT_EQ(text_at(properties, "nodeSelector.additionalProperties.type"), "string");
  const auto& container = followed(core, object_at(properties, "containers.items"));
  const auto& probe = followed(core, object_at(container, "properties.livenessProbe"));
  EXPECT_TRUE(object_at(probe, "properties").contains("httpGet")) << "inlined members stand among the others";
  EXPECT_FALSE(object_at(probe, "properties").contains("handler"));
  const auto* secret = by_kind(core, "", "Secret");
  EXPECT_EQ(text_at(*secret, "properties.data.additionalProperties.format"), "byte");
  const auto* service = by_kind(core, "", "Service");
  const auto& port =
      followed(core, object_at(followed(core, object_at(*service, "properties.spec")), "properties.ports.items"));
  EXPECT_EQ(text_at(followed(core, object_at(port, "properties.targetPort")), "format"), "int-or-string");

  auto events = openapi_v3("events.k8s.io", "1");
  const auto* event = by_kind(events, "events.k8s.io", "Event");
  ASSERT_NE(event, nullptr);
  EXPECT_TRUE(object_at(*event, "properties").contains("regarding"));
  EXPECT_FALSE(object_at(*event, "properties").contains("involvedObject"));
}

// How kubectl >= 1.27 finds out that fields need not be checked on its side.
TEST(OpenApi, PatchesTakeFieldValidationAndNameNoBody) {
  for (const auto& kind : kinds()) {
    SCOPED_TRACE(std::string(kind.group) + "/" + std::string(kind.kind));
    auto document = openapi_v3(kind.group, "1");
    int found = 0;
    for (const auto& [path, operations] : object_at(document, "paths")) {
      const auto* patch = operations.as_object().if_contains("patch");
      if (!patch) continue;
      EXPECT_FALSE(patch->as_object().contains("requestBody")) << std::string_view(path);
      const auto& gvk = object_at(patch->as_object(), "x-kubernetes-group-version-kind");
      if (text_at(gvk, "kind") != kind.kind) continue;
      EXPECT_EQ(text_at(gvk, "group"), kind.group);
      EXPECT_EQ(text_at(gvk, "version"), "v1");
      for (const auto& p : array_at(patch->as_object(), "parameters"))
        found += text_at(p.as_object(), "name") == "fieldValidation" && text_at(p.as_object(), "in") == "query";
    }
    EXPECT_GE(found, 1);
    auto root = kind.group.empty() ? std::string("/api/v1/") : "/apis/" + std::string(kind.group) + "/v1/";
    auto path = root + (kind.namespaced ? "namespaces/{namespace}/" : "") + std::string(kind.resource);
    EXPECT_TRUE(object_at(document, "paths").contains(path)) << path;
    EXPECT_TRUE(object_at(document, "paths").contains(path + "/{name}")) << path;
  }
}

TEST(OpenApi, ParametersOfPathsAreThoseInTheirBraces) {
  for (auto group : groups()) {
    auto document = openapi_v3(group, "1");
    for (const auto& [path, operations] : object_at(document, "paths")) {
      std::set<std::string> named;
      for (const auto& p : array_at(operations.as_object(), "parameters"))
        named.insert("{" + text_at(p.as_object(), "name") + "}");
      std::string_view rest(path);
      std::set<std::string> braces;
      for (auto open = rest.find('{'); open != rest.npos; open = rest.find('{', open + 1))
        braces.insert(std::string(rest.substr(open, rest.find('}', open) - open + 1)));
      EXPECT_EQ(named, braces) << std::string_view(path);
    }
  }
}

}  // namespace
}  // namespace trama::api
