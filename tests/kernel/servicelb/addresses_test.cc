// SPDX-License-Identifier: GPL-2.0-or-later
// Where services answer, and whom: external and load balancer addresses, source ranges, node ports, pings.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using test::at;
using test::Traffic;
using test::web;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kExternal = "203.0.113.10";
constexpr const char* kExternal6 = "2001:db8:1::10";
constexpr const char* kBalancer = "203.0.113.11";
constexpr const char* kBalancer6 = "2001:db8:1::11";
constexpr int kSoon = 250;  // how long a test waits for an answer that must not come

Service with_addresses(Service s) {
  for (const char* ip : {kExternal, kExternal6}) s.external_ips.push_back({*Ip::parse(ip), false});
  for (const char* ip : {kBalancer, kBalancer6}) s.external_ips.push_back({*Ip::parse(ip), true});
  return s;
}
constexpr std::array kBoth = {Protocol::tcp, Protocol::udp};

TEST_F(Traffic, ExternalAndLoadBalancerAddressesAnswerEverywhere) {
  tell({web({1})});
  for (const char* ip : {kExternal, kExternal6, kBalancer, kBalancer6})
    EXPECT_THAT(ask(lab.outside(), Protocol::tcp, at(ip, 80), kSoon), Not(StartsWith("pod"))) << "nobody's yet";
  tell({with_addresses(web({1}))});
  for (Protocol p : kBoth)
    for (const char* ip : {kExternal, kExternal6, kBalancer, kBalancer6}) {
      SCOPED_TRACE(fmt::format("{} {}", ip, to_string(p)));
      // masqueraded: another node's pod would answer past this node
      std::string seen = Ip::parse(ip)->is_v4() ? "pod-1 10.244.1.1" : "pod-1 fd00:244:1::1";
      for (auto* from : {&lab.outside(), &lab.pod(2), &lab.node(), &lab.pod(1)})
        EXPECT_EQ(ask(*from, p, at(ip, 80)), seen);
    }
  EXPECT_THAT(ask(lab.outside(), Protocol::tcp, at("203.0.113.12", 80), kSoon), Not(StartsWith("pod")));
  EXPECT_THAT(ask(lab.outside(), Protocol::tcp, at(kExternal, 81), kSoon), Not(StartsWith("pod"))) << "another port";
  // no endpoints: refused at once
  tell({with_addresses(web({}))});
  for (const char* ip : {kExternal, kExternal6, kBalancer, kBalancer6})
    EXPECT_EQ(ask(lab.outside(), Protocol::tcp, at(ip, 80)), "refused") << ip;
  tell({web({1})});
  for (const char* ip : {kExternal, kExternal6, kBalancer, kBalancer6})
    EXPECT_THAT(ask(lab.outside(), Protocol::tcp, at(ip, 80), kSoon), Not(StartsWith("pod"))) << "not any more";
}

class SourceRanges : public Traffic {
 protected:
  void set(std::initializer_list<const char*> ranges) {
    auto s = with_addresses(web({1}));
    for (const char* r : ranges) s.source_ranges.push_back(*Cidr::parse(r));
    tell({s});
  }
  bool served(const char* source, const char* to, Protocol p = Protocol::tcp) {
    return test::who(lab.ask(lab.outside(), p, at(to, 80), kSoon, *Ip::parse(source))) == "pod-1";
  }
};

TEST_F(SourceRanges, OnlyAllowedSourcesUseLoadBalancerAddresses) {
  set({});
  EXPECT_TRUE(served("198.51.100.200", kBalancer)) << "without ranges, everybody";
  set({"198.51.100.0/25", "198.51.100.16/28", "198.51.100.130/32"});
  for (Protocol p : kBoth) {
    SCOPED_TRACE(to_string(p));
    EXPECT_TRUE(served("198.51.100.7", kBalancer, p));
    EXPECT_TRUE(served("198.51.100.20", kBalancer, p)) << "in the nested range";
    EXPECT_TRUE(served("198.51.100.127", kBalancer, p)) << "the last of a range";
    EXPECT_TRUE(served("198.51.100.130", kBalancer, p)) << "a single address";
    EXPECT_FALSE(served("198.51.100.128", kBalancer, p)) << "the first behind a range";
    EXPECT_FALSE(served("198.51.100.131", kBalancer, p));
    EXPECT_EQ(lab.ask(lab.outside(), Protocol::tcp, at(kBalancer, 80), kSoon), "timeout") << "dropped, not refused";
    EXPECT_EQ(lab.ask(lab.pod(2), p, at(kBalancer, 80), kSoon), "timeout") << "pods are sources like others";
    // nothing else is restricted: other addresses, the other family, node ports, ClusterIPs
    EXPECT_TRUE(served("198.51.100.200", kExternal, p));
    EXPECT_TRUE(served("2001:db8:7::1", kBalancer6, p));
    EXPECT_THAT(ask(lab.outside(), p, at("192.168.50.1", 30080)), StartsWith("pod-1"));
    EXPECT_THAT(ask(lab.outside(), p, at("10.96.0.10", 80)), StartsWith("pod-1"));
  }
  set({"2001:db8:7::/112", "2001:db8:7:0:1::/80"});
  EXPECT_TRUE(served("2001:db8:7::1", kBalancer6));
  EXPECT_TRUE(served("2001:db8:7:0:1::1", kBalancer6));
  EXPECT_FALSE(served("2001:db8:7:0:2::1", kBalancer6));
  EXPECT_TRUE(served("198.51.100.200", kBalancer)) << "the other family";
}

TEST_F(SourceRanges, MayChangeIntoWhatOverlaps) {
  for (auto ranges : std::vector<std::vector<const char*>>{{"198.51.100.0/25"},
                                                           {"198.51.100.0/28"},  // narrower
                                                           {"198.51.0.0/16"},    // wider
                                                           {"198.51.100.0/28"},  // much narrower
                                                           {"198.51.100.0/29", "198.51.100.8/29"},
                                                           {"0.0.0.0/0"},
                                                           {"198.51.100.7/32"},
                                                           {"198.51.100.6/31"},
                                                           {"198.51.100.0/24"}}) {
    SCOPED_TRACE(::testing::PrintToString(ranges));
    auto s = with_addresses(web({1}));
    for (const char* r : ranges) s.source_ranges.push_back(*Cidr::parse(r));
    tell({s});
    for (const char* source : {"198.51.100.7", "198.51.100.6", "198.51.100.200", "198.51.100.12"}) {
      bool allowed = std::any_of(s.source_ranges.begin(), s.source_ranges.end(),
                                 [&](const Cidr& c) { return c.contains(*Ip::parse(source)); });
      EXPECT_EQ(served(source, kBalancer), allowed) << source;
    }
  }
}

TEST_F(Traffic, NodePortsOnTheAddressesAskedFor) {
  auto facts = lab.facts();
  auto reached = [&](const char* ip) {
    return test::who(ask(lab.pod(2), Protocol::tcp, at(ip, 30080), kSoon)) == "pod-1";
  };
  tell({web({1})}, facts);
  for (const char* ip : {"192.168.50.1", "10.244.2.1", "10.244.3.1", "fd00:50::1", "fd00:244:3::1"})
    EXPECT_TRUE(reached(ip)) << ip << ": all addresses";
  facts.nodeport_cidrs = {*Cidr::parse("192.168.50.0/24"), *Cidr::parse("10.244.2.1/32"), *Cidr::parse("fd00:50::/64")};
  tell({}, facts);
  for (const char* ip : {"192.168.50.1", "10.244.2.1", "fd00:50::1"}) EXPECT_TRUE(reached(ip)) << ip;
  for (const char* ip : {"10.244.3.1", "fd00:244:3::1"}) EXPECT_FALSE(reached(ip)) << ip;
  EXPECT_THAT(ask(lab.outside(), Protocol::udp, at("192.168.50.1", 30080)), StartsWith("pod-1"));
  // only the other family is restricted
  facts.nodeport_cidrs = {*Cidr::parse("192.168.50.0/24")};
  tell({}, facts);
  EXPECT_TRUE(reached("192.168.50.1"));
  EXPECT_FALSE(reached("10.244.2.1"));
  EXPECT_TRUE(reached("fd00:50::1")) << "no range of this family: all its addresses, as kube-proxy has it";
  facts.nodeport_cidrs.clear();
  tell({}, facts);
  EXPECT_TRUE(reached("10.244.3.1")) << "and back";
  EXPECT_TRUE(reached("fd00:244:3::1"));
  auto out = tell({}, true);
  EXPECT_FALSE(out.healed) << "the rules were changed with the facts, not found damaged later";
}

TEST_F(Traffic, MasqueradeAllHidesPods) {
  auto facts = lab.facts();
  tell({web({1})}, facts);
  EXPECT_EQ(ask(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80)), "pod-1 10.244.2.2");
  facts.masquerade_all = true;
  tell({}, facts);
  for (Protocol p : kBoth) {
    EXPECT_EQ(ask(lab.pod(2), p, at("10.96.0.10", 80)), "pod-1 10.244.1.1");
    EXPECT_EQ(ask(lab.pod(2), p, at("fd00:96::10", 80)), "pod-1 fd00:244:1::1");
  }
  facts.masquerade_all = false;
  tell({}, facts);
  EXPECT_EQ(ask(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80)), "pod-1 10.244.2.2");
}

TEST_F(Traffic, AClusterIpAnswersPingsWhileItHasEndpoints) {
  auto pings = [&](const test::PrivateNetns& from, const char* ip) {
    return from.shell(fmt::format("ping -n -c 1 -W 1 {}", ip)) == 0;
  };
  tell({web({1})});
  for (auto* from : {&lab.pod(2), &lab.outside(), &lab.node()})
    for (const char* ip : {"10.96.0.10", "fd00:96::10"}) EXPECT_TRUE(pings(*from, ip)) << ip;
  EXPECT_FALSE(pings(lab.pod(2), "10.96.0.11")) << "nobody's ClusterIP";
  tell({web({})});
  for (auto* from : {&lab.pod(2), &lab.outside(), &lab.node()})
    for (const char* ip : {"10.96.0.10", "fd00:96::10"}) EXPECT_FALSE(pings(*from, ip)) << ip;
  tell({web({3})});
  EXPECT_TRUE(pings(lab.pod(2), "10.96.0.10"));
}

}  // namespace
}  // namespace trama::servicelb
