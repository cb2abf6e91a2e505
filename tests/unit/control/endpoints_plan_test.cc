// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoints_plan.h"

#include <map>
#include <random>
#include <set>

#include "control/controllers/endpoint_mirror_plan.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

const Time kNow = at("2026-01-01T00:00:00Z");
constexpr const char* kDeleting = R"("deletionTimestamp":"2026-01-01T00:00:00Z",)";

// A pod with a port called http; `metadata` and `ports` are JSON members and list items to add.
api::ObjectPtr pod(const std::string& name, const std::string& ip, bool ready = true, const std::string& metadata = "",
                   const std::string& ports = R"({"name":"http","containerPort":8080})") {
  return stored("pods", fmt::format(R"({{"kind":"Pod","metadata":{{{}"namespace":"d","name":"{}"}},
      "spec":{{"nodeName":"n1","containers":[{{"name":"c","ports":[{}]}}]}},
      "status":{{"phase":"Running","podIPs":[{{"ip":"{}"}}],"conditions":[{{"type":"Ready","status":"{}"}}]}}}})",
                                    metadata, name, ports, ip, ready ? "True" : "False"));
}

api::ObjectPtr service(const std::string& spec = R"("ports":[{"name":"http","port":80,"targetPort":"http"}])",
                       const std::string& metadata = "") {
  return stored(
      "services",
      fmt::format(
          R"({{"apiVersion":"v1","kind":"Service","metadata":{{{}"namespace":"d","name":"web","uid":"u"}},"spec":{{"selector":{{"app":"web"}},"clusterIP":"10.96.1.1",{}}}}})",
          metadata, spec));
}

std::string subsets(const api::ObjectPtr& service, const std::vector<api::ObjectPtr>& pods) {
  return json::serialize(endpoint_subsets(service->body, pods));
}

// Addresses alone, "10.0.0.1 10.0.0.2/10.0.0.3 http:8080": ready ones, others, ports; a subset a line.
std::string short_form(const json::array& subsets) {
  std::string out;
  for (const auto& v : subsets) {
    const auto& s = v.as_object();
    std::string line;
    for (const auto& a : api::array_at(s, "addresses")) line += api::text_at(a.as_object(), "ip") + " ";
    line += "/";
    for (const auto& a : api::array_at(s, "notReadyAddresses")) line += " " + api::text_at(a.as_object(), "ip");
    for (const auto& p : api::array_at(s, "ports"))
      line += fmt::format(" {}:{}", api::text_at(p.as_object(), "name"), api::int_at(p.as_object(), "port"));
    out += line + "\n";
  }
  return out;
}
std::string short_form(const api::ObjectPtr& service, const std::vector<api::ObjectPtr>& pods) {
  return short_form(endpoint_subsets(service->body, pods));
}

TEST(EndpointsPlan, WhatUpstreamWrites) {
  EXPECT_EQ(
      subsets(service(), {pod("b", "10.0.0.2", false), pod("a", "10.0.0.1")}),
      R"([{"addresses":[{"ip":"10.0.0.1","nodeName":"n1","targetRef":{"kind":"Pod","namespace":"d","name":"a","uid":"uid-a"}}],)"
      R"("notReadyAddresses":[{"ip":"10.0.0.2","nodeName":"n1","targetRef":{"kind":"Pod","namespace":"d","name":"b","uid":"uid-b"}}],)"
      R"("ports":[{"name":"http","port":8080,"protocol":"TCP"}]}])");
  auto body = plan_endpoints(*service(), {pod("a", "10.0.0.1")}, nullptr, "2026-01-01T00:00:00Z", kNow);
  ASSERT_TRUE(body);
  EXPECT_EQ(api::text_at(*body, "kind"), "Endpoints");
  EXPECT_EQ(api::text_at(*body, "metadata.name"), "web");
  EXPECT_EQ(json::serialize(body->at("metadata").at("labels")),
            R"({"endpoints.kubernetes.io/managed-by":"endpoint-controller"})");
  EXPECT_EQ(json::serialize(body->at("metadata").at("annotations")),
            R"({"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"})");
}

TEST(EndpointsPlan, WhoIsInAndWhoIsReady) {
  auto ended = pod("done", "10.0.0.9");
  auto body = ended->body;
  api::make_object_at(body, "status")["phase"] = "Succeeded";
  ended = api::make_object(ended->key, body, 1);
  std::vector<api::ObjectPtr> pods = {pod("a", "10.0.0.1"), pod("b", "10.0.0.2", false),
                                      pod("c", "10.0.0.3", true, kDeleting), pod("d", ""), ended};
  EXPECT_EQ(short_form(service(), pods), "10.0.0.1 / 10.0.0.2 http:8080\n");
  auto all = service(R"("publishNotReadyAddresses":true,"ports":[{"port":80}])");
  EXPECT_EQ(short_form(all, pods), "10.0.0.1 10.0.0.2 10.0.0.3 / :80\n");
  EXPECT_EQ(short_form(service(), {}), "");
}

TEST(EndpointsPlan, PortsThatAreInTheSamePodsShareASubset) {
  auto two = R"({"name":"http","containerPort":8080},{"name":"admin","containerPort":9000})";
  auto other = R"({"name":"http","containerPort":8081})";
  auto s = service(
      R"("ports":[{"name":"web","port":80,"targetPort":"http"},{"name":"adm","port":81,"targetPort":"admin"},{"name":"raw","port":82,"targetPort":82}])");
  EXPECT_EQ(short_form(s, {pod("a", "10.0.0.1", true, "", two), pod("b", "10.0.0.2", true, "", two)}),
            "10.0.0.1 10.0.0.2 / web:8080 adm:9000 raw:82\n");
  // The named port is missing in one pod and another number in a third.
  EXPECT_EQ(short_form(
                s, {pod("a", "10.0.0.1", true, "", two), pod("b", "10.0.0.2"), pod("c", "10.0.0.3", false, "", other)}),
            "10.0.0.1 / adm:9000\n10.0.0.1 10.0.0.2 / web:8080\n10.0.0.1 10.0.0.2 / 10.0.0.3 raw:82\n/ 10.0.0.3 "
            "web:8081\n");
}

TEST(EndpointsPlan, HeadlessServicesAndNames) {
  auto s = stored("services", R"({"kind":"Service","metadata":{"namespace":"d","name":"web"},
    "spec":{"selector":{"app":"web"},"clusterIP":"None"}})");
  auto named = pod("a", "10.0.0.1")->body;
  api::make_object_at(named, "spec")["hostname"] = "first";
  api::make_object_at(named, "spec")["subdomain"] = "web";
  auto a = api::make_object({"pods", "d", "a"}, named, 1);
  auto body = plan_endpoints(*s, {a, pod("b", "10.0.0.2")}, nullptr, "", kNow);
  ASSERT_TRUE(body);
  EXPECT_EQ(short_form(api::array_at(*body, "subsets")), "10.0.0.1 10.0.0.2 /\n");
  EXPECT_EQ(api::text_at(api::array_at(api::array_at(*body, "subsets")[0].as_object(), "addresses")[0].as_object(),
                         "hostname"),
            "first");
  EXPECT_EQ(api::object_at(*body, "metadata.labels").at("service.kubernetes.io/headless"), "");
  EXPECT_FALSE(body->at("metadata").as_object().contains("annotations"));
}

TEST(EndpointsPlan, TheFirstFamilyOnly) {
  auto both = pod("a", "10.0.0.1")->body;
  api::make_object_at(both, "status")["podIPs"] = json::parse(R"([{"ip":"10.0.0.1"},{"ip":"fd00::1"}])");
  auto a = api::make_object({"pods", "d", "a"}, both, 1);
  EXPECT_EQ(short_form(service(R"("ipFamilies":["IPv6","IPv4"],"ports":[{"port":80}])"), {a}), "fd00::1 / :80\n");
  EXPECT_EQ(short_form(service(R"("ipFamilies":["IPv4"],"ports":[{"port":80}])"), {a}), "10.0.0.1 / :80\n");
}

TEST(EndpointsPlan, NothingToDoTwiceAndWhatBringsItBack) {
  auto s = service(R"("ports":[{"port":80}])", R"("labels":{"tier":"front","service.kubernetes.io/headless":""},)");
  std::vector<api::ObjectPtr> pods = {pod("a", "10.0.0.1"), pod("b", "10.0.0.2")};
  auto made = plan_endpoints(*s, pods, nullptr, "2026-01-01T00:00:00Z", kNow);
  ASSERT_TRUE(made);
  EXPECT_EQ(api::object_at(*made, "metadata.labels").size(), 2u) << "the Service's own and ours";
  auto have = api::make_object({"endpoints", "d", "web"}, *made, 7);
  EXPECT_FALSE(plan_endpoints(*s, pods, have.get(), "2026-01-02T00:00:00Z", kNow)) << "a new time alone writes nothing";
  EXPECT_FALSE(plan_endpoints(*s, {pods[1], pods[0]}, have.get(), "", kNow));
  // A person's hand in it.
  auto damaged = have->body;
  damaged.erase("subsets");
  auto again = plan_endpoints(*s, pods, api::make_object(have->key, damaged, 8).get(), "", kNow);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->at("subsets"), made->at("subsets"));
  auto relabelled = have->body;
  api::make_object_at(relabelled, "metadata.labels").erase("tier");
  EXPECT_TRUE(plan_endpoints(*s, pods, api::make_object(have->key, relabelled, 8).get(), "", kNow));
  // Nobody left.
  auto empty = plan_endpoints(*s, {}, have.get(), "", kNow);
  ASSERT_TRUE(empty);
  EXPECT_FALSE(empty->contains("subsets"));
}

TEST(EndpointsPlan, ThePersonsObjectIsTakenOver) {
  auto theirs = stored("endpoints", R"({"apiVersion":"v1","kind":"Endpoints",
    "metadata":{"namespace":"d","name":"web","uid":"e","annotations":{"note":"mine"}},
    "subsets":[{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"port":1}]}]})");
  EXPECT_FALSE(has_endpoints_manager(*theirs));
  auto body = plan_endpoints(*service(), {pod("a", "10.0.0.1")}, theirs.get(), "", kNow);
  ASSERT_TRUE(body);
  EXPECT_EQ(short_form(api::array_at(*body, "subsets")), "10.0.0.1 / http:8080\n");
  EXPECT_EQ(api::text_at(*body, "metadata.uid"), "e");
  EXPECT_EQ(api::text_at(*body, "metadata.annotations.note"), "mine");
  EXPECT_TRUE(has_endpoints_manager(*api::make_object(theirs->key, *body, 2)));
}

std::vector<api::ObjectPtr> many(int ready, int waiting, const std::string& prefix = "10.1",
                                 const std::string& ports = R"({"name":"http","containerPort":8080})") {
  std::vector<api::ObjectPtr> out;
  for (int i = 0; i < ready + waiting; ++i)
    out.push_back(pod(fmt::format("p{}-{:04}", prefix, i), fmt::format("{}.{}.{}", prefix, i / 200, i % 200 + 1),
                      i < ready, "", ports));
  return out;
}

std::pair<std::size_t, std::size_t> sizes(const json::array& subsets) {
  std::pair<std::size_t, std::size_t> n;
  for (const auto& s : subsets) {
    n.first += api::array_at(s.as_object(), "addresses").size();
    n.second += api::array_at(s.as_object(), "notReadyAddresses").size();
  }
  return n;
}

TEST(EndpointsPlan, AThousandAddressesAtMost) {
  using Sizes = std::pair<std::size_t, std::size_t>;
  auto planned = [&](const std::vector<api::ObjectPtr>& pods) {
    auto body = plan_endpoints(*service(), pods, nullptr, "", kNow);
    return std::pair(sizes(api::array_at(*body, "subsets")),
                     api::object_at(*body, "metadata.annotations").contains(kOverCapacity));
  };
  EXPECT_EQ(planned(many(1000, 0)), std::pair(Sizes(1000, 0), false));
  EXPECT_EQ(planned(many(600, 400)), std::pair(Sizes(600, 400), false));
  EXPECT_EQ(planned(many(1005, 0)), std::pair(Sizes(1000, 0), true));
  EXPECT_EQ(planned(many(600, 500)), std::pair(Sizes(600, 400), true)) << "those that are not ready go first";
  EXPECT_EQ(planned(many(1200, 500)), std::pair(Sizes(1000, 0), true));
  // Two subsets keep their proportion.
  auto pods = many(1500, 0);
  auto other = many(500, 0, "10.2", R"({"name":"http","containerPort":9090})");
  pods.insert(pods.end(), other.begin(), other.end());
  auto body = plan_endpoints(*service(), pods, nullptr, "", kNow);
  const auto& two = api::array_at(*body, "subsets");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(api::array_at(two[0].as_object(), "addresses").size(), 750u);
  EXPECT_EQ(api::array_at(two[1].as_object(), "addresses").size(), 250u);
  // The mark goes with the surplus.
  auto have = api::make_object({"endpoints", "d", "web"}, *body, 1);
  EXPECT_FALSE(plan_endpoints(*service(), pods, have.get(), "", kNow));
  auto fewer = plan_endpoints(*service(), other, have.get(), "", kNow);
  ASSERT_TRUE(fewer);
  EXPECT_FALSE(fewer->at("metadata").as_object().contains("annotations"));
}

// Against the plain meaning: who is reached at which port, and nobody and nothing twice.
TEST(EndpointsPlan, RandomWorldsSayWhoIsBehindEachPort) {
  std::mt19937 random(5);
  auto s = service(
      R"("ports":[{"name":"a","port":1,"targetPort":"http"},{"name":"b","port":2,"targetPort":"admin"},{"name":"c","port":3}])");
  for (int round = 0; round < 200; ++round) {
    std::vector<api::ObjectPtr> pods;
    std::map<std::string, bool> wanted;  // "ip name:number" -> ready
    for (unsigned i = 0, n = random() % 8; i < n; ++i) {
      auto ip = fmt::format("10.0.0.{}", i + 1);
      bool ready = random() % 2 == 0, going = random() % 5 == 0;
      std::string ports;
      auto port = [&](const char* name, const char* shown) {
        if (random() % 3 == 0) return;
        auto number = 8000 + random() % 2;
        ports += fmt::format(R"({}{{"name":"{}","containerPort":{}}})", ports.empty() ? "" : ",", name, number);
        if (!going) wanted[fmt::format("{} {}:{}", ip, shown, number)] = ready;
      };
      port("http", "a");
      port("admin", "b");
      if (!going) wanted[ip + " c:3"] = ready;
      pods.push_back(pod("p" + std::to_string(i), ip, ready, going ? kDeleting : "", ports));
    }
    std::shuffle(pods.begin(), pods.end(), random);
    std::map<std::string, bool> got;
    std::set<std::string> ports_seen;
    for (const auto& v : endpoint_subsets(s->body, pods)) {
      const auto& subset = v.as_object();
      for (const auto& p : api::array_at(subset, "ports")) {
        auto text = fmt::format("{}:{}", api::text_at(p.as_object(), "name"), api::int_at(p.as_object(), "port"));
        EXPECT_TRUE(ports_seen.insert(text).second) << text << " in two subsets";
        for (const char* list : {"addresses", "notReadyAddresses"})
          for (const auto& a : api::array_at(subset, list))
            EXPECT_TRUE(
                got.emplace(api::text_at(a.as_object(), "ip") + " " + text, std::string_view(list) == "addresses")
                    .second);
      }
    }
    EXPECT_EQ(got, wanted);
  }
}

// ---- mirrored into slices

api::ObjectPtr endpoints(const std::string& subsets, const std::string& metadata = "", std::uint64_t revision = 1) {
  return stored(
      "endpoints",
      fmt::format(
          R"({{"apiVersion":"v1","kind":"Endpoints","metadata":{{{}"namespace":"d","name":"web","uid":"e"}},"subsets":{}}})",
          metadata, subsets),
      revision);
}
const char* kTwo =
    R"([{"addresses":[{"ip":"192.0.2.1","nodeName":"n1","hostname":"one"},{"ip":"fd00::1"}],"notReadyAddresses":[{"ip":"192.0.2.2"}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}])";

std::vector<api::ObjectPtr> carried_out(const api::Object& owner, const std::vector<SliceOp>& ops,
                                        std::vector<api::ObjectPtr> slices = {}) {
  static int n = 0;
  for (const auto& op : ops) {
    auto it = std::find_if(slices.begin(), slices.end(), [&](const auto& s) { return s->key.name == op.name; });
    if (op.type == SliceOp::Type::remove) {
      slices.erase(it);
      continue;
    }
    auto name = op.name.empty() ? "web-" + std::to_string(++n) : op.name;
    auto body = slice_object(op, owner, name, it == slices.end() ? nullptr : it->get(), "", kNow);
    auto made = api::make_object({"endpointslices", "d", name}, std::move(body), 1);
    if (it == slices.end())
      slices.push_back(made);
    else
      *it = made;
  }
  return slices;
}

TEST(EndpointMirror, OneSliceForEachFamilyAndSetOfPorts) {
  auto e = endpoints(
      kTwo,
      R"("labels":{"team":"x"},"annotations":{"note":"n","kubectl.kubernetes.io/last-applied-configuration":"{}"},)");
  auto plan = plan_mirror(*e, {});
  ASSERT_EQ(plan.ops.size(), 2u);
  auto slices = carried_out(*e, plan.ops);
  const auto& v4 = slices[0]->body;
  EXPECT_EQ(api::text_at(v4, "addressType"), "IPv4");
  EXPECT_EQ(json::serialize(v4.at("endpoints")),
            R"([{"addresses":["192.0.2.1"],"conditions":{"ready":true},"hostname":"one","nodeName":"n1"},)"
            R"({"addresses":["192.0.2.2"],"conditions":{"ready":false}}])");
  EXPECT_EQ(json::serialize(v4.at("ports")), R"([{"name":"http","port":8080,"protocol":"TCP"}])");
  EXPECT_EQ(
      json::serialize(v4.at("metadata").at("labels")),
      R"({"team":"x","kubernetes.io/service-name":"web","endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io"})");
  EXPECT_EQ(json::serialize(v4.at("metadata").at("annotations")), R"({"note":"n"})");
  EXPECT_EQ(api::text_at(api::array_at(v4, "metadata.ownerReferences")[0].as_object(), "kind"), "Endpoints");
  EXPECT_EQ(api::text_at(slices[1]->body, "addressType"), "IPv6");
  EXPECT_TRUE(plan_mirror(*e, slices).ops.empty()) << "nothing to do twice";

  // Another port: other slices, the old ones go last. A change of one address: one slice is written.
  auto moved = endpoints(R"([{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"port":9}]}])");
  auto ops = plan_mirror(*moved, slices).ops;
  ASSERT_EQ(ops.size(), 3u);
  EXPECT_EQ(ops[0].type, SliceOp::Type::create);
  EXPECT_EQ(ops[2].type, SliceOp::Type::remove);
  EXPECT_EQ(carried_out(*moved, ops, slices).size(), 1u);
  std::string text = kTwo;
  text.replace(text.find("192.0.2.2"), 9, "192.0.2.3");
  auto changed = endpoints(text, R"("labels":{"team":"x"},"annotations":{"note":"n"},)");
  ops = plan_mirror(*changed, slices).ops;
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops[0].name, slices[0]->key.name);
  EXPECT_EQ(plan_no_mirror(slices).size(), 2u);
}

TEST(EndpointMirror, AnAddressOnceAndAThousandASubset) {
  auto twice = endpoints(
      R"([{"addresses":[{"ip":"192.0.2.1"}],"notReadyAddresses":[{"ip":"192.0.2.1"}],"ports":[{"port":9}]}])");
  auto plan = plan_mirror(*twice, {});
  ASSERT_EQ(plan.ops.size(), 1u);
  EXPECT_EQ(json::serialize(plan.ops[0].content.at("endpoints")),
            R"([{"addresses":["192.0.2.1"],"conditions":{"ready":true}}])");
  std::string list;
  for (int i = 0; i < 1007; ++i)
    list += fmt::format(R"({}{{"ip":"198.51.{}.{}"}})", i ? "," : "", i / 200, i % 200 + 1);
  auto big = endpoints(fmt::format(R"([{{"addresses":[{}],"ports":[{{"port":9}}]}}])", list));
  plan = plan_mirror(*big, {});
  ASSERT_EQ(plan.ops.size(), 1u);
  EXPECT_EQ(api::array_at(plan.ops[0].content, "endpoints").size(), kMirroredPerSubset);
  EXPECT_EQ(plan.skipped, 7u);
}

TEST(EndpointMirror, WhoseEndpointsAreMirrored) {
  auto plain = stored("services", R"({"metadata":{"namespace":"d","name":"web"},"spec":{"ports":[{"port":80}]}})");
  EXPECT_TRUE(is_mirrored(*endpoints(kTwo), plain.get()));
  EXPECT_FALSE(is_mirrored(*endpoints(kTwo), nullptr));
  EXPECT_FALSE(is_mirrored(*endpoints(kTwo), service().get())) << "its slices are made from pods";
  EXPECT_FALSE(
      is_mirrored(*endpoints(kTwo, R"("labels":{"endpointslice.kubernetes.io/skip-mirror":"true"},)"), plain.get()));
  EXPECT_TRUE(
      is_mirrored(*endpoints(kTwo, R"("labels":{"endpointslice.kubernetes.io/skip-mirror":"false"},)"), plain.get()));
  EXPECT_FALSE(is_mirrored(*endpoints(kTwo, R"("annotations":{"control-plane.alpha.kubernetes.io/leader":"{}"},)"),
                           plain.get()));
  EXPECT_FALSE(is_mirrored(
      *endpoints(kTwo, R"("labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller"},)"), plain.get()))
      << "left over from a selector: the slices are there already";
}

}  // namespace
}  // namespace trama::control
