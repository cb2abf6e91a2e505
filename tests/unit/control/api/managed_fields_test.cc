// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/managed_fields.h"

#include <map>
#include <random>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/field_walk.h"
#include "control/api/schema.h"

namespace trama::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

const Time kNow = std::chrono::system_clock::from_time_t(1'767'323'045);  // 2026-01-02T03:04:05Z

json::object object(std::string_view text) { return json::parse({text.data(), text.size()}).as_object(); }

// Objects of one kind as appliers and others write them, without the rest of the server.
struct Live {
  const Kind& kind;
  json::object body;

  explicit Live(const char* resource) : kind(*kind_of_resource(resource)) {}

  Answer<json::object> apply(const char* manager, const json::object& config, bool force = false, Time now = kNow) {
    auto out = apply_fields(kind, body, config, {manager, "", force}, now);
    if (out) body = *out;
    return out;
  }
  Answer<json::object> apply(const char* manager, std::string_view config, bool force = false) {
    return apply(manager, object(config), force);
  }
  void update(const char* manager, json::object next, const char* subresource = "") {
    track_update(kind, body, next, manager, subresource, kNow);
    body = std::move(next);
  }
  std::vector<std::string> owned(const std::string& manager) const {
    std::vector<std::string> out;
    for (const auto& m : managers_of(body))
      if (m.name == manager)
        for (auto& path : paths_of(m.fields)) out.push_back(std::move(path));
    return out;
  }
};

TEST(FieldSets, AreWhatFieldsV1Says) {
  auto text = R"({"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:ports":{
      "k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}},"f:podCIDRs":{"v:\"10.0.0.0/24\"":{}}}})";
  auto set = parse_fields(object(text));
  EXPECT_EQ(fields_json(set), object(text));
  EXPECT_THAT(
      paths_of(set),
      UnorderedElementsAre(".metadata.labels", ".metadata.labels.app", ".spec.podCIDRs[=\"10.0.0.0/24\"]",
                           ".spec.ports[port=80,protocol=\"TCP\"]", ".spec.ports[port=80,protocol=\"TCP\"].name"));
  EXPECT_TRUE(subtracted(set, set).empty());
  EXPECT_EQ(united(set, set), set);
  EXPECT_EQ(intersected(set, set), set);
  EXPECT_TRUE(parse_fields(object(R"({"x:y":{},"f:":{},"i:0":{}})")).empty());
}

TEST(FieldSets, ListsFallIntoItemsWhereTheyHaveKeys) {
  auto service = object(R"({"apiVersion":"v1","kind":"Service","metadata":{"labels":{"a":"b"},"finalizers":["x"]},
      "spec":{"selector":{"app":"web"},"externalIPs":["1.2.3.4"],"ports":[{"port":80,"name":"http"}]}})");
  auto fields = fields_in("Service", service);
  ASSERT_TRUE(fields);
  EXPECT_THAT(
      paths_of(*fields),
      UnorderedElementsAre(".metadata.labels.a", ".metadata.finalizers[=\"x\"]", ".spec.selector", ".spec.externalIPs",
                           ".spec.ports[port=80,protocol=\"TCP\"]", ".spec.ports[port=80,protocol=\"TCP\"].name",
                           ".spec.ports[port=80,protocol=\"TCP\"].port"))
      << "a key that is not given has its default; selectors and lists without keys are one field";
  auto pod = object(R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}],"affinity":{"nodeAffinity":{
      "requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{}]}}}}})");
  EXPECT_THAT(paths_of(*fields_in("Pod", pod)),
              UnorderedElementsAre(".spec.volumes[name=\"v\"]", ".spec.volumes[name=\"v\"].name",
                                   ".spec.volumes[name=\"v\"].emptyDir",
                                   ".spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"));
  EXPECT_THAT(fields_in("Service", object(R"({"spec":{"ports":[{"name":"a"}]}})")).error().message,
              HasSubstr(".spec.ports: element: associative list with keys has an element that omits key field"));
  EXPECT_THAT(fields_in("Pod", object(R"({"spec":{"containers":[{"name":"a"},{"name":"a"}]}})")).error().message,
              HasSubstr("duplicate entries for key {\"name\":\"a\"}"));
}

TEST(Apply, CreatesAndRecords) {
  Live live("configmaps");
  ASSERT_TRUE(live.apply(
      "ci", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","labels":{"a":"1"}},"data":{"x":"1"}})"));
  EXPECT_EQ(array_at(live.body, "metadata.managedFields"), json::parse(R"([{"manager":"ci","operation":"Apply",
      "apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1",
      "fieldsV1":{"f:metadata":{"f:labels":{"f:a":{}}},"f:data":{"f:x":{}}}}])")
                                                               .as_array());
}

TEST(Apply, WhatIsNoLongerAppliedGoes) {
  Live live("services");
  ASSERT_TRUE(live.apply("ci", R"({"metadata":{"name":"s","labels":{"a":"1","b":"2"}},"spec":{"type":"NodePort",
      "ports":[{"port":80,"name":"http"},{"port":80,"protocol":"UDP","name":"quic"},{"port":443,"name":"tls"}]}})"));
  // The server fills in; nobody owns that.
  auto filled = live.body;
  filled["spec"].as_object()["clusterIP"] = "10.0.0.1";
  filled["spec"].as_object()["ports"].as_array()[1].as_object()["nodePort"] = 30000;
  live.body = filled;
  ASSERT_TRUE(
      live.apply("ci", R"({"metadata":{"name":"s","labels":{"a":"1"}},"spec":{"ports":[{"port":80,"name":"http"},
      {"port":443,"name":"https"}]}})"));
  EXPECT_EQ(object_at(live.body, "metadata.labels"), object(R"({"a":"1"})"));
  EXPECT_EQ(object_at(live.body, "spec"),
            object(R"({"clusterIP":"10.0.0.1","ports":[{"port":80,"name":"http"},{"port":443,"name":"https"}]})"))
      << "an item goes with what the server filled in";
}

TEST(Apply, WhatAnotherManagerHasStays) {
  Live live("deployments");
  ASSERT_TRUE(live.apply("a", R"({"metadata":{"name":"d"},"spec":{"replicas":3,"template":{"spec":{"containers":[
      {"name":"web","image":"i","env":[{"name":"X","value":"1"}]}]}}}})"));
  ASSERT_TRUE(live.apply("b", R"({"metadata":{"name":"d"},"spec":{"template":{"spec":{"containers":[
      {"name":"web","env":[{"name":"Y","value":"2"}]}]}}}})"));
  ASSERT_TRUE(live.apply("a", R"({"metadata":{"name":"d"},"spec":{"replicas":3}})"));
  EXPECT_EQ(object_at(live.body, "spec"), object(R"({"replicas":3,"template":{"spec":{"containers":[
      {"name":"web","env":[{"name":"Y","value":"2"}]}]}}})"));
  // The same value may have several owners; it goes with the last one.
  ASSERT_TRUE(live.apply("b", R"({"metadata":{"name":"d"},"spec":{"replicas":3}})"));
  EXPECT_FALSE(at(live.body, "spec.template")) << "empty parts that both have given up are gone";
  ASSERT_TRUE(live.apply("a", R"({"metadata":{"name":"d"}})"));
  EXPECT_EQ(int_at(live.body, "spec.replicas"), 3);
  ASSERT_TRUE(live.apply("b", R"({"metadata":{"name":"d"}})"));
  EXPECT_FALSE(at(live.body, "spec.replicas"));
  EXPECT_FALSE(at(live.body, "metadata.managedFields"));
}

TEST(Apply, ConflictsAreNamedAndForceTakesOver) {
  Live live("services");
  ASSERT_TRUE(
      live.apply("a", R"({"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80,"name":"http"}]}})"));
  auto one = live.apply("b", R"({"metadata":{"name":"s"},"spec":{"type":"ClusterIP"}})");
  ASSERT_FALSE(one);
  EXPECT_EQ(one.error().code, 409);
  EXPECT_EQ(one.error().reason, "Conflict");
  EXPECT_EQ(one.error().message, "Apply failed with 1 conflict: conflict with \"a\": .spec.type");
  ASSERT_EQ(one.error().causes.size(), 1u);
  EXPECT_EQ(one.error().causes[0].reason, "FieldManagerConflict");
  EXPECT_EQ(one.error().causes[0].message, "conflict with \"a\"");
  EXPECT_EQ(one.error().causes[0].field, ".spec.type");

  auto edited = live.body;
  edited["spec"].as_object()["sessionAffinity"] = "ClientIP";
  live.update("kubectl-edit", edited);
  auto several = live.apply("b", R"({"metadata":{"name":"s"},"spec":{"type":"ClusterIP","sessionAffinity":"None",
      "ports":[{"port":80,"name":"web"}]}})");
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().message,
            "Apply failed with 3 conflicts: conflicts with \"a\":\n"
            "- .spec.ports[port=80,protocol=\"TCP\"].name\n- .spec.type\n"
            "conflicts with \"kubectl-edit\" using v1:\n- .spec.sessionAffinity");
  ASSERT_TRUE(
      live.apply("b", R"({"metadata":{"name":"s"},"spec":{"type":"ClusterIP","sessionAffinity":"None"}})", true));
  EXPECT_EQ(text_at(live.body, "spec.type"), "ClusterIP");
  EXPECT_THAT(live.owned("b"), ElementsAre(".spec.sessionAffinity", ".spec.type"));
  EXPECT_THAT(live.owned("kubectl-edit"), ElementsAre());
  EXPECT_THAT(live.owned("a"), testing::Not(testing::Contains(".spec.type")));
  EXPECT_TRUE(live.apply("b", R"({"metadata":{"name":"s"},"spec":{"sessionAffinity":"None"}})"));
  EXPECT_FALSE(at(live.body, "spec.type")) << "nobody else had it";
}

TEST(Apply, TheSameAgainChangesNothingNotEvenTheTime) {
  Live live("configmaps");
  auto config = object(R"({"metadata":{"name":"c"},"data":{"x":"1"}})");
  ASSERT_TRUE(live.apply("ci", config));
  auto before = live.body;
  ASSERT_TRUE(live.apply("ci", config, false, kNow + std::chrono::hours(1)));
  EXPECT_EQ(live.body, before);
  config["data"].as_object()["x"] = "2";
  ASSERT_TRUE(live.apply("ci", config, false, kNow + std::chrono::hours(1)));
  EXPECT_EQ(text_at(array_at(live.body, "metadata.managedFields")[0].as_object(), "time"), "2026-01-02T04:04:05Z");
}

TEST(Apply, WhatWasThereBeforeBelongsToBeforeFirstApply) {
  Live live("deployments");
  live.body = object(R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","uid":"u","generation":4,
      "resourceVersion":"7","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"a":"1"}},
      "spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"web","image":"i"}]}}},"status":{"replicas":3}})");
  auto untouched = live.body;
  live.update("kubectl-edit", live.body);
  EXPECT_EQ(live.body, untouched) << "nobody has applied: not tracked";
  auto clash = live.apply("ci", R"({"metadata":{"name":"d"},"spec":{"replicas":5}})");
  ASSERT_FALSE(clash);
  EXPECT_EQ(clash.error().message,
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas");
  ASSERT_TRUE(live.apply("ci", R"({"metadata":{"name":"d"},"spec":{"replicas":5}})", true));
  EXPECT_THAT(live.owned("before-first-apply"),
              UnorderedElementsAre(".metadata.labels", ".metadata.labels.a", ".spec.template.spec.containers",
                                   ".spec.template.spec.containers[name=\"web\"]",
                                   ".spec.template.spec.containers[name=\"web\"].image",
                                   ".spec.template.spec.containers[name=\"web\"].name"));
  EXPECT_EQ(int_at(live.body, "status.replicas"), 3);
}

TEST(Apply, ClientSideApplyIsTakenOverByKubectl) {
  Live live("configmaps");
  live.body = object(R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","annotations":{
      "kubectl.kubernetes.io/last-applied-configuration":
      "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"},\"data\":{\"x\":\"1\",\"y\":\"1\"}}"}},
      "data":{"x":"1","y":"edited","z":"1"}})");
  auto config = [](const char* key) {
    return object(fmt::format(R"({{"metadata":{{"name":"c"}},"data":{{"{}":"2"}}}})", key));
  };
  EXPECT_FALSE(live.apply("ci", config("x"))) << "another manager did not apply it";
  EXPECT_FALSE(live.apply("kubectl", config("y"))) << "somebody has changed it since";
  EXPECT_FALSE(live.apply("kubectl", config("z"))) << "it was never applied";
  ASSERT_TRUE(live.apply("kubectl", config("x")));
  EXPECT_EQ(text_at(live.body, "data.x"), "2");
  EXPECT_THAT(live.owned("kubectl"), ElementsAre(".data.x"));
  EXPECT_THAT(live.owned("before-first-apply"), testing::Not(testing::Contains(".data.x")));
}

TEST(Apply, StatusIsItsOwnBusiness) {
  Live live("deployments");
  ASSERT_TRUE(live.apply("ci", R"({"metadata":{"name":"d"},"spec":{"replicas":2},"status":{"replicas":9}})"));
  EXPECT_FALSE(at(live.body, "status"));
  auto out = apply_fields(live.kind, live.body, object(R"({"metadata":{"name":"d","labels":{"x":"y"}},
      "spec":{"replicas":7},"status":{"replicas":2}})"),
                          {"loop", "status", false}, kNow);
  ASSERT_TRUE(out);
  live.body = *out;
  EXPECT_EQ(int_at(live.body, "spec.replicas"), 2);
  EXPECT_EQ(int_at(live.body, "status.replicas"), 2);
  EXPECT_THAT(live.owned("loop"), ElementsAre(".status.replicas"));
  auto status = live.body;
  status["status"].as_object()["readyReplicas"] = 1;
  live.update("other", status, "status");
  auto clash = apply_fields(live.kind, live.body, object(R"({"status":{"replicas":2,"readyReplicas":2}})"),
                            {"loop", "status", false}, kNow);
  ASSERT_FALSE(clash);
  EXPECT_THAT(clash.error().message, HasSubstr("\"other\" with subresource \"status\" using apps/v1"));
}

TEST(Track, UpdatesTakeWhatTheyChangeAndNothingElse) {
  Live live("configmaps");
  ASSERT_TRUE(live.apply("ci", R"({"metadata":{"name":"c"},"data":{"x":"1","y":"1","z":"1"}})"));
  auto next = live.body;
  next["data"] = object(R"({"x":"2","y":"1","new":"1"})");
  next["metadata"].as_object().erase("managedFields");
  live.update("kubectl-replace", next);
  EXPECT_THAT(live.owned("ci"), ElementsAre(".data.y"));
  EXPECT_THAT(live.owned("kubectl-replace"), ElementsAre(".data.new", ".data.x"));
  // The applier does not get back what others have changed, and does not remove it either.
  auto clash = live.apply("ci", R"({"metadata":{"name":"c"},"data":{"x":"1","y":"1"}})");
  ASSERT_FALSE(clash);
  ASSERT_TRUE(live.apply("ci", R"({"metadata":{"name":"c"}})"));
  EXPECT_EQ(object_at(live.body, "data"), object(R"({"x":"2","new":"1"})"));
  auto reset = live.body;
  reset["metadata"].as_object()["managedFields"] = json::parse("[{}]");
  live.update("kubectl", reset);
  EXPECT_FALSE(at(live.body, "metadata.managedFields"));
}

// ---- properties

// The rules for a flat map, told again without sets and trees.
struct Model {
  struct Entry {
    std::string value;
    std::set<std::string> owners;
  };
  std::map<std::string, Entry> data;

  bool apply(const std::string& who, const std::map<std::string, std::string>& wanted, bool force) {
    for (const auto& [key, value] : wanted) {
      auto it = data.find(key);
      if (it == data.end() || it->second.value == value) continue;
      auto others = it->second.owners;
      others.erase(who);
      if (!others.empty() && !force) return false;
    }
    for (const auto& [key, value] : wanted) {
      auto& entry = data[key];
      if (entry.value != value) entry.owners.clear();
      entry.value = value;
      entry.owners.insert(who);
    }
    for (auto it = data.begin(); it != data.end();) {
      bool gone = !wanted.count(it->first) && it->second.owners.erase(who) && it->second.owners.empty();
      it = gone ? data.erase(it) : std::next(it);
    }
    return true;
  }
  void update(const std::string& who, const std::map<std::string, std::string>& next) {
    for (auto it = data.begin(); it != data.end();) it = next.count(it->first) ? std::next(it) : data.erase(it);
    for (const auto& [key, value] : next) {
      auto& entry = data[key];
      if (entry.value == value) continue;
      entry = {value, {who}};
    }
  }
};

TEST(ApplyProperties, FlatMapsFollowTheModel) {
  std::mt19937 random(20260102);
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  for (int run = 0; run < 300; ++run) {
    Live live("configmaps");
    Model model;
    ASSERT_TRUE(live.apply("seed", R"({"metadata":{"name":"c","labels":{"kept":"alive"}}})"));  // tracked from now on
    for (int step = 0; step < 30; ++step) {
      std::map<std::string, std::string> wanted;
      for (unsigned i = pick(5); i > 0; --i) wanted[fmt::format("k{}", pick(6))] = fmt::format("v{}", pick(3));
      json::object data;
      for (const auto& [key, value] : wanted) data[key] = value;
      auto who = fmt::format("m{}", pick(3));
      if (pick(4) == 0) {
        auto next = live.body;
        if (data.empty())
          next.erase("data");
        else
          next["data"] = data;
        live.update(who.c_str(), next);
        model.update(who, wanted);
      } else {
        json::object config{{"metadata", {{"name", "c"}}}};
        if (!data.empty()) config["data"] = data;
        bool force = pick(2) == 0;
        auto agreed = static_cast<bool>(live.apply((who + "-apply").c_str(), config, force));
        ASSERT_EQ(agreed, model.apply(who + "-apply", wanted, force)) << "run " << run << " step " << step;
      }
      std::map<std::string, std::string> values;
      std::map<std::string, std::set<std::string>> owners, expected;
      for (const auto& [key, entry] : model.data) {
        values[key] = entry.value;
        expected["." + std::string("data.") + key] = entry.owners;
      }
      for (const auto& m : managers_of(live.body))
        for (const auto& path : paths_of(m.fields))
          if (path.starts_with(".data.")) owners[path].insert(m.name);
      std::erase_if(expected, [](const auto& e) { return e.second.empty(); });
      ASSERT_EQ(strings_at(live.body, "data"), values) << "run " << run << " step " << step;
      ASSERT_EQ(owners, expected) << "run " << run << " step " << step;
    }
  }
}

// Whatever several appliers do to one nested object: what one of them has applied last is there, is recorded, and
// nobody owns what is not there.
TEST(ApplyProperties, NestedObjects) {
  std::mt19937 random(7);
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  auto config = [&] {
    json::object spec, template_spec;
    if (pick(2)) spec["replicas"] = pick(3);
    if (pick(2)) spec["paused"] = pick(2) == 0;
    json::array containers;
    for (unsigned c = 0; c < 3; ++c) {
      if (pick(2)) continue;
      json::object container{{"name", fmt::format("c{}", c)}};
      if (pick(2)) container["image"] = fmt::format("i{}", pick(2));
      json::array ports;
      for (unsigned p = 0; p < 2; ++p) {
        if (pick(2)) continue;
        json::object port{{"containerPort", 80 + p}};
        if (pick(2)) port["protocol"] = pick(2) ? "TCP" : "UDP";
        if (pick(2)) port["name"] = fmt::format("p{}", pick(2));
        ports.push_back(std::move(port));
      }
      if (!ports.empty()) container["ports"] = std::move(ports);
      containers.push_back(std::move(container));
    }
    if (!containers.empty()) template_spec["containers"] = std::move(containers);
    if (pick(2)) template_spec["nodeSelector"] = json::object{{"zone", fmt::format("z{}", pick(2))}};
    if (!template_spec.empty()) spec["template"] = json::object{{"spec", std::move(template_spec)}};
    json::object out{{"metadata", {{"name", "d"}}}};
    if (!spec.empty()) out["spec"] = std::move(spec);
    return out;
  };
  int conflicts = 0, agreed = 0;
  for (int run = 0; run < 200; ++run) {
    Live live("deployments");
    for (int step = 0; step < 15; ++step) {
      auto who = fmt::format("m{}", pick(3));
      auto wanted = config();
      auto before = live.body;
      bool force = pick(2) == 0;
      auto done = live.apply(who.c_str(), wanted, force);
      if (!done) {
        ASSERT_FALSE(force);
        ASSERT_EQ(done.error().code, 409) << done.error().message;
        ASSERT_FALSE(done.error().causes.empty());
        ++conflicts;
        continue;
      }
      ++agreed;
      auto laid_over = live.body;
      merge_fields("Deployment", laid_over, wanted);
      ASSERT_EQ(laid_over, live.body) << "all of it is there: " << json::serialize(wanted);
      auto mine = *fields_in("Deployment", wanted);
      mine.children.erase("f:metadata");
      auto all = *fields_in("Deployment", live.body);
      FieldSet recorded;
      for (const auto& m : managers_of(live.body)) {
        if (m.name == who) recorded = m.fields;
        auto there = compare_fields("Deployment", json::object(), live.body).added;
        ASSERT_TRUE(subtracted(m.fields, united(there, all)).empty())
            << m.name << " has what is not there: " << json::serialize(fields_json(m.fields));
      }
      ASSERT_EQ(recorded, mine);
      // Nothing is there that nobody has: appliers were the only writers.
      FieldSet owned;
      for (const auto& m : managers_of(live.body)) owned = united(std::move(owned), m.fields);
      auto unowned = subtracted(all, owned);
      unowned.children.erase("f:metadata");
      for (const auto& path : paths_of(unowned)) {
        // Parts that are empty now.
        ASSERT_TRUE(path.ends_with(".template") || path.ends_with(".spec") || path == ".spec") << path;
      }
      auto again = live.body;
      ASSERT_TRUE(live.apply(who.c_str(), wanted));
      ASSERT_EQ(live.body, again) << "the second time changes nothing";
    }
  }
  EXPECT_GT(conflicts, 100);
  EXPECT_GT(agreed, 1000);
}

TEST(TrackedWrites, AtMostTenUpdatersTheOldestBecomeOne) {
  Live live("configmaps");
  auto body = object(R"({"metadata":{"name":"c"},"data":{"k0":"0"}})");
  track_create(live.kind, body, "m0", kNow);
  live.body = body;
  ASSERT_TRUE(
      live.apply("applier", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}})"));
  for (int i = 1; i < 30; ++i) {
    auto next = live.body;
    make_object_at(next, "data")[fmt::format("k{}", i)] = "1";
    track_update(live.kind, live.body, next, fmt::format("m{}", i), "", kNow + std::chrono::seconds(i));
    live.body = next;
    EXPECT_LE(array_at(live.body, "metadata.managedFields").size(), kUpdateManagers + 1);
  }
  auto all = managers_of(live.body);
  EXPECT_EQ(all.size(), kUpdateManagers + 1);
  EXPECT_EQ(live.owned("ancient-changes").size(), 22u) << "k0 to k20, and the map itself";
  EXPECT_EQ(live.owned("m20").size(), 0u);
  EXPECT_EQ(live.owned("m21").size(), 1u);
  EXPECT_EQ(live.owned("m29").size(), 1u);
  EXPECT_EQ(live.owned("applier").size(), 1u) << "who applies is never put together with others";
  // What they owned is still owned.
  EXPECT_EQ(
      live.apply("other", object(R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"k3":"9"}})"))
          .error()
          .message,
      "Apply failed with 1 conflict: conflict with \"ancient-changes\" using v1: .data.k3");
}

}  // namespace
}  // namespace trama::api
