// SPDX-License-Identifier: GPL-2.0-or-later
// Server-side apply as kubectl and client-go ask for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/server/handlers_rig.h"

namespace trama::server {
namespace {

using testing::HasSubstr;

class ServerSideApply : public Handlers {
 protected:
  Reply apply(const std::string& target, const std::string& config, const std::string& query = "?fieldManager=ci") {
    return ask("PATCH", target + query, config, {{"content-type", "application/apply-patch+yaml"}});
  }
  // Managers as "name/operation/subresource".
  std::vector<std::string> managers(const Reply& r) {
    std::vector<std::string> out;
    auto object = body(r);
    for (const auto& m : api::array_at(object, "metadata.managedFields"))
      out.push_back(api::text_at(m.as_object(), "manager") + "/" + api::text_at(m.as_object(), "operation") + "/" +
                    api::text_at(m.as_object(), "subresource"));
    return out;
  }
  static constexpr const char* kService = "/api/v1/namespaces/default/services/web";
  static constexpr const char* kDeployment = "/apis/apps/v1/namespaces/default/deployments/web";
  static constexpr const char* kWeb = R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},
      "spec":{"selector":{"app":"web"},"ports":[{"port":53,"protocol":"UDP","name":"dns"},{"port":53,"name":"dns-tcp"}]}})";
};

TEST_F(ServerSideApply, CreatesOnceAndThenChanges) {
  auto made = apply(kService, kWeb, "?fieldManager=kubectl&force=false&fieldValidation=Strict");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_THAT(managers(made), testing::ElementsAre("kubectl/Apply/"));
  EXPECT_EQ(api::text_at(body(made), "spec.type"), "ClusterIP") << "defaults come on top";
  EXPECT_EQ(api::array_at(body(made), "spec.ports").size(), 2u) << "53/UDP and 53/TCP are two items";
  auto revision = rig.store().revision();
  auto again = apply(kService, kWeb, "?fieldManager=kubectl");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.body, made.body);
  EXPECT_EQ(rig.store().revision(), revision) << "nothing was written";

  auto fewer = apply(kService, R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},
      "spec":{"selector":{"app":"web"},"ports":[{"port":53,"name":"dns-tcp"}]}})",
                     "?fieldManager=kubectl");
  EXPECT_EQ(fewer.status, 200) << fewer.body;
  EXPECT_EQ(api::array_at(body(fewer), "spec.ports").size(), 1u);
  EXPECT_EQ(
      apply(kService, R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"}})", "?fieldManager=kubectl")
          .status,
      422)
      << "what is left is validated: a service needs ports";
}

TEST_F(ServerSideApply, SharedOwnershipIsWorthAWrite) {
  ASSERT_EQ(apply(kService, kWeb).status, 201);
  auto revision = rig.store().revision();
  auto second = apply(kService, kWeb, "?fieldManager=other");
  EXPECT_EQ(second.status, 200);
  EXPECT_GT(rig.store().revision(), revision);
  EXPECT_THAT(managers(ask("GET", kService)), testing::UnorderedElementsAre("ci/Apply/", "other/Apply/"));
}

TEST_F(ServerSideApply, ConflictsAre409WithCauses) {
  ASSERT_EQ(apply(kService, kWeb).status, 201);
  auto config = R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"other"}}})";
  auto refused = apply(kService, config, "?fieldManager=other");
  EXPECT_EQ(refused.status, 409);
  auto status = body(refused);
  EXPECT_EQ(api::text_at(status, "reason"), "Conflict");
  EXPECT_EQ(api::text_at(status, "message"), "Apply failed with 1 conflict: conflict with \"ci\": .spec.selector");
  EXPECT_EQ(json::serialize(*api::at(status, "details.causes")),
            R"([{"reason":"FieldManagerConflict","message":"conflict with \"ci\"","field":".spec.selector"}])");
  auto taken = apply(kService, config, "?fieldManager=other&force=true");
  EXPECT_EQ(taken.status, 200);
  EXPECT_EQ(api::text_at(body(taken), "spec.selector.app"), "other");
  EXPECT_EQ(apply(kService, kWeb).status, 409) << "now the first one is in conflict";
}

TEST_F(ServerSideApply, OtherWritesAreRecordedOnceAnObjectIsApplied) {
  auto config = R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":1,
      "selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
      "spec":{"containers":[{"name":"c","image":"i"}]}}}})";
  ASSERT_EQ(apply(kDeployment, config).status, 201);
  auto scaled = ask("PATCH", std::string(kDeployment) + "/scale?fieldManager=kubectl", R"({"spec":{"replicas":3}})",
                    {{"content-type", kMerge}});
  ASSERT_EQ(scaled.status, 200) << scaled.body;
  ASSERT_EQ(ask("PATCH", kDeployment, R"({"metadata":{"labels":{"x":"y"}}})",
                {{"content-type", kStrategic}, {"user-agent", "robot/1.0 (linux)"}})
                .status,
            200);
  ASSERT_EQ(
      patch(std::string(kDeployment) + "/status?fieldManager=loop", R"({"status":{"readyReplicas":1}})", kMerge).status,
      200);
  auto seen = ask("GET", kDeployment);
  EXPECT_THAT(managers(seen), testing::UnorderedElementsAre("ci/Apply/", "kubectl/Update/scale", "robot/Update/",
                                                            "loop/Update/status"));
  auto refused = apply(kDeployment, config);
  EXPECT_EQ(refused.status, 409);
  EXPECT_THAT(refused.body,
              HasSubstr(R"(conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas)"));
  // Left out, the field stays as it was set by the other one.
  std::string without = config;
  without.erase(without.find(R"("replicas":1,)"), std::string(R"("replicas":1,)").size());
  EXPECT_EQ(apply(kDeployment, without).status, 200);
  EXPECT_EQ(api::int_at(body(ask("GET", kDeployment)), "spec.replicas"), 3);
}

// Objects of the loops and of stores from before.
TEST_F(ServerSideApply, WhatNoRequestHasMadeIsTrackedFromItsFirstApplyOn) {
  store::Decision from_before = [](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    return tx.put({"configmaps", "default", "a"}, json::parse(R"({"apiVersion":"v1","kind":"ConfigMap",
        "metadata":{"name":"a","namespace":"default","uid":"u"},"data":{"x":"1"}})")
                                                      .as_object());
  };
  ASSERT_TRUE(rig.write(from_before));
  const std::string target = "/api/v1/namespaces/default/configmaps/a";
  ASSERT_EQ(patch(target + "?fieldManager=x", R"({"metadata":{"labels":{"x":"1"}}})", kMerge).status, 200);
  EXPECT_TRUE(managers(ask("GET", target)).empty());
  auto applied = apply(target, R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"y":"2"}}})");
  EXPECT_EQ(applied.status, 200) << applied.body;
  EXPECT_THAT(managers(applied), testing::UnorderedElementsAre("ci/Apply/", "before-first-apply/Update/"));
  EXPECT_EQ(api::object_at(body(applied), "metadata.labels").size(), 2u);
}

TEST_F(ServerSideApply, EveryWriteIsRecordedAndConflictsNameIt) {
  const std::string list = "/api/v1/namespaces/default/configmaps", target = list + "/c";
  auto made = ask(
      "POST", list + "?fieldManager=kubectl-create",
      R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","labels":{"a":"1"}},"data":{"x":"1","y":"1"}})");
  ASSERT_EQ(made.status, 201);
  auto entry = api::array_at(body(made), "metadata.managedFields").at(0).as_object();
  EXPECT_EQ(api::text_at(entry, "operation"), "Update");
  EXPECT_EQ(entry.at("fieldsV1"),
            json::parse(R"({"f:data":{".":{},"f:x":{},"f:y":{}},"f:metadata":{"f:labels":{".":{},"f:a":{}}}})"));
  ASSERT_EQ(
      ask("PATCH", target, R"({"data":{"y":"2"}})", {{"content-type", kMerge}, {"user-agent", "robot/1.0 (x)"}}).status,
      200);
  EXPECT_THAT(managers(ask("GET", target)), testing::UnorderedElementsAre("kubectl-create/Update/", "robot/Update/"));
  auto config = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"x":"3","y":"3"}})";
  auto refused = apply(target, config);
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(api::text_at(body(refused), "message"),
            "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using v1:\n- .data.x\nconflicts with "
            "\"robot\" using v1:\n- .data.y");
  auto forced = apply(target, config, "?fieldManager=ci&force=true");
  EXPECT_EQ(forced.status, 200);
  EXPECT_THAT(managers(forced), testing::UnorderedElementsAre("ci/Apply/", "kubectl-create/Update/"))
      << "labels stay its own";
  // A write that changes nothing belongs to nobody and is no write.
  auto revision = rig.store().revision();
  EXPECT_EQ(patch(target + "?fieldManager=late", R"({"data":{"x":"3"}})", kMerge).status, 200);
  EXPECT_EQ(rig.store().revision(), revision);

  // A name that no program has; no name at all.
  EXPECT_THAT(ask("POST", list + "?fieldManager=" + std::string(129, 'a'), R"({"metadata":{"name":"d"}})").body,
              HasSubstr("fieldManager: Too long: may not be more than 128 bytes"));
  EXPECT_EQ(patch(target + "?fieldManager=a%0Ab", "{}", kMerge).status, 422);
  EXPECT_EQ(ask("PUT", target + "?fieldManager=a%0Ab", config).status, 422);
  auto nameless = ask("POST", list, R"({"metadata":{"name":"n"},"data":{"x":"1"}})");
  EXPECT_THAT(managers(nameless), testing::ElementsAre("unknown/Update/"));
  // What the server gives out is nobody's.
  auto service = ask(
      "POST", "/api/v1/namespaces/default/services?fieldManager=me",
      R"({"metadata":{"name":"s"},"spec":{"ports":[{"port":80}]},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}})");
  EXPECT_FALSE(body(service).at("metadata").at("managedFields").at(0).at("fieldsV1").as_object().contains("f:status"));
}

TEST_F(ServerSideApply, AReplaceAndAResetOfManagedFields) {
  const std::string list = "/api/v1/namespaces/default/configmaps", target = list + "/c";
  ASSERT_EQ(ask("POST", list + "?fieldManager=one", R"({"metadata":{"name":"c"},"data":{"x":"1","y":"1"}})").status,
            201);
  // As kubectl moves an object from client-side to server-side apply.
  auto moved = patch(target + "?fieldManager=kubectl", R"([{"op":"replace","path":"/metadata/managedFields","value":
      [{"manager":"kubectl","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:x":{},"f:y":{}}}}]}])",
                     kJson);
  ASSERT_EQ(moved.status, 200) << moved.body;
  EXPECT_THAT(managers(moved), testing::ElementsAre("kubectl/Apply/"));
  auto fewer = apply(target, R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"x":"2"}})",
                     "?fieldManager=kubectl");
  EXPECT_EQ(json::serialize(body(fewer).at("data")), R"({"x":"2"})");
  auto reset = patch(target, R"({"metadata":{"managedFields":[{}]}})", kMerge);
  EXPECT_TRUE(managers(reset).empty());
  // An object that is made from another one's text: the maker has it all.
  auto copy = ask(
      "POST", list + "?fieldManager=two",
      R"({"metadata":{"name":"d","managedFields":[{"manager":"one","operation":"Update","apiVersion":"v1","fieldsV1":{"f:data":{"f:x":{}}}}]},"data":{"x":"1"}})");
  EXPECT_THAT(managers(copy), testing::ElementsAre("two/Update/"));
}

TEST_F(ServerSideApply, StatusHasItsOwnAppliers) {
  auto status = R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"status":{"phase":"Running",
      "conditions":[{"type":"Ready","status":"True"}]}})";
  EXPECT_EQ(apply(std::string(kPods) + "/a/status", status).status, 404) << "a status makes no object";
  make_pod("a");
  auto done = apply(std::string(kPods) + "/a/status", status, "?fieldManager=ci&force=true");
  EXPECT_EQ(done.status, 200) << done.body;
  EXPECT_EQ(api::text_at(body(done), "status.phase"), "Running");
  EXPECT_THAT(managers(done), testing::Contains("ci/Apply/status"));
}

TEST_F(ServerSideApply, RehearsalsLeaveNoTrace) {
  EXPECT_EQ(apply(kService, kWeb, "?fieldManager=ci&dryRun=All").status, 201);
  EXPECT_EQ(ask("GET", kService).status, 404);
}

TEST_F(ServerSideApply, RefusalsSayWhy) {
  struct Case {
    const char *query, *config;
    int status;
    const char* says;
  };
  const Case cases[] = {
      {"", kWeb, 422, "fieldManager: Required value: is required for apply patch"},
      {"?fieldManager=ci", "a: b", 400, "error decoding YAML"},
      {"?fieldManager=ci", "[]", 400, "error decoding YAML"},
      {"?fieldManager=ci", "{}", 400, "does not say its kind"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Pod"})", 400, "do not match the expected"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"x"}})", 400,
       "does not match the name on the URL"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","spec":{"prots":[]}})", 400,
       "failed to create typed patch object (default/web; v1, Kind=Service): .spec.prots: field not declared in "
       "schema"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","spec":{"ports":3}})", 400,
       "spec.ports: expected a list"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","spec":{"ports":[{"name":"a"}]}})", 400,
       "omits key field"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","metadata":{"managedFields":[{"manager":"x"}]}})",
       400, "metadata.managedFields must be nil"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","metadata":{"uid":"u"}})", 409,
       "uid mismatch: the provided object specified uid u, and no existing object was found"},
      {"?fieldManager=ci", R"({"apiVersion":"v1","kind":"Service","spec":{"type":"Carrier"}})", 422,
       "Unsupported value"},
  };
  for (const auto& c : cases) {
    auto r = apply(kService, c.config, c.query);
    EXPECT_EQ(r.status, c.status) << c.config << r.body;
    EXPECT_THAT(r.body, HasSubstr(c.says)) << c.config;
  }
  EXPECT_EQ(ask("GET", kService).status, 404);
  ASSERT_EQ(apply(kService, kWeb).status, 201);
  auto forced = patch(std::string(kService) + "?force=true", "{}", kMerge);
  EXPECT_EQ(forced.status, 422);
  EXPECT_THAT(forced.body, HasSubstr("force: Forbidden: may not be specified for non-apply patch"));
  auto stale =
      apply(kService, R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web","resourceVersion":"1"}})",
            "?fieldManager=other");
  EXPECT_EQ(stale.status, 409) << "a version in the configuration is a precondition";
  who = {"nobody", {"system:authenticated"}};
  EXPECT_EQ(apply(kService, kWeb).status, 403);
}

TEST_F(ServerSideApply, EventsOfBothGroupsAreOneObject) {
  auto made = apply("/apis/events.k8s.io/v1/namespaces/default/events/e",
                    R"({"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e"},"note":"n",
                        "regarding":{"kind":"Pod","name":"a"}})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(api::text_at(body(made), "note"), "n");
  EXPECT_EQ(api::text_at(body(ask("GET", "/api/v1/namespaces/default/events/e")), "message"), "n");
}

}  // namespace
}  // namespace trama::server
