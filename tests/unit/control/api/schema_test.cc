// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/schema.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/schema_table.h"

namespace trama::api {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json::object object(std::string_view text) { return json::parse({text.data(), text.size()}).as_object(); }

Findings check(const char* resource, json::object& body) {
  Findings found;
  check_schema(*kind_of_resource(resource), body, found);
  return found;
}

// Negative control of the whole table: every reference resolves and no row is there twice.
TEST(SchemaTable, IsConsistent) {
  std::set<std::string_view> messages;
  std::set<std::pair<std::string_view, std::string_view>> rows;
  std::set<std::pair<std::string_view, unsigned>> numbers;
  for (const auto& part : schema_parts())
    for (const auto& f : part.rows) messages.insert(f.message);
  for (const auto& part : schema_parts())
    for (const auto& f : part.rows) {
      SCOPED_TRACE(testing::Message() << f.message << "." << f.name);
      EXPECT_TRUE(rows.insert({f.message, f.name}).second) << "twice";
      EXPECT_TRUE(numbers.insert({f.message, f.wire.number}).second) << "number " << f.wire.number << " twice";
      EXPECT_GT(f.wire.number, 0u);
      bool nests = f.type == Type::object || f.type == Type::list || f.type == Type::inlined;
      EXPECT_EQ(!f.of.empty(), nests || f.of == "RawExtension") << "RawExtension: JSON of any kind";
      EXPECT_EQ(f.doc.empty(), f.type == Type::inlined) << "every member has a sentence for kubectl explain";
      if (!f.doc.empty()) {
        EXPECT_TRUE(f.doc.ends_with('.')) << f.doc;
      }
      if (nests) {
        EXPECT_TRUE(messages.count(f.of)) << "is of unknown message " << f.of;
      }
      if (!f.fallback.empty()) {
        boost::system::error_code ec;
        (void)json::parse({f.fallback.data(), f.fallback.size()}, ec);
        EXPECT_FALSE(ec) << "default is not JSON: " << f.fallback;
      }
      for (std::size_t from = 0; from < f.keys.size() && f.keys != "-";) {
        auto comma = std::min(f.keys.find(',', from), f.keys.size());
        auto key = f.keys.substr(from, comma - from);
        EXPECT_NE(find_field(f.of, key), nullptr) << "no key " << key;
        from = comma + 1;
      }
    }
  for (const auto& kind : kinds()) EXPECT_FALSE(fields_of(message_of(kind)).empty()) << "no schema for " << kind.kind;
}

TEST(SchemaTable, MembersOfInlinedMessagesStandAmongTheOthers) {
  EXPECT_NE(find_field("Volume", "emptyDir"), nullptr);
  EXPECT_EQ(find_field("Volume", "volumeSource"), nullptr);
  EXPECT_EQ(wire_field("Volume", 2)->name, "volumeSource");
  EXPECT_NE(find_field("EphemeralContainer", "image"), nullptr);
  EXPECT_NE(find_field("EphemeralContainer", "targetContainerName"), nullptr);
  EXPECT_EQ(find_field("Container", "targetContainerName"), nullptr);
}

TEST(Schema, UnknownFieldsAreNamedByPathAndDropped) {
  auto body = object(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","lables":{}},
      "spec":{"containers":[{"name":"a","image":"i","imagee":"x"}],"restartPolicyy":"Always"}})");
  auto found = check("pods", body);
  EXPECT_THAT(found.unknown, testing::UnorderedElementsAre("unknown field \"metadata.lables\"",
                                                           "unknown field \"spec.containers[0].imagee\"",
                                                           "unknown field \"spec.restartPolicyy\""));
  EXPECT_EQ(at(body, "spec.restartPolicyy"), nullptr);
  EXPECT_THAT(check("pods", body).unknown, IsEmpty());
}

TEST(Schema, WrongTypesAreNamed) {
  struct Case {
    const char *resource, *body, *path;
  };
  const Case cases[] = {
      {"deployments", R"({"metadata":{"name":"a"},"spec":{"replicas":"3","selector":{},"template":{}}})",
       "spec.replicas"},
      {"deployments", R"({"metadata":{"name":"a"},"spec":{"replicas":1.5,"selector":{},"template":{}}})",
       "spec.replicas"},
      {"pods", R"({"metadata":{"labels":{"a":1}},"spec":{"containers":[]}})", "metadata.labels.a"},
      {"pods", R"({"spec":{"containers":{}}})", "spec.containers"},
      {"pods", R"({"spec":{"containers":["x"]}})", "spec.containers[0]"},
      {"pods", R"({"spec":{"hostNetwork":"yes","containers":[]}})", "spec.hostNetwork"},
      {"pods", R"({"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"lots"}}}]}})",
       "spec.containers[0].resources.limits.cpu"},
      {"services", R"({"spec":{"ports":[{"port":80,"targetPort":true}]}})", "spec.ports[0].targetPort"},
      {"nodes", R"({"metadata":[]})", "metadata"},
  };
  for (const auto& c : cases) {
    auto body = object(c.body);
    EXPECT_THAT(check(c.resource, body).mistyped, Contains(HasSubstr(c.path))) << c.body;
  }
}

TEST(Schema, RequiredAndEnumerations) {
  auto body = object(R"({"metadata":{"name":"a"},"spec":{"type":"Clusterip","ports":[{"protocol":"HTTP"}]}})");
  auto found = check("services", body);
  std::set<std::string> said;
  for (const auto& c : found.invalid) said.insert(c.field + ": " + c.message);
  EXPECT_THAT(said, Contains(HasSubstr("spec.type: Unsupported value: \"Clusterip\": supported values:")));
  EXPECT_THAT(said, Contains(HasSubstr("spec.ports[0].protocol: Unsupported value: \"HTTP\"")));
  EXPECT_THAT(said, Contains("spec.ports[0].port: Required value"));
}

TEST(Schema, NullsVanishAndQuantitiesBecomeText) {
  auto body = object(
      R"({"metadata":{"name":"a","creationTimestamp":null},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":2}}}]}})");
  auto found = check("pods", body);
  EXPECT_THAT(found.mistyped, IsEmpty());
  EXPECT_EQ(at(body, "metadata.creationTimestamp"), nullptr);
  EXPECT_EQ(json::serialize(array_at(body, "spec.containers")[0].at("resources")), R"({"limits":{"cpu":"2"}})");
}

TEST(Defaults, ServiceAndIdempotence) {
  auto body = object(
      R"({"metadata":{"name":"a"},"spec":{"type":"NodePort","sessionAffinity":"ClientIP","ports":[{"port":80}]}})");
  const auto& kind = *kind_of_resource("services");
  apply_defaults(kind, body);
  EXPECT_EQ(text_at(body, "spec.externalTrafficPolicy"), "Cluster");
  EXPECT_EQ(text_at(body, "spec.internalTrafficPolicy"), "Cluster");
  EXPECT_EQ(int_at(body, "spec.sessionAffinityConfig.clientIP.timeoutSeconds"), 10800);
  EXPECT_EQ(json::serialize(*at(body, "spec.ports")), R"([{"port":80,"protocol":"TCP","targetPort":80}])");
  auto again = body;
  apply_defaults(kind, again);
  EXPECT_EQ(again, body);
}

TEST(Defaults, PodAndDeployment) {
  auto pod = object(
      R"({"spec":{"containers":[{"name":"a","image":"i","resources":{"limits":{"cpu":"1"}},"ports":[{"containerPort":80}]}]}})");
  apply_defaults(*kind_of_resource("pods"), pod);
  EXPECT_EQ(text_at(pod, "spec.restartPolicy"), "Always");
  EXPECT_EQ(text_at(pod, "spec.dnsPolicy"), "ClusterFirst");
  EXPECT_EQ(int_at(pod, "spec.terminationGracePeriodSeconds"), 30);
  const auto& container = array_at(pod, "spec.containers")[0].get_object();
  EXPECT_EQ(text_at(container, "resources.requests.cpu"), "1");
  EXPECT_EQ(text_at(array_at(container, "ports")[0].get_object(), "protocol"), "TCP");

  auto deployment = object(R"({"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"containers":[]}}}})");
  apply_defaults(*kind_of_resource("deployments"), deployment);
  EXPECT_EQ(int_at(deployment, "spec.replicas"), 1);
  EXPECT_EQ(text_at(deployment, "spec.strategy.type"), "RollingUpdate");
  EXPECT_EQ(text_at(deployment, "spec.strategy.rollingUpdate.maxSurge"), "25%");
  EXPECT_EQ(int_at(deployment, "spec.revisionHistoryLimit"), 10);
  auto recreate = object(R"({"spec":{"strategy":{"type":"Recreate"},"template":{}}})");
  apply_defaults(*kind_of_resource("deployments"), recreate);
  EXPECT_EQ(at(recreate, "spec.strategy.rollingUpdate"), nullptr);
}

}  // namespace
}  // namespace trama::api
