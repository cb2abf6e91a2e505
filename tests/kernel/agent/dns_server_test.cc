// SPDX-License-Identifier: GPL-2.0-or-later
// The DNS server on real sockets: dig is the client, dnsmasq the machine's resolver, in a namespace of their own.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/dns/server.h"
#include "tests/kernel/agent/ports_fixture.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent::dns {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const base::Ip kAddress = base::Ip::v4(10, 96, 0, 10);
const base::Ip kAddress6 = *base::Ip::parse("fd00:96::a");

// A real name server on loopback that knows a few names.
class Dnsmasq {
 public:
  explicit Dnsmasq(const std::string& port) {
    std::vector<std::string> words{"dnsmasq",
                                   "--keep-in-foreground",
                                   "--no-resolv",
                                   "--no-hosts",
                                   "--no-poll",
                                   "--conf-file=/dev/null",
                                   "--listen-address=127.0.0.1",
                                   "--bind-interfaces",
                                   "--port=" + port,
                                   "--user=root",
                                   "--pid-file=",
                                   "--log-facility=/dev/null",
                                   "--address=/shop.example.org/192.0.2.7",
                                   "--cname=www.example.org,shop.example.org",
                                   "--host-record=shop.example.org,192.0.2.7",
                                   "--local-ttl=60"};
    std::string text = std::string(250, 'x');
    for (int i = 0; i < 8; ++i) words.push_back(fmt::format("--txt-record=large.example.org,{}{}", text, i));
    pid_ = ::fork();
    if (pid_ == 0) {
      std::vector<char*> argv;
      for (auto& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execvp("dnsmasq", argv.data());
      ::_exit(127);
    }
  }
  ~Dnsmasq() { end(); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

std::string dig(const std::string& arguments) {
  std::string out;
  test::shell("dig +tries=1 +time=3 " + arguments, &out);
  return out;
}

struct Rig {
  explicit Rig(std::vector<base::IpPort> upstream = {}, Server::Options options = {}) {
    auto service = object_from("services", R"({"metadata":{"name":"web","namespace":"default"},"spec":{
      "clusterIP":"10.96.1.1","clusterIPs":["10.96.1.1"],"ports":[{"name":"http","port":80,"protocol":"TCP"}]}})");
    auto shop = object_from("services", R"({"metadata":{"name":"shop","namespace":"default"},"spec":{
      "type":"ExternalName","externalName":"www.example.org"}})");
    auto many = object_from("services", R"({"metadata":{"name":"many","namespace":"default"},"spec":{
      "clusterIP":"None","clusterIPs":["None"]}})");
    std::string endpoints;
    for (int i = 0; i < 200; ++i) endpoints += fmt::format(R"({}{{"addresses":["10.244.9.{}"]}})", i ? "," : "", i);
    auto slice = object_from("endpointslices", R"({"metadata":{"name":"many-1","namespace":"default","labels":{
      "kubernetes.io/service-name":"many"}},"addressType":"IPv4","endpoints":[)" +
                                                   endpoints + "]}");
    for (const auto& object : {service, shop, many}) view.put(Kind::services, object);
    view.put(Kind::slices, slice);
    ZoneFacts facts;
    facts.servers = {kAddress};
    facts.pods = {*base::Cidr::parse("10.244.0.0/16")};
    facts.services = {*base::Cidr::parse("10.96.0.0/16")};
    zone = std::make_unique<Zone>(view, facts);
    zone->update(view.take_dirty().services);
    options.retry = std::chrono::milliseconds(50);
    options.resolvers.patience = std::chrono::milliseconds(300);
    server = std::make_unique<Server>(brain.executor(), *zone, options);
    brain.on([&] {
      server->use_resolvers(upstream);
      brain.tasks().spawn("dns", server->run());
    });
  }
  ~Rig() {
    auto end = brain.tasks().stop();
    brain.wait(std::move(end));
    auto stop = server->stop();
    brain.wait(std::move(stop));
  }
  void listen_on(std::vector<base::Ip> addresses) {
    auto n = addresses.size();
    brain.on([&] { server->listen_on(addresses); });
    EXPECT_TRUE(test::eventually([&] { return brain.on([&] { return server->answering().size(); }) == n; }));
  }
  Counters counters() {
    return brain.on([&] { return server->counters(); });
  }
  ClusterView view;
  std::unique_ptr<Zone> zone;
  Brain brain;
  std::unique_ptr<Server> server;
};

// With the cluster's DNS addresses, an address that is a pod's, and one that is a stranger's.
void in_namespace(const std::function<void()>& run) {
  test::PrivateNetns ns;
  ASSERT_EQ(ns.shell("ip addr add 10.96.0.10/32 dev lo && ip addr add fd00:96::a/128 dev lo nodad && "
                     "ip addr add 10.244.1.5/32 dev lo && ip addr add 192.0.2.99/32 dev lo"),
            0);
  ns.run(run);
}

TEST(DnsServer, AnswersOverUdpAndTcpInBothFamilies) {
  in_namespace([] {
    Rig rig;
    rig.listen_on({kAddress, kAddress6});
    for (const char* how : {"@10.96.0.10", "@10.96.0.10 +tcp", "@fd00:96::a", "@fd00:96::a +tcp"}) {
      EXPECT_EQ(dig(std::string(how) + " +short web.default.svc.cluster.local"), "10.96.1.1\n") << how;
      EXPECT_THAT(dig(std::string(how) + " nobody.default.svc.cluster.local"),
                  AllOf(HasSubstr("NXDOMAIN"), HasSubstr("SOA")))
          << how;
    }
    EXPECT_THAT(dig("@10.96.0.10 web.default.svc.cluster.local AAAA"),
                AllOf(HasSubstr("NOERROR"), HasSubstr("ANSWER: 0"), HasSubstr("SOA")));
    EXPECT_EQ(dig("@10.96.0.10 +short -x 10.96.1.1"), "web.default.svc.cluster.local.\n");
    EXPECT_EQ(dig("@10.96.0.10 +short SRV _http._tcp.web.default.svc.cluster.local"),
              "0 100 80 web.default.svc.cluster.local.\n");
    EXPECT_EQ(dig("@10.96.0.10 +short TXT dns-version.cluster.local"), "\"1.1.0\"\n");
    EXPECT_THAT(dig("@10.96.0.10 +opcode=UPDATE web.default.svc.cluster.local"), HasSubstr("NOTIMP"));
  });
}

TEST(DnsServer, WhatDoesNotFitIsAskedAgainOverTcp) {
  in_namespace([] {
    Rig rig;
    rig.listen_on({kAddress});
    std::string whole = dig("@10.96.0.10 +short many.default.svc.cluster.local");
    EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 200);
    EXPECT_THAT(dig("@10.96.0.10 +ignore many.default.svc.cluster.local"), HasSubstr(" tc ")) << "the control";
    auto first = [](const std::string& text) { return text.substr(0, text.find('\n')); };
    EXPECT_NE(first(whole), first(dig("@10.96.0.10 +short many.default.svc.cluster.local"))) << "they take turns";
  });
}

TEST(DnsServer, TheRestOfTheWorldIsAskedOfTheMachinesResolvers) {
  in_namespace([] {
    Dnsmasq resolver("5301");
    // The first is nobody: the second is asked, and from then on first.
    Rig rig({{base::Ip::v4(127, 0, 0, 1), 5300}, {base::Ip::v4(127, 0, 0, 1), 5301}});
    rig.listen_on({kAddress});
    EXPECT_TRUE(test::eventually([] { return dig("@10.96.0.10 +short shop.example.org") == "192.0.2.7\n"; }));
    EXPECT_EQ(dig("@10.96.0.10 +short +tcp shop.example.org"), "192.0.2.7\n");
    EXPECT_EQ(dig("@10.96.0.10 +short shop.default.svc.cluster.local"),
              "www.example.org.\nshop.example.org.\n192.0.2.7\n")
        << "an alias is followed to its end";
    EXPECT_THAT(dig("@10.96.0.10 nobody.default.svc.cluster.local"), HasSubstr("NXDOMAIN")) << "never asked outside";
    auto large = dig("@10.96.0.10 +short TXT large.example.org");
    EXPECT_EQ(std::count(large.begin(), large.end(), '\n'), 8) << "truncated there as well, and whole over TCP";
    EXPECT_GE(rig.counters().forwarded, 4u);
    EXPECT_EQ(rig.counters().failed, 0u);
    EXPECT_EQ(rig.counters().remembered, 0u) << "dig makes each question its own, by a cookie";
    for (int i = 0; i < 3; ++i) EXPECT_EQ(dig("@10.96.0.10 +short +nocookie shop.example.org"), "192.0.2.7\n");
    EXPECT_EQ(rig.counters().remembered, 2u);
    resolver.end();
    EXPECT_EQ(dig("@10.96.0.10 +short +nocookie shop.example.org"), "192.0.2.7\n");
    EXPECT_THAT(dig("@10.96.0.10 shop.example.org"), HasSubstr("SERVFAIL"));
    EXPECT_EQ(dig("@10.96.0.10 +short web.default.svc.cluster.local"), "10.96.1.1\n") << "the cluster needs nobody";
  });
}

TEST(DnsServer, AMachineWithoutResolversSaysSoAtOnce) {
  in_namespace([] {
    Rig rig;
    rig.listen_on({kAddress});
    EXPECT_THAT(dig("@10.96.0.10 shop.example.org"), HasSubstr("SERVFAIL"));
    EXPECT_EQ(rig.counters().failed, 1u);
  });
}

TEST(DnsServer, StrangersGetNoAnswerAndPodsAsManyAsIsFair) {
  in_namespace([] {
    Server::Options options;
    options.rate = 0.001, options.burst = 5;
    Rig rig({}, options);
    rig.listen_on({kAddress});
    EXPECT_THAT(dig("@10.96.0.10 -b 192.0.2.99 +time=1 web.default.svc.cluster.local"), HasSubstr("timed out"));
    EXPECT_EQ(rig.counters().dropped, 1u);
    int answered = 0;
    for (int i = 0; i < 7; ++i)
      answered += dig("@10.96.0.10 -b 10.244.1.5 +time=1 +short web.default.svc.cluster.local") == "10.96.1.1\n";
    EXPECT_EQ(answered, 5);
    EXPECT_EQ(dig("@10.96.0.10 -b 10.96.0.10 +short web.default.svc.cluster.local"), "10.96.1.1\n")
        << "one pod's noise is not another's";
  });
}

TEST(DnsServer, AnAddressThatIsTakenIsNamedAndTakenLater) {
  test::PrivateNetns ns;
  ASSERT_EQ(ns.shell("ip link set lo up"), 0);
  ns.run([] {
    Rig rig;
    // The address is not there yet, as while the overlay is being made.
    rig.listen_on({kAddress});
    EXPECT_EQ(test::shell("ip addr add 10.96.0.10/32 dev lo && ip addr add 10.96.0.11/32 dev lo"), 0);
    EXPECT_EQ(dig("@10.96.0.10 +short web.default.svc.cluster.local"), "10.96.1.1\n");
    auto taken = trama::agent::listen_on("10.96.0.11", 53, SOCK_DGRAM);
    rig.brain.on([&] { rig.server->listen_on({kAddress, base::Ip::v4(10, 96, 0, 11)}); });
    EXPECT_TRUE(test::eventually([&] { return rig.brain.on([&] { return rig.server->failures().size(); }) == 1; }));
    auto line = rig.brain.on([&] { return rig.server->failures().front(); });
    EXPECT_THAT(line, AllOf(HasSubstr("10.96.0.11:53"), HasSubstr("in use"), HasSubstr("--cluster-dns")));
    EXPECT_EQ(dig("@10.96.0.10 +short web.default.svc.cluster.local"), "10.96.1.1\n");
    taken.reset();
    EXPECT_TRUE(test::eventually(
        [] { return dig("@10.96.0.11 -b 10.96.0.10 +short web.default.svc.cluster.local") == "10.96.1.1\n"; }));
    rig.listen_on({});
    EXPECT_THAT(dig("@10.96.0.10 +time=1 web.default.svc.cluster.local"), HasSubstr("refused"));
  });
}

}  // namespace
}  // namespace trama::agent::dns
