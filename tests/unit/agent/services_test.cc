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

TEST(ComputeService, ReadyEndpointsSortedUniqueWithTheirPods) {
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
            "10.96.0.10 | http 6 80 10.244.1.5:8080=default/web-1 10.244.2.9:8080= "
            "| dns 17 53 node 30053 10.244.1.5:5353=default/web-1 10.244.2.9:5353= ");
  EXPECT_TRUE(out.refusals.empty());
}

TEST(ComputeService, TerminatingOnesServeWhenNobodyElseDoesPerFamily) {
  auto v4 = slice("a", R"([{"addresses":["10.244.1.7"],"conditions":{"ready":false,"serving":true,"terminating":true}},
                            {"addresses":["10.244.1.8"],"conditions":{"ready":false,"serving":false,"terminating":true}}])");
  auto v6 = slice("b", R"([{"addresses":["fd00::7"]}])", "IPv6");
  auto service = web();
  auto out = compute_service(kWeb, service.get(), {v4, v6}, context());
  ASSERT_TRUE(out.service);
  ASSERT_EQ(out.service->ports[0].endpoints.size(), 2u);
  EXPECT_EQ(out.service->ports[0].endpoints[0].ip.to_string(), "10.244.1.7");
  EXPECT_EQ(out.service->ports[0].endpoints[1].ip.to_string(), "fd00::7");
}

TEST(ComputeService, SkipsWhatKubeProxySkips) {
  auto endpoints = slice("a", R"([{"addresses":["10.244.1.7"]}])");
  auto other_proxy = web("", R"({"service.kubernetes.io/service-proxy-name":"other"})");
  auto headless =
      object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"clusterIP":"None",
    "clusterIPs":["None"],"ports":[{"port":80}]}})");
  auto external = object_from("services", R"({"metadata":{"name":"web","namespace":"default"},
    "spec":{"type":"ExternalName","externalName":"example.org"}})");
  auto unassigned =
      object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"ports":[{"port":80}]}})");
  for (const auto& s : {other_proxy, headless, external, unassigned})
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

}  // namespace
}  // namespace trama::agent
