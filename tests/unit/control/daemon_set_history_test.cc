// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/daemon_set_history.h"

#include "control/controllers/deployment_plan.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

const Time kNow = at("2026-01-01T00:10:00Z");

api::ObjectPtr daemon_set(const std::string& image, const std::string& metadata = "", const std::string& spec = "",
                          std::int64_t collisions = 0) {
  return stored("daemonsets", fmt::format(R"({{"apiVersion":"apps/v1","kind":"DaemonSet",
    "metadata":{{{}"namespace":"d","name":"probe","uid":"ds"}},
    "spec":{{{}"selector":{{"matchLabels":{{"app":"probe"}}}},
      "template":{{"metadata":{{"labels":{{"app":"probe"}}}},"spec":{{"containers":[{{"name":"c","image":"{}"}}]}}}}}},
    "status":{{"collisionCount":{}}}}})",
                                          metadata, spec, image, collisions));
}

// A namespace's revisions while plans are carried out on them.
struct World {
  std::map<std::string, api::ObjectPtr> revisions;
  std::vector<api::ObjectPtr> pods;

  DaemonSetHistory look(const api::ObjectPtr& set) const {
    std::vector<api::ObjectPtr> all;
    for (const auto& [name, r] : revisions) all.push_back(r);
    return plan_history(*set, all, pods, kNow);
  }
  DaemonSetHistory pass(const api::ObjectPtr& set) {
    auto plan = look(set);
    if (plan.create) put(*plan.create);
    if (plan.current && api::int_at(plan.current->body, "revision") != plan.number) {
      auto body = plan.current->body;
      body["revision"] = plan.number;
      put(body);
    }
    for (const auto& r : plan.adopt) {
      auto body = revisions.at(r->key.name)->body;
      json::array owners;
      owners.push_back(owner_reference(*set));
      api::make_object_at(body, "metadata")["ownerReferences"] = std::move(owners);
      put(body);
    }
    for (const auto& r : plan.forget) revisions.erase(r->key.name);
    EXPECT_FALSE(look(set).changes()) << "one pass is enough";
    return plan;
  }
  void put(json::object body) {
    auto name = api::text_at(body, "metadata.name");
    revisions[name] = api::make_object({"controllerrevisions", "d", name}, std::move(body), 1);
  }
  // "1:one 2:two": number and image, by number.
  std::string shown() const {
    std::map<std::int64_t, std::string> by_number;
    for (const auto& [name, r] : revisions) {
      const auto& c = api::array_at(r->body, "data.spec.template.spec.containers")[0].as_object();
      by_number[api::int_at(r->body, "revision")] = api::text_at(c, "image");
    }
    std::string out;
    for (const auto& [n, image] : by_number) out += fmt::format("{}{}:{}", out.empty() ? "" : " ", n, image);
    return out;
  }
};

TEST(DaemonSetHistory, EveryTemplateGetsARevisionAndAnOldOneANewNumber) {
  World w;
  auto first = w.pass(daemon_set(
      "one",
      R"("annotations":{"kubernetes.io/change-cause":"why","kubectl.kubernetes.io/last-applied-configuration":"{}"},)"));
  ASSERT_TRUE(first.create);
  const auto& body = *first.create;
  EXPECT_EQ(api::text_at(body, "metadata.name"), "probe-" + first.hash);
  EXPECT_EQ(json::serialize(body.at("metadata").at("labels")),
            fmt::format(R"({{"app":"probe","controller-revision-hash":"{}"}})", first.hash));
  EXPECT_EQ(json::serialize(body.at("metadata").at("annotations")), R"({"kubernetes.io/change-cause":"why"})");
  EXPECT_TRUE(is_controlled_by(body, "ds"));
  EXPECT_EQ(
      json::serialize(body.at("data")),
      R"({"spec":{"template":{"metadata":{"labels":{"app":"probe"}},"spec":{"containers":[{"name":"c","image":"one"}]},"$patch":"replace"}}})");
  EXPECT_EQ(first.hash, template_hash(api::object_at(daemon_set("one")->body, "spec.template"), 0))
      << "pods from before there was a history are of this revision";

  auto second = w.pass(daemon_set("two"));
  EXPECT_NE(second.hash, first.hash);
  EXPECT_EQ(w.shown(), "1:one 2:two");
  w.pass(daemon_set("three"));
  auto back = w.pass(daemon_set("one"));
  EXPECT_FALSE(back.create);
  EXPECT_EQ(back.hash, first.hash);
  EXPECT_EQ(w.shown(), "2:two 3:three 4:one");
}

TEST(DaemonSetHistory, TheLimitAndWhatPodsStillAre) {
  World w;
  auto limited = [](const std::string& image) { return daemon_set(image, "", R"("revisionHistoryLimit":2,)"); };
  auto first = w.pass(limited("one"));
  w.pods = {stored(
      "pods",
      fmt::format(R"({{"metadata":{{"name":"p","namespace":"d","labels":{{"controller-revision-hash":"{}"}}}}}})",
                  first.hash))};
  for (const char* image : {"two", "three", "four", "five"}) w.pass(limited(image));
  EXPECT_EQ(w.shown(), "1:one 4:four 5:five") << "a pod is of the oldest one";
  w.pods.clear();
  w.pass(limited("six"));
  EXPECT_EQ(w.shown(), "4:four 5:five 6:six");
  w.pass(daemon_set("six", "", R"("revisionHistoryLimit":0,)"));
  EXPECT_EQ(w.shown(), "6:six");
}

TEST(DaemonSetHistory, WhoseRevisions) {
  World w;
  w.pass(daemon_set("one"));
  w.pass(daemon_set("two"));
  // Left behind by a set that was deleted without its dependents; and those of others.
  for (auto& [name, r] : w.revisions) {
    auto body = r->body;
    api::make_object_at(body, "metadata").erase("ownerReferences");
    w.put(body);
  }
  w.put(object(R"({"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{"name":"foreign","namespace":"d",
    "labels":{"app":"other"}},"revision":9,"data":{}})"));
  w.put(object(R"({"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{"name":"owned","namespace":"d",
    "labels":{"app":"probe"},"ownerReferences":[{"uid":"x","controller":true}]},"revision":9,"data":{}})"));
  auto plan = w.look(daemon_set("two"));
  EXPECT_EQ(plan.adopt.size(), 2u);
  EXPECT_EQ(plan.number, 2);
  EXPECT_FALSE(plan.create);
  EXPECT_FALSE(w.look(daemon_set("three", R"("deletionTimestamp":"2026-01-01T00:00:00Z",)")).changes())
      << "a set on its way out takes nothing in and remembers nothing";
}

TEST(DaemonSetHistory, ATakenNameChangesTheHashOfNewTemplatesOnly) {
  World w;
  auto first = w.pass(daemon_set("one"));
  auto again = w.look(daemon_set("one", "", "", 2));
  EXPECT_FALSE(again.changes());
  EXPECT_EQ(again.hash, first.hash);
  auto other = w.look(daemon_set("two", "", "", 2));
  ASSERT_TRUE(other.create);
  EXPECT_EQ(other.hash, template_hash(api::object_at(daemon_set("two")->body, "spec.template"), 2));
}

}  // namespace
}  // namespace trama::control
