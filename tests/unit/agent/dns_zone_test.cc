// SPDX-License-Identifier: GPL-2.0-or-later
// Each case names the section of the Kubernetes DNS specification (1.1.0) that it comes from, or Weave's DNS test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/dns/zone.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent::dns {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

std::string text(const Record& r) {
  struct Say {
    std::string operator()(const base::Ip& ip) { return ip.to_string(); }
    std::string operator()(const Target& t) { return t.name; }
    std::string operator()(const Place& p) {
      return fmt::format("{} {} {} {}", p.priority, p.weight, p.port, p.target);
    }
    std::string operator()(const Text& t) { return t.text; }
    std::string operator()(const Authority& a) { return a.server; }
  };
  return fmt::format("{} {} {}", r.name, static_cast<int>(r.type), std::visit(Say(), r.data));
}

class DnsZone : public testing::Test {
 protected:
  DnsZone() : zone(view, facts()) {
    put("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{"type":"ClusterIP",
      "clusterIP":"10.96.1.1","clusterIPs":["10.96.1.1","fd00:96::11"],
      "ports":[{"name":"http","port":80,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]}})");
    put("services", R"({"metadata":{"name":"db","namespace":"prod"},"spec":{"clusterIP":"None","clusterIPs":["None"],
      "ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}})");
    slice("10.244.1.5", "10.244.2.7", true);
    put("services", R"({"metadata":{"name":"shop","namespace":"prod"},"spec":{"type":"ExternalName",
      "externalName":"Shop.Example.org."}})");
    put("services", R"({"metadata":{"name":"alias","namespace":"prod"},"spec":{"type":"ExternalName",
      "externalName":"web.default.svc.cluster.local"}})");
    put("services", R"({"metadata":{"name":"round","namespace":"prod"},"spec":{"type":"ExternalName",
      "externalName":"round.prod.svc.cluster.local"}})");
    zone.update(view.take_dirty().services);
  }
  static ZoneFacts facts() {
    ZoneFacts f;
    f.domain = "cluster.local";
    f.servers = {*base::Ip::parse("10.96.0.10")};
    f.pods = {*base::Cidr::parse("10.244.0.0/16"), *base::Cidr::parse("fd00:244::/48")};
    f.services = {*base::Cidr::parse("10.96.0.0/16"), *base::Cidr::parse("fd00:96::/112")};
    return f;
  }
  void put(const std::string& resource, const std::string& json) {
    auto object = object_from(resource, json);
    object = api::make_object(object->key, api::json::object(object->body), ++revision);
    view.put(resource == "services" ? Kind::services : Kind::slices, object);
  }
  void slice(const std::string& first, const std::string& second, bool second_ready) {
    put("endpointslices", fmt::format(R"({{"metadata":{{"name":"db-1","namespace":"prod",
      "labels":{{"kubernetes.io/service-name":"db"}}}},"addressType":"IPv4",
      "ports":[{{"name":"sql","port":5433,"protocol":"TCP"}}],
      "endpoints":[{{"addresses":["{}"],"hostname":"db-0","conditions":{{"ready":true}}}},
                   {{"addresses":["{}"],"conditions":{{"ready":{}}}}}]}})",
                                      first, second, second_ready));
  }
  std::vector<std::string> ask(const std::string& name, Type type = Type::a) {
    last = zone.answer({name, type});
    std::vector<std::string> out;
    for (const auto& record : last.answers) out.push_back(text(record));
    return out;
  }
  // The name is there, without records of that type.
  bool empty(const std::string& name, Type type = Type::a) {
    return ask(name, type).empty() && last.rcode == Rcode::ok && last.authority.size() == 1 &&
           last.authority[0].type == Type::soa;
  }
  bool absent(const std::string& name, Type type = Type::a) {
    return ask(name, type).empty() && last.rcode == Rcode::no_such_name && last.authority.size() == 1;
  }

  std::uint64_t revision = 1;
  ClusterView view;
  Zone zone;
  Answer last;
};

TEST_F(DnsZone, AServiceHasItsAddressesOfEachFamily) {  // 2.3.1
  EXPECT_THAT(ask("web.default.svc.cluster.local"), ElementsAre("web.default.svc.cluster.local 1 10.96.1.1"));
  EXPECT_THAT(ask("web.default.svc.cluster.local", Type::aaaa),
              ElementsAre("web.default.svc.cluster.local 28 fd00:96::11"));
  EXPECT_EQ(last.answers[0].ttl, kTtl);
}

TEST_F(DnsZone, ThatNothingIsThereAndThatThereIsNoSuchNameAreTwoAnswers) {  // Weave: NXDOMAIN against NOERROR
  EXPECT_TRUE(empty("web.default.svc.cluster.local", Type::txt));
  EXPECT_TRUE(empty("db.prod.svc.cluster.local", Type::aaaa)) << "no IPv6 endpoints";
  EXPECT_TRUE(empty("default.svc.cluster.local")) << "a namespace with Services";
  EXPECT_TRUE(empty("svc.cluster.local"));
  EXPECT_TRUE(empty("pod.cluster.local"));
  EXPECT_TRUE(empty("cluster.local"));
  EXPECT_TRUE(empty("_tcp.web.default.svc.cluster.local", Type::srv)) << "names exist below it";
  EXPECT_TRUE(absent("nobody.default.svc.cluster.local"));
  EXPECT_TRUE(absent("nowhere.svc.cluster.local"));
  EXPECT_TRUE(absent("web.nowhere.svc.cluster.local"));
  EXPECT_TRUE(absent("x.web.default.svc.cluster.local")) << "a ClusterIP Service has no members by name";
  EXPECT_TRUE(absent("_udp.web.default.svc.cluster.local", Type::srv)) << "its UDP port has no name";
  EXPECT_TRUE(absent("a.b.c.d.e.f.svc.cluster.local"));
  EXPECT_TRUE(absent("www.cluster.local"));
}

TEST_F(DnsZone, PortsWithNamesAreFoundByThem) {  // 2.3.2
  EXPECT_THAT(ask("_http._tcp.web.default.svc.cluster.local", Type::srv),
              ElementsAre("_http._tcp.web.default.svc.cluster.local 33 0 100 80 web.default.svc.cluster.local"));
  EXPECT_EQ(last.additional.size(), 2u) << "its addresses come along";
  EXPECT_TRUE(absent("_http._udp.web.default.svc.cluster.local", Type::srv));
  EXPECT_TRUE(absent("http.tcp.web.default.svc.cluster.local", Type::srv));
  EXPECT_TRUE(absent("_._udp.web.default.svc.cluster.local", Type::srv));
}

TEST_F(DnsZone, AHeadlessServiceIsItsReadyEndpoints) {  // 2.4.1, 2.4.2
  EXPECT_THAT(ask("db.prod.svc.cluster.local"),
              UnorderedElementsAre("db.prod.svc.cluster.local 1 10.244.1.5", "db.prod.svc.cluster.local 1 10.244.2.7"));
  EXPECT_THAT(ask("db-0.db.prod.svc.cluster.local"), ElementsAre("db-0.db.prod.svc.cluster.local 1 10.244.1.5"));
  EXPECT_THAT(ask("10-244-2-7.db.prod.svc.cluster.local"),
              ElementsAre("10-244-2-7.db.prod.svc.cluster.local 1 10.244.2.7"));
  EXPECT_THAT(
      ask("_sql._tcp.db.prod.svc.cluster.local", Type::srv),
      UnorderedElementsAre("_sql._tcp.db.prod.svc.cluster.local 33 0 100 5433 db-0.db.prod.svc.cluster.local",
                           "_sql._tcp.db.prod.svc.cluster.local 33 0 100 5433 10-244-2-7.db.prod.svc.cluster.local"));
  slice("10.244.1.5", "10.244.2.7", false);
  EXPECT_THAT(ask("db.prod.svc.cluster.local"), ElementsAre("db.prod.svc.cluster.local 1 10.244.1.5"));
  EXPECT_TRUE(absent("10-244-2-7.db.prod.svc.cluster.local"));
}

TEST_F(DnsZone, AHeadlessServiceWithoutReadyEndpointsIsNoName) {  // 2.4.1
  put("endpointslices", R"({"metadata":{"name":"db-1","namespace":"prod",
    "labels":{"kubernetes.io/service-name":"db"}},"addressType":"IPv4","endpoints":[]})");
  EXPECT_TRUE(absent("db.prod.svc.cluster.local"));
}

TEST_F(DnsZone, AnExternalNameIsAnAlias) {  // 2.5
  EXPECT_THAT(ask("shop.prod.svc.cluster.local"), ElementsAre("shop.prod.svc.cluster.local 5 shop.example.org"));
  EXPECT_EQ(last.follow, "shop.example.org");
  EXPECT_THAT(ask("shop.prod.svc.cluster.local", Type::cname),
              ElementsAre("shop.prod.svc.cluster.local 5 shop.example.org"));
  EXPECT_EQ(last.follow, "") << "who asks for the alias itself has the whole answer";
  EXPECT_THAT(ask("alias.prod.svc.cluster.local"),
              ElementsAre("alias.prod.svc.cluster.local 5 web.default.svc.cluster.local",
                          "web.default.svc.cluster.local 1 10.96.1.1"));
  ask("round.prod.svc.cluster.local");
  EXPECT_EQ(last.rcode, Rcode::server) << "an alias of itself ends";
}

TEST_F(DnsZone, AddressesHaveNames) {  // 2.3.3, 2.4.3
  EXPECT_THAT(ask("1.1.96.10.in-addr.arpa", Type::ptr),
              ElementsAre("1.1.96.10.in-addr.arpa 12 web.default.svc.cluster.local"));
  auto v6 = reverse_of_address(*base::Ip::parse("fd00:96::11"));
  EXPECT_THAT(ask(v6, Type::ptr), ElementsAre(v6 + " 12 web.default.svc.cluster.local"));
  EXPECT_THAT(ask("5.1.244.10.in-addr.arpa", Type::ptr),
              ElementsAre("5.1.244.10.in-addr.arpa 12 db-0.db.prod.svc.cluster.local"));
  EXPECT_TRUE(absent("9.9.96.10.in-addr.arpa", Type::ptr)) << "ours, and nobody's";
  EXPECT_FALSE(zone.covers("1.2.0.192.in-addr.arpa")) << "somebody else's";
  EXPECT_EQ(zone.owner(*base::Ip::parse("10.96.1.1")), (ServiceKey{"default", "web"}));
  EXPECT_EQ(zone.owner(*base::Ip::parse("10.244.1.5")), ServiceKey{}) << "an endpoint is no ClusterIP";
}

TEST_F(DnsZone, NamesGoWithWhatTheyName) {  // Weave: removal when a container ends
  view.remove(Kind::services, view.service({"default", "web"}));
  slice("10.244.1.6", "10.244.2.7", true);
  zone.update(view.take_dirty().services);
  EXPECT_TRUE(absent("web.default.svc.cluster.local"));
  EXPECT_TRUE(absent("1.1.96.10.in-addr.arpa", Type::ptr));
  EXPECT_EQ(zone.owner(*base::Ip::parse("10.96.1.1")), ServiceKey{});
  EXPECT_TRUE(absent("5.1.244.10.in-addr.arpa", Type::ptr));
  EXPECT_THAT(ask("6.1.244.10.in-addr.arpa", Type::ptr),
              ElementsAre("6.1.244.10.in-addr.arpa 12 db-0.db.prod.svc.cluster.local"));
}

TEST_F(DnsZone, ThePodsOfTheClusterAndNobodyElseHaveTheNamesOfTheirAddresses) {  // 2.6
  EXPECT_THAT(ask("10-244-3-4.default.pod.cluster.local"),
              ElementsAre("10-244-3-4.default.pod.cluster.local 1 10.244.3.4"));
  EXPECT_THAT(ask("fd00-244--9.default.pod.cluster.local", Type::aaaa),
              ElementsAre("fd00-244--9.default.pod.cluster.local 28 fd00:244::9"));
  EXPECT_TRUE(absent("192-0-2-1.default.pod.cluster.local"));
  EXPECT_TRUE(absent("10-244-3-4.nowhere.pod.cluster.local"));
  EXPECT_TRUE(absent("10-244-3.default.pod.cluster.local"));
  EXPECT_TRUE(absent("010-244-3-4.default.pod.cluster.local"));
}

TEST_F(DnsZone, TheZoneSaysWhoItIs) {
  EXPECT_THAT(ask("dns-version.cluster.local", Type::txt), ElementsAre("dns-version.cluster.local 16 1.1.0"));  // 2.2
  EXPECT_THAT(ask("cluster.local", Type::ns), ElementsAre("cluster.local 2 ns.dns.cluster.local"));
  EXPECT_THAT(ask("cluster.local", Type::soa), ElementsAre("cluster.local 6 ns.dns.cluster.local"));
  EXPECT_THAT(ask("ns.dns.cluster.local"), ElementsAre("ns.dns.cluster.local 1 10.96.0.10"));
}

TEST_F(DnsZone, WhatLooksLikeItIsNotIt) {
  for (const char* name : {"notcluster.local", "local", "", "cluster.local.example.org", "xcluster.local"})
    EXPECT_FALSE(zone.covers(name)) << name;
  for (const char* name : {"cluster.local", "a.cluster.local", "1.1.96.10.in-addr.arpa"})
    EXPECT_TRUE(zone.covers(name)) << name;
}

TEST(DnsReverse, OnlyWholeCanonicalAddresses) {
  for (const char* text : {"10.96.0.10", "255.255.255.255", "fd00:96::10", "::"}) {
    auto ip = *base::Ip::parse(text);
    EXPECT_EQ(address_of_reverse(reverse_of_address(ip)), ip) << text;
  }
  for (const char* name : {"in-addr.arpa", "10.in-addr.arpa", "1.1.96.256.in-addr.arpa", "01.1.96.10.in-addr.arpa",
                           "1.1.1.96.10.in-addr.arpa", "a.1.96.10.in-addr.arpa", "1..96.10.in-addr.arpa", "0.ip6.arpa",
                           "1.1.96.10.in-addr.arpa.", "1.1.96.10.xin-addr.arpa"})
    EXPECT_EQ(address_of_reverse(name), std::nullopt) << name;
}

}  // namespace
}  // namespace trama::agent::dns
