// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoint_slice_plan.h"

#include <random>
#include <set>

#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

const Time kNow = at("2026-01-01T00:00:00Z");

std::string pod_text(const std::string& name, const std::string& ip, bool ready = true, const std::string& more = "") {
  return R"({"kind":"Pod","metadata":{"namespace":"d","name":")" + name +
         R"("},"spec":{"nodeName":"n1","containers":[{"name":"c","ports":[{"name":"http","containerPort":8080}]}]},"status":{"phase":"Running","podIP":")" +
         ip + R"(","podIPs":[{"ip":")" + ip + R"("}],"conditions":[{"type":"Ready","status":")" +
         (ready ? "True" : "False") + R"("}])" + more + "}}";
}

api::ObjectPtr service(
    const std::string& spec =
        R"({"selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http","protocol":"TCP"}],"clusterIP":"10.96.1.1","ipFamilies":["IPv4"]})") {
  return stored("services",
                R"({"apiVersion":"v1","kind":"Service","metadata":{"namespace":"d","name":"web","uid":"u"},"spec":)" +
                    spec + "}");
}

// Carries out a plan on the world, as the loop would.
void carry_out(SliceWorld& w, const std::vector<SliceOp>& ops) {
  static int n = 0;
  for (const auto& op : ops) {
    auto it = std::find_if(w.slices.begin(), w.slices.end(), [&](const auto& s) { return s->key.name == op.name; });
    if (op.type == SliceOp::Type::remove) {
      w.slices.erase(it);
      continue;
    }
    auto name = op.name.empty() ? "web-" + std::to_string(++n) : op.name;
    auto body = slice_object(op, *w.service, name, it == w.slices.end() ? nullptr : it->get(), "", kNow);
    auto made = api::make_object({"endpointslices", "d", name}, std::move(body), 1);
    if (it == w.slices.end())
      w.slices.push_back(made);
    else
      *it = made;
  }
}

std::vector<std::string> texts(const std::vector<SliceOp>& ops) {
  std::vector<std::string> out;
  for (const auto& op : ops) out.push_back(op.to_text());
  return out;
}

TEST(EndpointSlicePlan, FirstSlice) {
  SliceWorld w;
  w.service = service();
  w.pods = {stored("pods", pod_text("a", "10.244.0.1")), stored("pods", pod_text("b", "10.244.0.2", false))};
  w.zone_of_node["n1"] = "z";
  auto ops = plan_slices(w);
  ASSERT_EQ(texts(ops), std::vector<std::string>{"create IPv4 2 endpoints"});
  auto body = slice_object(ops[0], *w.service, "web-x", nullptr, "2026-01-01T00:00:00Z", kNow);
  EXPECT_EQ(api::text_at(body, "metadata.ownerReferences"), "");
  EXPECT_EQ(api::text_at(api::array_at(body, "metadata.ownerReferences")[0].as_object(), "uid"), "u");
  EXPECT_EQ(api::object_at(body, "metadata.labels").at("kubernetes.io/service-name"), "web");
  EXPECT_EQ(api::object_at(body, "metadata.labels").at("endpointslice.kubernetes.io/managed-by"),
            "endpointslice-controller.k8s.io");
  EXPECT_EQ(api::object_at(body, "metadata.annotations").at("endpoints.kubernetes.io/last-change-trigger-time"),
            "2026-01-01T00:00:00Z");
  EXPECT_EQ(json::serialize(body.at("ports")), R"([{"name":"http","port":8080,"protocol":"TCP"}])");
  const auto& e = api::array_at(body, "endpoints")[0].as_object();
  EXPECT_EQ(
      json::serialize(e),
      R"({"addresses":["10.244.0.1"],"conditions":{"ready":true,"serving":true,"terminating":false},"targetRef":{"kind":"Pod","namespace":"d","name":"a","uid":"uid-a"},"nodeName":"n1","zone":"z"})");
  const auto& second = api::array_at(body, "endpoints")[1].as_object();
  EXPECT_FALSE(api::bool_at(second, "conditions.ready", true));
}

// The hints of the first slice's endpoints, in their order; "-" for none.
std::vector<std::string> hints(const std::vector<SliceOp>& ops) {
  std::vector<std::string> out;
  for (const auto& e : api::array_at(ops.at(0).content, "endpoints"))
    out.push_back(e.as_object().contains("hints") ? json::serialize(e.as_object().at("hints")) : "-");
  return out;
}

TEST(EndpointSlicePlan, TrafficDistributionBecomesHints) {
  auto wants = [](const std::string& distribution) {
    return service(R"({"selector":{"app":"web"},"ports":[{"port":80}],"ipFamilies":["IPv4"],"trafficDistribution":")" +
                   distribution + R"("})");
  };
  SliceWorld w;
  w.pods = {stored("pods", pod_text("a", "10.244.0.1")), stored("pods", pod_text("b", "10.244.0.2", false))};
  w.zone_of_node["n1"] = "z";
  using Texts = std::vector<std::string>;
  for (const char* zone : {"PreferClose", "PreferSameZone"}) {
    w.service = wants(zone);
    EXPECT_EQ(hints(plan_slices(w)), (Texts{R"({"forZones":[{"name":"z"}]})", "-"})) << zone;
  }
  w.service = wants("PreferSameNode");
  auto ops = plan_slices(w);
  EXPECT_EQ(hints(ops), (Texts{R"({"forZones":[{"name":"z"}],"forNodes":[{"name":"n1"}]})", "-"}));
  carry_out(w, ops);
  EXPECT_TRUE(plan_slices(w).empty());
  w.zone_of_node.clear();
  EXPECT_EQ(hints(plan_slices(w)), (Texts{R"({"forNodes":[{"name":"n1"}]})", "-"})) << "a node without a zone";
  w.service = wants("PreferSameZone");
  EXPECT_EQ(hints(plan_slices(w)), (Texts{"-", "-"}));
  w.service = service(R"({"selector":{"app":"web"},"ports":[{"port":80}],"ipFamilies":["IPv4"]})");
  EXPECT_EQ(hints(plan_slices(w)), (Texts{"-", "-"})) << "taken away with the field";
}

TEST(EndpointSlicePlan, NothingToDoTwice) {
  SliceWorld w;
  w.service = service();
  for (int i = 0; i < 250; ++i)
    w.pods.push_back(stored("pods", pod_text("p" + std::to_string(i),
                                             "10.1." + std::to_string(i / 200) + "." + std::to_string(i % 200 + 1))));
  auto ops = plan_slices(w);
  EXPECT_EQ(ops.size(), 3u);
  carry_out(w, ops);
  EXPECT_TRUE(plan_slices(w).empty());
}

TEST(EndpointSlicePlan, TerminatingPodsServeButAreNotReady) {
  SliceWorld w;
  w.service = service();
  auto text = pod_text("a", "10.244.0.1");
  text.insert(text.find(R"("name":"a")"), R"("deletionTimestamp":"2026-01-01T00:00:00Z",)");
  w.pods = {stored("pods", text)};
  auto ops = plan_slices(w);
  const auto& e = api::array_at(ops[0].content, "endpoints")[0].as_object();
  EXPECT_FALSE(api::bool_at(e, "conditions.ready", true));
  EXPECT_TRUE(api::bool_at(e, "conditions.serving"));
  EXPECT_TRUE(api::bool_at(e, "conditions.terminating"));
  w.service = service(
      R"({"selector":{"app":"web"},"publishNotReadyAddresses":true,"ports":[{"port":80}],"ipFamilies":["IPv4"]})");
  ops = plan_slices(w);
  EXPECT_TRUE(api::bool_at(api::array_at(ops[0].content, "endpoints")[0].as_object(), "conditions.ready"));
}

TEST(EndpointSlicePlan, FinishedAndAddresslessPodsAreNoEndpoints) {
  SliceWorld w;
  w.service = service();
  auto failed = pod_text("f", "10.0.0.1");
  failed.replace(failed.find("Running"), 7, "Failed");
  w.pods = {stored("pods", failed), stored("pods", pod_text("n", ""))};
  auto ops = plan_slices(w);
  ASSERT_EQ(texts(ops), std::vector<std::string>{"create IPv4 0 endpoints"}) << "an empty slice says: known, none";
  carry_out(w, ops);
  EXPECT_TRUE(plan_slices(w).empty());
  w.pods.push_back(stored("pods", pod_text("a", "10.0.0.2")));
  EXPECT_EQ(texts(plan_slices(w)),
            (std::vector<std::string>{"create IPv4 1 endpoints", "remove " + w.slices[0]->key.name}));
}

TEST(EndpointSlicePlan, PodsWithDifferentTargetPortsGetDifferentSlices) {
  SliceWorld w;
  w.service = service();
  auto other = pod_text("b", "10.0.0.2");
  other.replace(other.find("8080"), 4, "9090");
  auto none = pod_text("c", "10.0.0.3");
  none.replace(none.find("\"http\""), 6, "\"else\"");
  w.pods = {stored("pods", pod_text("a", "10.0.0.1")), stored("pods", other), stored("pods", none)};
  std::set<std::string> ports;
  for (const auto& op : plan_slices(w)) ports.insert(json::serialize(op.content.at("ports")));
  EXPECT_EQ(ports, (std::set<std::string>{"[]", R"([{"name":"http","port":8080,"protocol":"TCP"}])",
                                          R"([{"name":"http","port":9090,"protocol":"TCP"}])"}));
}

TEST(EndpointSlicePlan, DualStackHasSlicesOfBothFamilies) {
  SliceWorld w;
  w.service = service(R"({"selector":{"app":"web"},"ports":[{"port":80}],"ipFamilies":["IPv4","IPv6"]})");
  auto text = pod_text("a", "10.0.0.1");
  text.replace(text.find(R"([{"ip":"10.0.0.1"}])"), 19, R"([{"ip":"10.0.0.1"},{"ip":"fd00::1"}])");
  w.pods = {stored("pods", text)};
  EXPECT_EQ(texts(plan_slices(w)), (std::vector<std::string>{"create IPv4 1 endpoints", "create IPv6 1 endpoints"}));
}

TEST(EndpointSlicePlan, FreePlacesAreFilledBeforeNewSlices) {
  SliceWorld w;
  w.service = service();
  auto pod = [](int i) {
    return stored("pods", pod_text("p" + std::to_string(1000 + i),
                                   "10.1." + std::to_string(i / 200) + "." + std::to_string(i % 200 + 1)));
  };
  for (int i = 0; i < 150; ++i) w.pods.push_back(pod(i));
  carry_out(w, plan_slices(w));
  ASSERT_EQ(w.slices.size(), 2u);
  for (int i = 150; i < 200; ++i) w.pods.push_back(pod(i));
  auto ops = plan_slices(w);
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops[0].type, SliceOp::Type::update);
  carry_out(w, ops);
  // One pod leaves a full slice and one comes: the hole is filled, the other slice stays as it is.
  w.pods.erase(w.pods.begin());
  w.pods.push_back(pod(300));
  EXPECT_EQ(plan_slices(w).size(), 1u);
}

// After any history of changes the slices hold exactly the endpoints that the pods call for.
TEST(EndpointSlicePlan, RandomHistoriesAgainstBruteForce) {
  std::mt19937 random(3);
  SliceWorld w;
  w.service = service();
  std::map<std::string, api::ObjectPtr> pods;
  for (int step = 0; step < 80; ++step) {
    for (int i = 0; i < 20; ++i) {
      auto n = random() % 400;
      auto name = "p" + std::to_string(n);
      if (random() % 3 == 0)
        pods.erase(name);
      else
        pods[name] = stored(
            "pods",
            pod_text(name, "10.1." + std::to_string(n / 200) + "." + std::to_string(n % 200 + 1), random() % 2 == 0));
    }
    w.pods.clear();
    for (const auto& [name, p] : pods) w.pods.push_back(p);
    carry_out(w, plan_slices(w));
    std::map<std::string, bool> seen;
    for (const auto& s : w.slices) {
      ASSERT_LE(api::array_at(s->body, "endpoints").size(), kEndpointsPerSlice);
      for (const auto& e : api::array_at(s->body, "endpoints"))
        ASSERT_TRUE(
            seen.emplace(api::text_at(e.as_object(), "targetRef.name"), api::bool_at(e.as_object(), "conditions.ready"))
                .second);
    }
    std::map<std::string, bool> wanted;
    for (const auto& [name, p] : pods) wanted[name] = is_pod_ready(p->body);
    ASSERT_EQ(seen, wanted) << step;
    ASSERT_TRUE(plan_slices(w).empty()) << step;
  }
}

}  // namespace
}  // namespace trama::control
