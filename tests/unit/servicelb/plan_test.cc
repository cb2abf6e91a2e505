// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "tests/support/fake_nft.h"
#include "tests/support/golden.h"
#include "tests/support/nft_machine.h"

namespace trama::servicelb {
namespace {
using test::FakeNft;
using test::Fate;
using test::NftMachine;
using test::Packet;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Clock::time_point kNow{std::chrono::hours(1)};

Endpoint ep(const char* ip, std::uint16_t port, std::string pod) {
  Endpoint e;
  e.ip = *Ip::parse(ip), e.port = port, e.pod = std::move(pod);
  return e;
}
Service service(const char* name, const char* ip, std::vector<Endpoint> endpoints, std::uint16_t node_port = 0,
                Protocol p = Protocol::tcp) {
  Service s;
  s.key = {"default", name};
  s.cluster_ips = {*Ip::parse(ip)};
  ServicePort port;
  port.name = "http", port.protocol = p, port.port = 80, port.node_port = node_port,
  port.endpoints = std::move(endpoints);
  s.ports = {port};
  return s;
}
NodeFacts facts() {
  NodeFacts f;
  f.service_cidrs = {*Cidr::parse("10.96.0.0/16"), *Cidr::parse("fd00:96::/112")};
  f.pod_cidrs = {*Cidr::parse("10.244.0.0/16"), *Cidr::parse("fd00:244::/32")};
  f.local_pods = {*Ip::parse("10.244.1.2"), *Ip::parse("fd00:244:1::2")};
  return f;
}

struct Fixture : ::testing::Test {
  FakeNft kernel;
  Engine engine{kernel};
  PassOutcome tell(std::vector<Change> changes, std::optional<NodeFacts> node = {}) {
    PassInput in;
    in.changes = std::move(changes), in.node = std::move(node);
    return engine.pass(std::move(in), kNow);
  }
  PassOutcome tell(const Service& s) { return tell({Change{s.key, s}}); }
  std::map<Fate, int> fates(const char* source, const char* destination, std::uint16_t port, bool to_node = false,
                            Protocol p = Protocol::tcp) {
    Packet packet;
    packet.protocol = p, packet.source = *Ip::parse(source), packet.destination = *Ip::parse(destination);
    packet.port = port, packet.to_node = to_node;
    Family f = packet.destination.family();
    auto b = blueprint(f, engine.planner().shape(f));
    return NftMachine(b, kernel, f).all_fates(packet);
  }
  std::vector<std::string> said(const std::map<Fate, int>& all) {
    std::vector<std::string> out;
    for (const auto& [fate, n] : all) out.push_back(fate.to_string() + (n > 1 ? " x" + std::to_string(n) : ""));
    std::sort(out.begin(), out.end());
    return out;
  }
};
using Plan = Fixture;

TEST_F(Plan, GoldenTextOfALifetime) {
  std::string text;
  auto note = [&](const char* title, const PassOutcome& out) {
    text += std::string("# ") + title + "\n";
    for (const auto& line : out.plan) text += line + "\n";
    EXPECT_TRUE(out.committed);
  };
  auto s = service("web", "10.96.0.10", {ep("10.244.1.2", 8080, "default/web-1")}, 30080);
  engine.pass({{}, facts(), false}, kNow);
  note("a service appears", tell(s));
  s.ports[0].endpoints.push_back(ep("10.244.1.3", 8080, "default/web-2"));
  note("it grows: slot first, class in a second transaction", tell(s));
  s.ports[0].endpoints[0] = ep("10.244.1.4", 8080, "default/web-3");
  note("an endpoint is replaced", tell(s));
  s.ports[0].endpoints.erase(s.ports[0].endpoints.begin());
  note("it shrinks: class first", tell(s));
  s.ports[0].endpoints.clear();
  note("no endpoints left", tell(s));
  note("it goes", tell({Change{s.key, std::nullopt}}));
  auto node = facts();
  node.local_pods.push_back(*Ip::parse("10.244.1.9"));
  node.pod_cidrs.erase(node.pod_cidrs.begin());
  note("the node changes", tell({}, node));
  note("nothing changes", tell({}, node));
  EXPECT_EQ(test::golden_difference("servicelb/lifetime.txt", text), "");
}

TEST_F(Plan, GoldenTextOfTheTable) {
  nft::Batch b;
  Shape shape;
  shape.classes[3].slots = 3;
  nft::put_frame(b, blueprint(Family::v4, shape));
  nft::put_rules(b, blueprint(Family::v4, shape));
  std::string text;
  for (const auto& line : b.text()) text += line + "\n";
  EXPECT_EQ(test::golden_difference("servicelb/table.txt", text), "");
}

TEST_F(Plan, PacketsGoWhereTheServicesSay) {
  tell(
      {Change{{"default", "web"},
              service("web", "10.96.0.10", {ep("10.244.1.2", 8080, "a"), ep("10.244.2.2", 8080, "b")}, 30080)},
       Change{{"default", "empty"}, service("empty", "10.96.0.11", {}, 30081)},
       Change{{"default", "six"}, service("six", "fd00:96::10", {ep("fd00:244:1::2", 53, "c")}, 30082, Protocol::udp)}},
      facts());
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.10", 80)), ElementsAre("to 10.244.1.2:8080", "to 10.244.2.2:8080"));
  EXPECT_THAT(said(fates("192.0.2.1", "10.96.0.10", 80)),
              ElementsAre("to 10.244.1.2:8080 masqueraded", "to 10.244.2.2:8080 masqueraded"));
  EXPECT_THAT(said(fates("10.244.1.2", "10.96.0.10", 80)),
              ElementsAre("to 10.244.1.2:8080 masqueraded", "to 10.244.2.2:8080"))
      << "hairpin";
  EXPECT_THAT(said(fates("10.244.2.9", "198.51.100.1", 30080, true)),
              ElementsAre("to 10.244.1.2:8080 masqueraded", "to 10.244.2.2:8080 masqueraded"));
  EXPECT_THAT(said(fates("10.244.2.9", "198.51.100.1", 30080, false)), ElementsAre("untouched")) << "not our address";
  EXPECT_THAT(said(fates("10.244.2.9", "127.0.0.1", 30080, true)), ElementsAre("untouched"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.10", 81)), ElementsAre("refused"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.10", 80, false, Protocol::sctp)), ElementsAre("refused"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.11", 80)), ElementsAre("refused"));
  EXPECT_THAT(said(fates("10.244.2.9", "198.51.100.1", 30081, true)), ElementsAre("refused"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.12", 80)), ElementsAre("dropped"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.97.0.1", 80)), ElementsAre("untouched"));
  EXPECT_THAT(said(fates("fd00:244:2::1", "fd00:96::10", 80, false, Protocol::udp)),
              ElementsAre("to [fd00:244:1::2]:53"));
  EXPECT_THAT(said(fates("fd00:1::1", "2001:db8::1", 30082, true, Protocol::udp)),
              ElementsAre("to [fd00:244:1::2]:53 masqueraded"));
}

TEST_F(Plan, AMarkOfSomebodyElseIsNotTakenForOurs) {
  // The mark is set by the same rule that uses it: a connection that matches no map entry keeps what it has.
  tell({Change{{"default", "web"}, service("web", "10.96.0.10", {ep("10.244.1.2", 8080, "a")})}}, facts());
  for (const auto& chain : blueprint(Family::v4, engine.planner().shape(Family::v4)).chains)
    for (const auto& rule : chain.rules) {
      // by-class is entered by rules alone that have set the mark.
      auto text = rule.text();
      bool uses = text.find("goto by-class") != std::string::npos ||
                  (text.find("vmap @class") != std::string::npos && chain.chain.name != "by-class");
      if (uses) {
        EXPECT_THAT(text, HasSubstr("ct mark set")) << text;
      }
    }
}

TEST_F(Plan, BadObjectsAreNamedAndBlockNobody) {
  auto good = service("good", "10.96.0.20", {ep("10.244.1.2", 80, "a")}, 30090);
  auto bad = service("web", "10.96.0.21",
                     {ep("127.0.0.1", 80, "x"), ep("169.254.169.254", 80, "x"), ep("224.0.0.1", 80, "x"),
                      ep("10.96.0.20", 80, "x"), ep("192.0.2.5", 6784, "x"), ep("10.244.1.3", 6784, "fine: a pod")},
                     30090);
  auto out = tell({Change{bad.key, bad}, Change{good.key, good}}, facts());
  EXPECT_TRUE(out.committed);
  EXPECT_THAT(
      out.failures,
      ElementsAre(
          "default/web:http: node port 30090/tcp already belongs to default/good",
          "default/web:http: endpoint 127.0.0.1:80 is left out: a loopback address is another place on every node",
          "default/web:http: endpoint 169.254.169.254:80 is left out: link-local addresses cannot be routed to",
          "default/web:http: endpoint 224.0.0.1:80 is left out: not the address of one machine",
          "default/web:http: endpoint 10.96.0.20:80 is left out: it is a Service address itself",
          "default/web:http: endpoint 192.0.2.5:6784 is left out: this port of a node belongs to the pod network "
          "itself"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.20", 80)), ElementsAre("to 10.244.1.2:80"));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.21", 80)), ElementsAre("to 10.244.1.3:6784"));
  // the owner goes: the other one takes over without being told again
  out = tell({Change{good.key, std::nullopt}});
  EXPECT_EQ(out.failures.size(), 5u);
  EXPECT_THAT(said(fates("10.244.2.9", "198.51.100.1", 30090, true)), ElementsAre("to 10.244.1.3:6784 masqueraded"));
}

TEST_F(Plan, MoreEndpointsThanDirectClasses) {
  std::vector<Endpoint> many;
  for (int i = 0; i < 1500; ++i)
    many.push_back(ep(("10.244." + std::to_string(i / 200) + "." + std::to_string(i % 200 + 1)).c_str(), 80, ""));
  auto out = tell({Change{{"default", "big"}, service("big", "10.96.0.30", many)}}, facts());
  EXPECT_THAT(out.failures, IsEmpty());
  EXPECT_EQ(fates("10.244.2.9", "10.96.0.30", 80).size(), 1500u);
  Engine second(kernel);
  PassInput in;
  in.changes = {Change{{"default", "big"}, service("big", "10.96.0.30", many)}}, in.node = facts();
  auto again = second.pass(std::move(in), kNow);
  EXPECT_THAT(again.plan, IsEmpty()) << "a restart finds its class again";
}

TEST_F(Plan, AnUnusedClassIsCollectedLater) {
  tell({Change{{"default", "web"},
               service("web", "10.96.0.10", {ep("10.244.1.2", 80, "a"), ep("10.244.1.3", 80, "b")})}},
       facts());
  tell({Change{{"default", "web"}, service("web", "10.96.0.10", {ep("10.244.1.2", 80, "a")})}});
  auto& chains = kernel.tables[{nft::Family::ip, "trama"}].chains;
  EXPECT_TRUE(chains.contains("n2"));
  engine.pass({}, kNow + std::chrono::minutes(11));
  EXPECT_FALSE(kernel.tables[std::make_pair(nft::Family::ip, std::string("trama"))].chains.contains("n2"));
  EXPECT_TRUE(kernel.tables[std::make_pair(nft::Family::ip, std::string("trama"))].chains.contains("n1"));
}

// Twenty services, of which the kernel refuses the eighth.
struct Poisoned : Fixture {
  std::vector<Change> twenty_with_a_poisoned_one() {
    kernel.refuse = [](const nft::Batch& b) -> base::Result<> {
      for (const auto& line : b.text())
        if (line.find("default/poison") != std::string::npos)
          return base::Error::from_errno(ENOMEM, "no room for poison");
      return {};
    };
    std::vector<Change> changes;
    for (int i = 0; i < 20; ++i) {
      auto name = i == 7 ? std::string("poison") : "s" + std::to_string(i);
      changes.push_back({{"default", name},
                         service(name.c_str(), ("10.96.1." + std::to_string(i)).c_str(), {ep("10.244.1.2", 80, "a")})});
    }
    return changes;
  }
};

TEST_F(Poisoned, ARefusedServiceWaitsAndTheOthersGoOn) {
  tell({}, facts());
  auto changes = twenty_with_a_poisoned_one();
  auto out = tell(changes);
  EXPECT_THAT(out.failures, ElementsAre(HasSubstr("default/poison: the kernel refused it: no room for poison")));
  for (int i = 0; i < 20; ++i)
    EXPECT_THAT(said(fates("10.244.2.9", ("10.96.1." + std::to_string(i)).c_str(), 80)),
                ElementsAre(i == 7 ? "dropped" : "to 10.244.1.2:80"));
  // others are served while it waits, and it gets another chance
  out = tell(service("late", "10.96.2.1", {ep("10.244.1.2", 80, "a")}));
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.2.1", 80)), ElementsAre("to 10.244.1.2:80"));
  kernel.refuse = {};
  out = engine.pass({}, kNow + std::chrono::seconds(10));
  EXPECT_THAT(out.failures, IsEmpty());
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.1.7", 80)), ElementsAre("to 10.244.1.2:80"));
}

TEST_F(Poisoned, ARefusedServiceInTheFirstListKeepsNobodyOut) {
  auto changes = twenty_with_a_poisoned_one();
  auto out = tell(changes, facts());
  EXPECT_TRUE(out.committed);
  EXPECT_THAT(out.failures, ElementsAre(HasSubstr("default/poison: the kernel refused it: no room for poison")));
  for (int i = 0; i < 20; ++i)
    EXPECT_THAT(said(fates("10.244.2.9", ("10.96.1." + std::to_string(i)).c_str(), 80)),
                ElementsAre(i == 7 ? "dropped" : "to 10.244.1.2:80"));
  kernel.refuse = {};
  out = engine.pass({}, kNow + std::chrono::seconds(10));
  EXPECT_THAT(out.failures, IsEmpty());
}

TEST_F(Plan, WhatIsProgrammedCanBeAskedFor) {
  auto web =
      service("web", "10.96.0.10", {ep("10.244.1.2", 8080, "default/web-1"), ep("10.244.2.2", 8080, "b")}, 30080);
  web.ports[0].endpoints[1].weight = 3;
  tell({Change{web.key, web}}, facts());
  auto view = engine.describe(web.key);
  ASSERT_TRUE(view && *view);
  EXPECT_TRUE((*view)->programmed);
  ASSERT_EQ((*view)->ports.size(), 1u);
  const auto& port = (*view)->ports[0];
  EXPECT_EQ(port.id, 1u);
  EXPECT_EQ(port.chain, "n4");
  EXPECT_EQ(port.endpoints_map, "slots");
  ASSERT_EQ(port.backends.size(), 2u);
  EXPECT_EQ(port.backends[0].slots, 1u);
  EXPECT_EQ(port.backends[1].slots, 3u);
  EXPECT_EQ(port.backends[1].connections, std::nullopt) << "nobody counts";
  ASSERT_EQ(port.fronts.size(), 2u);
  EXPECT_EQ(port.fronts[0].map + " " + port.fronts[0].key, "services 10.96.0.10 . tcp . 80");
  EXPECT_EQ(port.fronts[1].map + " " + port.fronts[1].key, "nodeports tcp . 30080");
  EXPECT_EQ(port.fronts[1].mark, 0x1804u);
  EXPECT_THAT((*view)->elements, Contains("add element ip trama slots { 0x00001000 . 0 comment "
                                          "\"default/web:http -> default/web-1\" : 10.244.1.2 . 8080 }"));
  auto nobody = engine.describe({"default", "nobody"});
  ASSERT_TRUE(nobody);
  EXPECT_FALSE(*nobody);
}

TEST_F(Plan, LostAnswersAreFoundOutByLooking) {
  tell({}, facts());
  kernel.lose_answers = true;
  auto out = tell(service("web", "10.96.0.10", {ep("10.244.1.2", 80, "a")}));
  kernel.lose_answers = false;
  for (int i = 0; i < 3; ++i) out = engine.pass({}, kNow + std::chrono::seconds(i));
  EXPECT_TRUE(out.committed);
  EXPECT_THAT(said(fates("10.244.2.9", "10.96.0.10", 80)), ElementsAre("to 10.244.1.2:80"));
}

TEST_F(Plan, UdpFlowsAreForgottenUntilItWorks) {
  auto dns = service("dns", "10.96.0.10", {ep("10.244.1.2", 53, "a"), ep("10.244.1.3", 53, "b")}, 0, Protocol::udp);
  tell({Change{dns.key, dns}}, facts());
  kernel.forgotten.clear();
  kernel.flows_fail = true;
  dns.ports[0].endpoints.pop_back();
  auto out = tell(dns);
  EXPECT_TRUE(out.retry);
  EXPECT_THAT(out.failures, Contains(HasSubstr("flows of removed endpoints")));
  EXPECT_THAT(kernel.forgotten, IsEmpty());
  kernel.flows_fail = false;
  for (int i = 0; i < 200 && kernel.forgotten.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the engine rations conntrack by the real clock
    out = engine.pass({}, kNow);
  }
  ASSERT_EQ(kernel.forgotten.size(), 1u);
  EXPECT_EQ(kernel.forgotten[0].id, 1u);
  EXPECT_THAT(kernel.forgotten[0].endpoints, ElementsAre(base::IpPort{*Ip::parse("10.244.1.2"), 53}));
  EXPECT_THAT(out.failures, IsEmpty());
}

TEST_F(Plan, LargeTablesAreCountedOrWrittenAnewButNeverRead) {
  Engine::Options small;
  small.read_limit = 20, small.build_at_once = 10;
  for (bool counts : {true, false}) {
    FakeNft big;
    big.counts_known = counts;
    Engine large(big, small);
    PassInput in;
    for (int i = 0; i < 10; ++i) {
      auto s = service(("s" + std::to_string(i)).c_str(), ("10.96.1." + std::to_string(i)).c_str(),
                       {ep("10.244.1.2", 80, "a"), ep("10.244.1.3", 80, "b")});
      in.changes.push_back({s.key, s});
    }
    in.node = facts();
    auto changes = in.changes;
    EXPECT_TRUE(large.pass(std::move(in), kNow).committed);
    EXPECT_GT(big.commits, 3u) << "the first load comes in pieces";
    auto whole = big.tables;
    auto reads = big.reads;
    // somebody else's business
    big.touched();
    auto out = large.pass({}, kNow + std::chrono::seconds(1));
    if (counts) {
      EXPECT_THAT(out.plan, IsEmpty());
    } else {
      EXPECT_THAT(out.plan, Contains(HasSubstr("rebuild table ip trama")));
    }
    // an element is lost
    big.elements_of(Family::v4, "slots").erase(big.elements_of(Family::v4, "slots").begin());
    big.touched();
    out = large.pass({}, kNow + std::chrono::seconds(60));
    EXPECT_TRUE(out.healed);
    EXPECT_TRUE(big.tables == whole);
    EXPECT_EQ(big.reads, reads + 2 * (kHomes - 1)) << "only the small IPv6 table is read";
    // a restart keeps the ids: they are read, the slots are not
    Engine restarted(big, small);
    PassInput again;
    again.changes = changes, again.node = facts();
    EXPECT_TRUE(restarted.pass(std::move(again), kNow).committed);
    EXPECT_TRUE(big.tables == whole);
  }
}

TEST_F(Plan, TcpFlowsAreLeftAlone) {
  auto web = service("web", "10.96.0.10", {ep("10.244.1.2", 53, "a")});
  tell({Change{web.key, web}}, facts());
  tell({Change{web.key, std::nullopt}});
  EXPECT_THAT(kernel.forgotten, IsEmpty());
}

}  // namespace
}  // namespace trama::servicelb
