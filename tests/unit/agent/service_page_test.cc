// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/service_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/api/routes.h"

namespace trama::agent {
namespace {
namespace json = boost::json;
using base::Ip;
using servicelb::Service;
using servicelb::ServiceView;
using Kind = ServiceView::Front::Kind;

HttpRequest get(const std::string& path, const std::string& query) {
  HttpRequest r;
  r.method = "GET", r.path = path, r.query = parse_query(query);
  return r;
}

TEST(ServicePage, Routes) {
  auto page = parse_route(get("/debug/service", "namespace=default&name=web"));
  ASSERT_TRUE(page) << page.error().to_string();
  EXPECT_EQ(std::get<AskService>(*page).key.to_string(), "default/web");
  EXPECT_FALSE(std::get<AskService>(*page).as_nft);
  auto nft = parse_route(get("/debug/nft", "svc=kube-system%2Fdns"));
  ASSERT_TRUE(nft) << nft.error().to_string();
  EXPECT_EQ(std::get<AskService>(*nft).key.to_string(), "kube-system/dns");
  EXPECT_TRUE(std::get<AskService>(*nft).as_nft);
  for (auto [path, query] : {std::pair{"/debug/service", ""}, std::pair{"/debug/service", "namespace=default"},
                             std::pair{"/debug/service", "namespace=..&name=web"}, std::pair{"/debug/nft", "svc=web"},
                             std::pair{"/debug/nft", "svc=a/b/c"}, std::pair{"/debug/nft", ""}})
    EXPECT_TRUE(parse_route(get(path, query)).error().is(std::errc::invalid_argument)) << path << "?" << query;
}

Service web() {
  Service s;
  s.key = {"default", "web"};
  s.cluster_ips = {Ip::v4(10, 96, 0, 10), *Ip::parse("fd00:96::10")};
  s.external_ips = {{Ip::v4(192, 0, 2, 7), false}, {Ip::v4(192, 0, 2, 8), true}};
  servicelb::ServicePort p;
  p.name = "http", p.port = 80, p.node_port = 30080;
  servicelb::Endpoint here, there;
  here.ip = Ip::v4(10, 244, 1, 2), here.port = 8080, here.pod = "default/web-1", here.node = "n1";
  there.ip = Ip::v4(10, 244, 2, 2), there.port = 8080, there.pod = "default/web-2", there.node = "n2";
  there.ready = false, there.terminating = true;
  p.endpoints = {here, there};
  s.ports = {p};
  return s;
}

TEST(ServicePage, WhatWasToldHasEveryFrontAndEndpointAndNothingOfTheKernel) {
  auto view = told_view(web(), "n1");
  ASSERT_EQ(view.ports.size(), 1u);
  std::vector<Kind> kinds;
  for (const auto& f : view.ports[0].fronts) kinds.push_back(f.kind);
  EXPECT_THAT(kinds, ::testing::ElementsAre(Kind::cluster_ip, Kind::cluster_ip, Kind::external_ip, Kind::load_balancer,
                                            Kind::node_port));
  ASSERT_EQ(view.ports[0].backends.size(), 2u);
  EXPECT_TRUE(view.ports[0].backends[0].local);
  EXPECT_FALSE(view.ports[0].backends[1].local);
  EXPECT_FALSE(told_view(web(), "").ports[0].backends[0].local) << "a node without a name is nowhere";
  auto page = service_page(view, "n1");
  const auto& port = page["ports"].get_array()[0].get_object();
  EXPECT_FALSE(port.contains("id"));
  EXPECT_FALSE(port.at("endpoints").get_array()[0].get_object().contains("slots"));
  EXPECT_FALSE(port.at("fronts").get_array()[0].get_object().contains("key"));
}

TEST(ServicePage, KernelFactsAreThereWhenTheyAreKnown) {
  auto view = told_view(web(), "n1");
  view.programmed = true, view.affinity = std::chrono::seconds(60);
  auto& port = view.ports[0];
  port.id = 3, port.chain = "n2", port.endpoints_map = "slots", port.affinity_entries = 4;
  port.fronts.resize(1);
  port.fronts[0].mark = 0x3002, port.fronts[0].table = "ip trama", port.fronts[0].map = "services";
  port.fronts[0].key = "10.96.0.10 . tcp . 80";
  port.backends.resize(1);
  port.backends[0].slots = 2, port.backends[0].connections = 17;
  EXPECT_EQ(
      json::serialize(service_page(view, "n1")),
      R"({"namespace":"default","name":"web","node":"n1","programmed":true,"algorithm":"random",)"
      R"("internalPolicy":"Cluster","externalPolicy":"Cluster","affinitySeconds":60,"failures":[],"ports":[)"
      R"({"name":"http","protocol":"tcp","port":80,"id":3,"conntrackMark":"0x3000/0xfffff000","chain":"n2",)"
      R"("endpointsMap":"slots","affinityEntries":4,"fronts":[{"kind":"ClusterIP","address":"10.96.0.10","port":80,)"
      R"("mark":"0x00003002","table":"ip trama","map":"services","key":"10.96.0.10 . tcp . 80"}],"endpoints":[)"
      R"({"address":"10.244.1.2","port":8080,"pod":"default/web-1","node":"n1","weight":1,"ready":true,"serving":true,)"
      R"("terminating":false,"local":true,"slots":2,"connections":17}]}]})");
}

TEST(ServicePage, TheKernelsViewComesFirstAndNothingIsHidden) {
  auto told = told_view(web(), "n1");
  told.programmed = true, told.failures = {"endpoint refused"};
  // a producer as servicelb has one
  ServiceView seen = told_view(web(), "n1");
  seen.programmed = true, seen.ports[0].id = 7, seen.failures = {"node port taken"};
  auto both = best_view(told, std::optional(seen));
  EXPECT_EQ(both.ports[0].id, 7u);
  EXPECT_TRUE(both.programmed);
  EXPECT_THAT(both.failures, ::testing::ElementsAre("node port taken", "endpoint refused"));
  auto absent = best_view(told, std::optional<ServiceView>());
  EXPECT_FALSE(absent.programmed) << "whoever knows the kernel does not know it";
  EXPECT_EQ(absent.ports[0].backends.size(), 2u);
  auto failed = best_view(told, base::Error::from_errno(ETIMEDOUT, "read counters"));
  EXPECT_FALSE(failed.programmed);
  EXPECT_THAT(failed.failures, ::testing::ElementsAre("endpoint refused", ::testing::HasSubstr("read counters")));
}

TEST(ServicePage, AsNft) {
  ServiceView view;
  view.key = {"default", "web"};
  EXPECT_EQ(nft_page(view), "# default/web: 0 elements\n# its elements are not known\n");
  view.ports.resize(1);
  view.ports[0].id = 3;
  view.elements = {"add element ip trama services { 10.96.0.10 . tcp . 80 : 0x00003002 }"};
  view.failures = {"default/web: node port 30080/tcp belongs to default/a"};
  EXPECT_EQ(nft_page(view),
            "# default/web: 1 element\n# not in the kernel: default/web: node port 30080/tcp belongs to default/a\n"
            "add element ip trama services { 10.96.0.10 . tcp . 80 : 0x00003002 }\n");
}

}  // namespace
}  // namespace trama::agent
