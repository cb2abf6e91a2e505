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

TEST_F(ServerSideApply, ObjectsThatNobodyAppliesCarryNothing) {
  make_pod("a");
  ASSERT_EQ(patch(std::string(kPods) + "/a?fieldManager=x", R"({"metadata":{"labels":{"x":"1"}}})", kMerge).status,
            200);
  auto pod = ask("GET", std::string(kPods) + "/a");
  EXPECT_TRUE(managers(pod).empty());
  auto applied = apply(std::string(kPods) + "/a",
                       R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"y":"2"}}})");
  EXPECT_EQ(applied.status, 200) << applied.body;
  EXPECT_THAT(managers(applied), testing::UnorderedElementsAre("ci/Apply/", "before-first-apply/Update/"));
  EXPECT_EQ(api::object_at(body(applied), "metadata.labels").size(), 2u);
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
