// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/services.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

const ServiceKey kWeb{"default", "web"};

api::ObjectPtr web(const std::string& extra = "", const std::string& labels = "{}") {
  return object_from("services", R"({"metadata":{"name":"web","namespace":"default","labels":)" + labels + R"(},
    "spec":{"type":"ClusterIP","clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],)" +
                                     extra + R"(
    "ports":[{"name":"http","port":80,"protocol":"TCP"},{"name":"dns","port":53,"protocol":"UDP","nodePort":30053}]}})");
}

api::ObjectPtr slice(const std::string& name, const std::string& endpoints, const std::string& type = "IPv4",
                     const std::string& labels = "") {
  return object_from("endpointslices", R"({"metadata":{"name":")" + name + R"(","namespace":"default","labels":
    {"kubernetes.io/service-name":"web")" + labels +
                                           R"(}},"addressType":")" + type + R"(",
    "ports":[{"name":"http","port":8080,"protocol":"TCP"},{"name":"dns","port":5353,"protocol":"UDP"}],
    "endpoints":)" + endpoints + "}");
}

std::string text(const ServiceOutcome& out) {
  std::string s;
  if (!out.service) return "none";
  for (const auto& ip : out.service->cluster_ips) s += ip.to_string() + " ";
  for (const auto& port : out.service->ports) {
    s += fmt::format("| {} {} {}", port.name, static_cast<int>(port.protocol), port.port);
    if (port.node_port) s += fmt::format(" node {}", port.node_port);
    for (const auto& e : port.endpoints) s += fmt::format(" {}:{}={}", e.ip.to_string(), e.port, e.pod);
    s += " ";
  }
  return s;
}

ServiceContext context() {
  ServiceContext c;
  c.node_name = "n1";
  c.service_cidrs = {*base::Cidr::parse("10.96.0.0/16")};
  c.node_addresses = {*base::Ip::parse("192.0.2.1")};
  return c;
}

std::string conditions(const servicelb::Endpoint& e) {
  std::string s = e.ip.to_string();
  if (e.ready) s += " ready";
  if (e.serving) s += " serving";
  if (e.terminating) s += " terminating";
  return s;
}

TEST(ComputeService, EveryEndpointSortedUniqueWithItsPodAndConditions) {
  auto s1 = slice("web-b", R"([
    {"addresses":["10.244.2.9"],"conditions":{"ready":true}},
    {"addresses":["10.244.1.5","10.244.1.6"],"targetRef":{"kind":"Pod","namespace":"default","name":"web-1"}},
    {"addresses":["10.244.1.7"],"conditions":{"ready":false,"serving":true,"terminating":true}},
    {"addresses":["10.244.1.8"],"conditions":{"ready":false}}])");
  auto s2 = slice("web-a",
                  R"([{"addresses":["10.244.2.9"],"conditions":{"ready":false,"serving":true,"terminating":true}}])");
  auto service = web();
  auto out = compute_service(kWeb, service.get(), {s1, s2}, context());
  EXPECT_EQ(text(out),
            "10.96.0.10 | http 6 80 10.244.1.5:8080=default/web-1 10.244.1.7:8080= 10.244.1.8:8080= 10.244.2.9:8080= "
            "| dns 17 53 node 30053 10.244.1.5:5353=default/web-1 10.244.1.7:5353= 10.244.1.8:5353= 10.244.2.9:5353= ");
  std::vector<std::string> said;
  for (const auto& e : out.service->ports[0].endpoints) said.push_back(conditions(e));
  EXPECT_EQ(said, (std::vector<std::string>{"10.244.1.5 ready serving", "10.244.1.7 serving terminating", "10.244.1.8",
                                            "10.244.2.9 ready serving"}));
  EXPECT_TRUE(out.refusals.empty());
}

TEST(ComputeService, TheBetterOneOfTwoSlicesCountsInAnyOrder) {
  struct Case {
    const char *worse, *better, *expected;
  } cases[] = {
      {R"({"ready":false,"serving":true,"terminating":true})", R"({"ready":true})", "10.244.1.7 ready serving"},
      {R"({"ready":false,"serving":true,"terminating":true})", R"({"ready":false,"serving":false})", "10.244.1.7"},
      {R"({"ready":false,"serving":false,"terminating":true})", R"({"ready":false,"serving":true,"terminating":true})",
       "10.244.1.7 serving terminating"},
      {R"({"ready":true,"terminating":true})", R"({"ready":true})", "10.244.1.7 ready serving"}};
  auto service = web();
  for (const auto& c : cases) {
    auto entry = [](const char* conditions) {
      return fmt::format(R"([{{"addresses":["10.244.1.7"],"conditions":{}}}])", conditions);
    };
    auto a = slice("a", entry(c.worse)), b = slice("b", entry(c.better));
    for (const auto& slices : {std::vector{a, b}, std::vector{b, a}}) {
      auto out = compute_service(kWeb, service.get(), slices, context());
      ASSERT_EQ(out.service->ports[0].endpoints.size(), 1u);
      EXPECT_EQ(conditions(out.service->ports[0].endpoints[0]), c.expected);
    }
  }
}

TEST(ComputeService, WhereAnEndpointIsAndWhomItIsMeantFor) {
  auto s = slice("a", R"([{"addresses":["10.244.1.7"],"nodeName":"n1","zone":"z9","hints":{
    "forZones":[{"name":"b"},{"name":"a"},{"name":"b"}],"forNodes":[{"name":"n2"},{}]}},{"addresses":["10.244.1.8"]}])");
  auto service = web();
  auto out = compute_service(kWeb, service.get(), {s}, context());
  const auto& e = out.service->ports[0].endpoints;
  ASSERT_EQ(e.size(), 2u);
  EXPECT_EQ(e[0].node, "n1");
  EXPECT_EQ(e[0].zones, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(e[0].nodes, (std::vector<std::string>{"n2"}));
  EXPECT_EQ(e[1].node, "");
  EXPECT_TRUE(e[1].zones.empty() && e[1].nodes.empty());
}

TEST(ComputeService, SkipsWhatKubeProxySkips) {
  auto endpoints = slice("a", R"([{"addresses":["10.244.1.7"]}])");
  auto other_proxy = web("", R"({"service.kubernetes.io/service-proxy-name":"other"})");
  auto labelled = web("", R"({"service.kubernetes.io/headless":""})");
  auto headless =
      object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"clusterIP":"None",
    "clusterIPs":["None"],"ports":[{"port":80}]}})");
  auto external = object_from("services", R"({"metadata":{"name":"web","namespace":"default"},
    "spec":{"type":"ExternalName","externalName":"example.org"}})");
  auto unassigned =
      object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"ports":[{"port":80}]}})");
  for (const auto& s : {other_proxy, labelled, headless, external, unassigned})
    EXPECT_EQ(text(compute_service(kWeb, s.get(), {endpoints}, context())), "none");
  EXPECT_EQ(text(compute_service(kWeb, nullptr, {endpoints}, context())), "none");

  auto service = web();
  auto fqdn = slice("b", R"([{"addresses":["db.example.org"]}])", "FQDN");
  auto marked = slice("c", R"([{"addresses":["10.244.1.9"]}])", "IPv4", R"(,"service.kubernetes.io/headless":"")");
  auto out = compute_service(kWeb, service.get(), {fqdn, marked}, context());
  ASSERT_TRUE(out.service);
  EXPECT_TRUE(out.service->ports[0].endpoints.empty());
  EXPECT_TRUE(out.refusals.empty());
}

TEST(ComputeService, RefusesAndNamesDangerousEndpoints) {
  auto bad = slice("bad", R"([{"addresses":["127.0.0.1"]},{"addresses":["169.254.169.254"]},{"addresses":["224.0.0.5"]},
    {"addresses":["0.0.0.0"]},{"addresses":["255.255.255.255"]},{"addresses":["10.96.0.77"]},{"addresses":["nonsense"]},
    {"addresses":["0.1.2.3"]},{"addresses":["10.244.1.5"]}])");
  auto bad6 =
      slice("bad6", R"([{"addresses":["::1"]},{"addresses":["fe80::1"]},{"addresses":["ff02::1"]},{"addresses":["::"]},
    {"addresses":["::ffff:127.0.0.1"]}])",
            "IPv6");
  auto service = web();
  auto out = compute_service(kWeb, service.get(), {bad, bad6}, context());
  ASSERT_TRUE(out.service);
  ASSERT_EQ(out.service->ports[0].endpoints.size(), 1u) << "the good one of a bad slice is used";
  EXPECT_EQ(out.service->ports[0].endpoints[0].ip.to_string(), "10.244.1.5");
  EXPECT_EQ(out.refusals.size(), 13u) << fmt::format("{}", fmt::join(out.refusals, "\n"));
  EXPECT_NE(std::find(out.refusals.begin(), out.refusals.end(),
                      "default/web: endpoint 169.254.169.254 of bad refused: link-local address"),
            out.refusals.end());
}

TEST(ComputeService, TheOverlaysPortsOnNodesAreNoEndpoints) {
  auto s = object_from("endpointslices", R"({"metadata":{"name":"x","namespace":"default"},"addressType":"IPv4",
    "ports":[{"name":"http","port":6784,"protocol":"TCP"},{"name":"dns","port":6443,"protocol":"UDP"}],
    "endpoints":[{"addresses":["192.0.2.1"]},{"addresses":["10.244.1.5"]}]})");
  auto service = web();
  auto out = compute_service(kWeb, service.get(), {s}, context());
  ASSERT_TRUE(out.service);
  EXPECT_EQ(out.service->ports[0].endpoints.size(), 1u);
  EXPECT_EQ(out.service->ports[1].endpoints.size(), 2u);
  ASSERT_EQ(out.refusals.size(), 1u);
  EXPECT_EQ(out.refusals[0], "default/web: endpoint 192.0.2.1:6784 of x refused: port of the overlay on a node");
}

TEST(ComputeService, AClusterIpOnANodeOrLoopbackIsRefused) {
  auto s = object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"clusterIP":"127.0.0.1",
    "clusterIPs":["127.0.0.1","192.0.2.1"],"ports":[{"port":80}]}})");
  auto out = compute_service(kWeb, s.get(), {}, context());
  EXPECT_FALSE(out.service);
  EXPECT_EQ(out.refusals.size(), 2u);
}

// spec and status of a load balancer with `more` fields in its spec.
api::ObjectPtr balancer(const std::string& more, const std::string& status = "{}", const std::string& metadata = "") {
  return object_from("services", R"({"metadata":{"name":"web","namespace":"default")" + metadata + R"(},
    "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],)" +
                                     more + R"(
    "ports":[{"name":"http","port":80,"nodePort":30080}]},"status":)" +
                                     status + "}");
}

std::string external(const ServiceOutcome& out) {
  std::string s;
  for (const auto& e : out.service->external_ips) s += e.ip.to_string() + (e.load_balancer ? "! " : " ");
  return s;
}

TEST(ComputeService, ExternalIpsOnlyWhereTheOperatorWantsThem) {
  auto s = balancer(R"("externalIPs":["192.0.2.1","198.51.100.7","10.96.0.99","127.0.0.1","x"],)");
  auto out = compute_service(kWeb, s.get(), {}, context());
  EXPECT_EQ(external(out), "");
  EXPECT_EQ(out.refusals,
            (std::vector<std::string>{"default/web: external IP 192.0.2.1, 198.51.100.7, 10.96.0.99, 127.0.0.1, x "
                                      "refused: external IPs are not allowed on this node (--allow-external-ips)"}));
  auto open = context();
  open.allow_external_ips = true;
  out = compute_service(kWeb, s.get(), {}, open);
  EXPECT_EQ(external(out), "192.0.2.1 198.51.100.7 ") << "a node's own address is what they are usually used with";
  EXPECT_EQ(out.refusals, (std::vector<std::string>{
                              "default/web: external IP 10.96.0.99 refused: lies in the Service range 10.96.0.0/16",
                              "default/web: external IP 127.0.0.1 refused: loopback address",
                              "default/web: external IP x refused: not an IP address"}));
}

TEST(ComputeService, TheOverlaysPortsOnNodesAreNoServices) {
  auto s = object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"clusterIP":"10.96.0.10",
    "externalIPs":["192.0.2.1","198.51.100.7"],"ports":[{"port":6784,"protocol":"UDP"}]}})");
  auto open = context();
  open.allow_external_ips = true;
  auto out = compute_service(kWeb, s.get(), {}, open);
  EXPECT_EQ(external(out), "198.51.100.7 ");
  EXPECT_EQ(
      out.refusals,
      (std::vector<std::string>{"default/web: external IP 192.0.2.1 refused: port 6784 of a node is the overlay's"}));
}

TEST(ComputeService, LoadBalancerAddressesAndWhoMayUseThem) {
  const char* status = R"({"loadBalancer":{"ingress":[{"ip":"203.0.113.9"},{"ip":"203.0.113.8","ipMode":"VIP"},
    {"ip":"203.0.113.7","ipMode":"Proxy"},{"hostname":"lb.example.org"},{"ip":"2001:db8::9"},{"ip":"169.254.0.1"}]}})";
  auto s = balancer(R"("loadBalancerSourceRanges":[" 10.1.2.3/8","2001:db8::/32","10.0.0.0/8 ","nonsense"],)", status);
  auto out = compute_service(kWeb, s.get(), {}, context());
  EXPECT_EQ(external(out), "203.0.113.8! 203.0.113.9! 2001:db8::9! ");
  ASSERT_EQ(out.service->source_ranges.size(), 2u);
  EXPECT_EQ(out.service->source_ranges[0].to_string(), "10.0.0.0/8");
  EXPECT_EQ(out.service->source_ranges[1].to_string(), "2001:db8::/32");
  EXPECT_EQ(
      out.refusals,
      (std::vector<std::string>{
          "default/web: load balancer address 169.254.0.1 refused: link-local address",
          "default/web: source range \"nonsense\" refused: must be a prefix such as 10.9.8.0/24 or 2001:db8::/64"}));

  auto unreadable = balancer(R"("loadBalancerSourceRanges":["nonsense"],)", status);
  out = compute_service(kWeb, unreadable.get(), {}, context());
  EXPECT_EQ(external(out), "") << "an unreadable filter lets nobody in, not everybody";
  EXPECT_EQ(out.refusals.size(), 2u);

  auto both = balancer(R"("externalIPs":["203.0.113.9"],)", status);
  auto open = context();
  open.allow_external_ips = true;
  out = compute_service(kWeb, both.get(), {}, open);
  EXPECT_EQ(external(out), "203.0.113.8! 203.0.113.9! 2001:db8::9! ");
}

TEST(ComputeService, PoliciesAndAffinity) {
  auto plain = compute_service(kWeb, balancer("").get(), {}, context());
  EXPECT_EQ(plain.service->internal, servicelb::Policy::cluster);
  EXPECT_EQ(plain.service->external, servicelb::Policy::cluster);
  EXPECT_EQ(plain.service->affinity.count(), 0);
  auto s = balancer(R"("internalTrafficPolicy":"Local","externalTrafficPolicy":"Local","sessionAffinity":"ClientIP",)");
  auto out = compute_service(kWeb, s.get(), {}, context());
  EXPECT_EQ(out.service->internal, servicelb::Policy::local);
  EXPECT_EQ(out.service->external, servicelb::Policy::local);
  EXPECT_EQ(out.service->affinity.count(), 10'800);
  auto affinity = [](const char* timeout) {
    auto with = balancer(fmt::format(
        R"("sessionAffinity":"ClientIP","sessionAffinityConfig":{{"clientIP":{{"timeoutSeconds":{}}}}},)", timeout));
    return compute_service(kWeb, with.get(), {}, context());
  };
  EXPECT_EQ(affinity("60").service->affinity.count(), 60);
  EXPECT_EQ(affinity("86401").service->affinity.count(), 10'800);
  EXPECT_EQ(
      affinity("86401").refusals,
      (std::vector<std::string>{"default/web: session affinity timeout 86401 refused: must be 1 to 86400 seconds; "
                                "10800 are used"}));
}

TEST(ComputeService, OptionsOfTramasOwn) {
  auto s = balancer("", "{}", R"(,"annotations":{"trama.dev/algorithm":"maglev","trama.dev/weights":
    "web-1=3,10.244.1.8=0","trama.dev/slow-start":"30s","trama.dev/drain":"0s","trama.dev/counters":"true"})");
  auto endpoints = object_from("endpointslices", R"({"metadata":{"name":"x","namespace":"default"},"addressType":"IPv4",
    "ports":[{"name":"http","port":8080}],"endpoints":[
    {"addresses":["10.244.1.7"],"targetRef":{"kind":"Pod","namespace":"default","name":"web-1"}},
    {"addresses":["10.244.1.8"],"targetRef":{"kind":"Pod","namespace":"default","name":"web-2"}},
    {"addresses":["10.244.1.9"]}]})");
  auto out = compute_service(kWeb, s.get(), {endpoints}, context());
  EXPECT_TRUE(out.refusals.empty());
  EXPECT_EQ(out.service->algorithm, servicelb::Algorithm::maglev);
  EXPECT_EQ(out.service->slow_start.count(), 30);
  EXPECT_EQ(out.service->drain, std::chrono::seconds(0));
  EXPECT_TRUE(out.service->counters);
  const auto& e = out.service->ports[0].endpoints;
  ASSERT_EQ(e.size(), 3u);
  EXPECT_EQ(e[0].weight, 3u);
  EXPECT_EQ(e[1].weight, 0u);
  EXPECT_EQ(e[2].weight, 1u);

  auto wrong = balancer("", "{}", R"(,"annotations":{"trama.dev/algorithm":"rr","trama.dev/drain":"10s"})");
  out = compute_service(kWeb, wrong.get(), {endpoints}, context());
  EXPECT_EQ(out.service->algorithm, servicelb::Algorithm::random);
  EXPECT_EQ(out.service->drain, std::chrono::seconds(10)) << "the rest is served";
  EXPECT_EQ(out.refusals,
            (std::vector<std::string>{"default/web: annotation trama.dev/algorithm: \"rr\" refused: must be one of "
                                      "random, round-robin, source-hash, maglev"}));
}

TEST(ComputeService, HealthChecksCountTheReadyAddressesOfThisNode) {
  auto s = balancer(R"("externalTrafficPolicy":"Local","healthCheckNodePort":31234,)");
  auto count = [&](const std::string& endpoints) {
    auto slices = object_from("endpointslices", R"({"metadata":{"name":"x","namespace":"default","annotations":
      {"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-02T03:04:05Z"}},"addressType":"IPv4",
      "ports":[{"name":"http","port":8080}],"endpoints":)" +
                                                    endpoints + "}");
    return compute_service(kWeb, s.get(), {slices}, context());
  };
  auto out = count(R"([{"addresses":["10.244.1.7"],"nodeName":"n1"},{"addresses":["10.244.2.7"],"nodeName":"n2"},
    {"addresses":["10.244.1.8"],"nodeName":"n1","conditions":{"ready":false}}])");
  EXPECT_EQ(out.health_check_port, 31234);
  EXPECT_EQ(out.local_endpoints, 1u);
  EXPECT_EQ(out.no_local.external, 0u);
  EXPECT_EQ(base::format_seconds(out.triggered.value()), "2026-01-02T03:04:05Z");
  out = count(R"([{"addresses":["10.244.1.7"],"nodeName":"n1","conditions":{"ready":false,"serving":true,
    "terminating":true}}])");
  EXPECT_EQ(out.local_endpoints, 0u) << "a terminating endpoint serves, but no new client should come";
  EXPECT_EQ(out.no_local.external, 0u);
  out = count(R"([{"addresses":["10.244.2.7"],"nodeName":"n2"}])");
  EXPECT_EQ(out.local_endpoints, 0u);
  EXPECT_EQ(out.no_local.external, 1u);
  EXPECT_EQ(out.no_local.internal, 0u);
  auto cluster = balancer(R"("healthCheckNodePort":31234,)");
  EXPECT_EQ(compute_service(kWeb, cluster.get(), {}, context()).health_check_port, 0);
}

}  // namespace
}  // namespace trama::agent
