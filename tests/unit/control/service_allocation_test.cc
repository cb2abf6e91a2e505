// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/service_allocation.h"

#include <random>
#include <set>

#include "control/api/service_update.h"
#include "control/controllers/number_pool.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

struct Cluster {
  explicit Cluster(std::vector<std::string> cidrs = {"10.96.0.0/16"}, std::uint16_t first = 30000,
                   std::uint16_t last = 32767)
      : allocator(ranges(cidrs, first, last)) {}
  static ServiceRanges ranges(const std::vector<std::string>& cidrs, std::uint16_t first, std::uint16_t last) {
    ServiceRanges r;
    for (const auto& c : cidrs) r.addresses.push_back(*base::Cidr::parse(c));
    r.node_port_first = first;
    r.node_port_last = last;
    return r;
  }
  // Writes the Service as the API server would; "" or the refusal's message.
  std::string write(const std::string& name, const std::string& spec) {
    api::Key key{"services", "default", name};
    auto body =
        object(R"({"kind":"Service","metadata":{"namespace":"default","name":")" + name + R"("},"spec":)" + spec + "}");
    auto old = tx.get(key);
    if (old) api::carry_service_allocations(api::object_at(old->body, "spec"), body["spec"].as_object());
    auto refused = allocator.admit(tx, key, body, old.get());
    if (refused) return refused->message;
    tx.put(key, std::move(body));
    return "";
  }
  void remove(const std::string& name) { tx.erase({"services", "default", name}); }
  json::object spec(const std::string& name) {
    return api::object_at(tx.get({"services", "default", name})->body, "spec");
  }
  std::string ip(const std::string& name) { return api::text_at(spec(name), "clusterIP"); }
  std::int64_t port(const std::string& name, std::size_t i = 0) {
    return api::int_at(api::array_at(spec(name), "ports")[i].as_object(), "nodePort");
  }
  MapTransaction tx;
  ServiceAllocator allocator;
};

constexpr const char* kPlain = R"({"ports":[{"port":80,"protocol":"TCP"}]})";
constexpr const char* kNodePort = R"({"type":"NodePort","ports":[{"port":80,"protocol":"TCP"}]})";

TEST(ServiceAllocation, DynamicPicksComeFromTheUpperBand) {
  Cluster c;
  ASSERT_EQ(c.write("a", kPlain), "");
  ASSERT_EQ(c.write("b", kNodePort), "");
  EXPECT_EQ(c.ip("a"), "10.96.1.1");  // 256 addresses are kept for static requests
  EXPECT_EQ(c.ip("b"), "10.96.1.2");
  EXPECT_EQ(c.port("b"), 30086);
  EXPECT_EQ(json::serialize(c.spec("a").at("clusterIPs")), R"(["10.96.1.1"])");
  EXPECT_EQ(json::serialize(c.spec("a").at("ipFamilies")), R"(["IPv4"])");
  EXPECT_EQ(api::text_at(c.spec("a"), "ipFamilyPolicy"), "SingleStack");
}

TEST(ServiceAllocation, StaticRequestsAreHonouredOrRefused) {
  Cluster c;
  ASSERT_EQ(c.write("a", R"({"clusterIP":"10.96.0.10","ports":[{"port":53}]})"), "");
  EXPECT_EQ(c.ip("a"), "10.96.0.10");
  auto twice = c.write("b", R"({"clusterIP":"10.96.0.10","ports":[{"port":53}]})");
  EXPECT_NE(twice.find("provided IP is already allocated"), std::string::npos) << twice;
  auto outside = c.write("b", R"({"clusterIP":"10.97.0.10","ports":[{"port":53}]})");
  EXPECT_NE(outside.find("10.96.0.0/16"), std::string::npos) << outside;
  EXPECT_NE(c.write("b", R"({"clusterIP":"10.96.255.255","ports":[{"port":53}]})"), "") << "the broadcast address";
  EXPECT_NE(c.write("b", R"({"clusterIP":"10.96.0.0","ports":[{"port":53}]})"), "") << "the network's address";
  ASSERT_EQ(c.write("n", R"({"type":"NodePort","ports":[{"port":1,"nodePort":30001}]})"), "");
  auto port = c.write("m", R"({"type":"NodePort","ports":[{"port":1,"nodePort":30001}]})");
  EXPECT_NE(port.find("provided port is already allocated"), std::string::npos) << port;
  auto low = c.write("m", R"({"type":"NodePort","ports":[{"port":1,"nodePort":80}]})");
  EXPECT_NE(low.find("The range of valid ports is 30000-32767"), std::string::npos) << low;
}

TEST(ServiceAllocation, AddressIsForLifeAndComesBackAfterIt) {
  Cluster c({"10.96.0.0/28"});  // 14 addresses, one of them kept for DNS
  ASSERT_EQ(c.write("a", kPlain), "");
  auto ip = c.ip("a");
  ASSERT_EQ(c.write("a", kPlain), "") << "an update may leave it out";
  EXPECT_EQ(c.ip("a"), ip);
  auto changed = c.write("a", R"({"clusterIP":"10.96.0.5","ports":[{"port":80}]})");
  EXPECT_NE(changed.find("may not change once set"), std::string::npos) << changed;
  for (int i = 0; i < 12; ++i) ASSERT_EQ(c.write("s" + std::to_string(i), kPlain), "");
  EXPECT_NE(c.write("x", kPlain).find("range 10.96.0.0/28 is full"), std::string::npos);
  c.remove("a");
  ASSERT_EQ(c.write("x", kPlain), "");
  EXPECT_EQ(c.ip("x"), ip);
}

TEST(ServiceAllocation, TypeChanges) {
  Cluster c;
  ASSERT_EQ(c.write("a", kNodePort), "");
  auto port = c.port("a");
  auto spec = json::serialize(c.spec("a"));
  ASSERT_EQ(c.write("a", R"({"type":"ClusterIP","ports":[{"port":80,"protocol":"TCP","nodePort":)" +
                             std::to_string(port) + "}]}"),
            "");
  EXPECT_EQ(c.port("a"), 0) << "the port is given back with the type";
  ASSERT_EQ(c.write("b", R"({"type":"NodePort","ports":[{"port":1,"nodePort":)" + std::to_string(port) + "}]}"), "");
  ASSERT_EQ(c.write("a", R"({"type":"ExternalName","externalName":"x.example","clusterIP":")" + c.ip("a") + R"("})"),
            "");
  EXPECT_EQ(c.ip("a"), "");
  ASSERT_EQ(c.write("h", R"({"clusterIP":"None","selector":{"a":"b"},"ports":[{"port":80}]})"), "");
  EXPECT_EQ(json::serialize(c.spec("h").at("clusterIPs")), R"(["None"])");
  ASSERT_EQ(c.write("l", R"({"type":"LoadBalancer","externalTrafficPolicy":"Local","ports":[{"port":80}]})"), "");
  EXPECT_NE(api::int_at(c.spec("l"), "healthCheckNodePort"), 0);
  EXPECT_NE(api::int_at(c.spec("l"), "healthCheckNodePort"), c.port("l"));
}

TEST(ServiceAllocation, OneNumberForTcpAndUdpOfOnePort) {
  Cluster c;
  ASSERT_EQ(
      c.write("dns", R"({"type":"NodePort","ports":[{"port":53,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]})"), "");
  EXPECT_EQ(c.port("dns", 0), c.port("dns", 1));
  ASSERT_EQ(c.write("two", R"({"type":"NodePort","ports":[{"port":1},{"port":2}]})"), "");
  EXPECT_NE(c.port("two", 0), c.port("two", 1));
}

TEST(ServiceAllocation, DualStack) {
  Cluster single;
  EXPECT_NE(single.write("a", R"({"ipFamilyPolicy":"RequireDualStack","ports":[{"port":1}]})"), "");
  ASSERT_EQ(single.write("a", R"({"ipFamilyPolicy":"PreferDualStack","ports":[{"port":1}]})"), "");
  EXPECT_EQ(json::serialize(single.spec("a").at("ipFamilies")), R"(["IPv4"])");
  Cluster dual({"10.96.0.0/16", "fd00:96::/112"});
  ASSERT_EQ(dual.write("a", R"({"ipFamilyPolicy":"RequireDualStack","ports":[{"port":1}]})"), "");
  EXPECT_EQ(json::serialize(dual.spec("a").at("clusterIPs")), R"(["10.96.1.1","fd00:96::101"])");
  ASSERT_EQ(dual.write("b", R"({"ipFamilies":["IPv6"],"ports":[{"port":1}]})"), "");
  EXPECT_EQ(dual.ip("b"), "fd00:96::102");
  ASSERT_EQ(dual.write("c", kPlain), "");
  EXPECT_EQ(json::serialize(dual.spec("c").at("ipFamilies")), R"(["IPv4"])") << "single stack unless asked";
  ASSERT_EQ(dual.write("c", R"({"ipFamilyPolicy":"PreferDualStack","ports":[{"port":80,"protocol":"TCP"}]})"), "");
  EXPECT_EQ(api::array_at(dual.spec("c"), "clusterIPs").size(), 2u) << "upgrade";
}

TEST(ServiceAllocation, AFailedWriteLosesNothing) {
  Cluster c({"10.96.0.0/28"});
  for (int i = 0; i < 100; ++i) {
    // Admitted, but the transaction that should have written it failed.
    api::Key key{"services", "default", "ghost"};
    auto body = object(std::string(R"({"metadata":{},"spec":)") + kNodePort + "}");
    ASSERT_FALSE(c.allocator.admit(c.tx, key, body, nullptr));
  }
  for (int i = 0; i < 13; ++i) ASSERT_EQ(c.write("s" + std::to_string(i), kPlain), "") << i;
}

TEST(ServiceAllocation, RebuiltFromTheStore) {
  Cluster before;
  ASSERT_EQ(before.write("a", kNodePort), "");
  ASSERT_EQ(before.write("b", kPlain), "");
  Cluster after;
  after.tx.objects = before.tx.objects;
  for (const auto& [key, o] : after.tx.objects) after.allocator.remember(*o);
  ASSERT_EQ(after.write("c", kNodePort), "");
  EXPECT_EQ(after.ip("c"), "10.96.1.3");
  EXPECT_EQ(after.port("c"), 30087);
}

// Whatever happens, no two Services share an address or a port, and nothing is refused while there is room.
TEST(ServiceAllocation, RandomHistoriesAgainstBruteForce) {
  std::mt19937 random(7);
  Cluster c({"10.96.0.0/27"}, 30000, 30019);  // 30 addresses, one kept for DNS, 20 ports
  for (int step = 0; step < 4000; ++step) {
    auto name = "s" + std::to_string(random() % 40);
    switch (random() % 4) {
      case 0: c.remove(name); break;
      case 1: (void)c.write(name, kNodePort); break;
      case 2: {
        auto ip = "10.96.0." + std::to_string(1 + random() % 30);
        (void)c.write(name, R"({"clusterIP":")" + ip + R"(","ports":[{"port":80}]})");
        break;
      }
      default: {
        std::size_t addresses = 0;
        for (const auto& [key, o] : c.tx.objects)
          if (auto ip = api::text_at(o->body, "spec.clusterIP"); !ip.empty() && ip != "10.96.0.10") ++addresses;
        bool room = addresses < 29 || c.tx.get({"services", "default", name});
        EXPECT_EQ(c.write(name, kPlain).empty(), room) << step;
      }
    }
    std::set<std::string> ips;
    std::set<std::int64_t> ports;
    for (const auto& [key, o] : c.tx.objects) {
      EXPECT_TRUE(ips.insert(api::text_at(o->body, "spec.clusterIP")).second) << step;
      for (const auto& p : api::array_at(o->body, "spec.ports")) {
        auto n = api::int_at(p.as_object(), "nodePort");
        if (n != 0) {
          EXPECT_TRUE(ports.insert(n).second) << step;
        }
      }
    }
  }
}

TEST(NumberPool, LowerBandIsTheLastResort) {
  NumberPool pool(20, 16);
  auto never = [](const std::string&, std::uint64_t) { return true; };
  std::vector<std::uint64_t> got;
  for (int i = 0; i < 20; ++i) got.push_back(*pool.take_any("h" + std::to_string(i), never));
  EXPECT_EQ(got[0], 16u);
  EXPECT_EQ(got[3], 19u);
  EXPECT_EQ(got[4], 0u);
  EXPECT_FALSE(pool.take_any("late", never));
}

TEST(NumberPool, WhatIsKeptGoesOnlyToWhoAsksForIt) {
  NumberPool pool(6, 2, {1, 3});
  auto gone = [](const std::string&, std::uint64_t) { return false; };
  auto never = [](const std::string&, std::uint64_t) { return true; };
  std::set<std::uint64_t> got;
  for (int i = 0; i < 4; ++i) got.insert(*pool.take_any("h" + std::to_string(i), never));
  EXPECT_EQ(got, (std::set<std::uint64_t>{0, 2, 4, 5}));
  EXPECT_FALSE(pool.take_any("late", never));
  EXPECT_TRUE(pool.take(3, "dns", never));
  EXPECT_NE(pool.take_any("later", gone), 3u) << "not even when its holder has gone";
}

}  // namespace
}  // namespace trama::control
