// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/health_ports.h"

#include <atomic>
#include <mutex>

#include "tests/kernel/agent/ports_fixture.h"

namespace trama::agent {
namespace {

using servicelb::ServiceKey;
const ServiceKey kWeb{"default", "web"}, kDb{"default", "db"};

// Everything in here runs on a thread within the namespace.
void in_namespace(const std::function<void()>& test) {
  trama::test::PrivateNetns ns;
  ASSERT_EQ(ns.shell("ip addr add 192.0.2.1/32 dev lo && ip addr add 2001:db8::1/128 dev lo nodad"), 0);
  ns.run(test);
}

struct Rig {
  Rig() {
    HealthPorts::Options options;
    options.addresses = {base::Ip::v4(192, 0, 2, 1), base::Ip::parse("2001:db8::1").value_or(base::Ip())};
    options.retry = std::chrono::milliseconds(50);
    HealthPorts::Events events;
    events.proxy_healthy = [this] { return healthy.load(); };
    events.failed = [this](const ServiceKey& key, const std::string& line) {
      std::lock_guard hold(mutex);
      failures.push_back(key.to_string() + "|" + line);
    };
    ports = std::make_unique<HealthPorts>(brain.executor(), std::move(options), std::move(events));
    brain.on([this] { brain.tasks().spawn("ports", ports->run()); });
  }
  ~Rig() {
    auto end = brain.tasks().stop();
    brain.wait(std::move(end));
    auto stop = ports->stop();
    brain.wait(std::move(stop));
  }
  void set(const ServiceKey& key, std::uint16_t port, std::size_t local) {
    brain.on([&] { ports->set(key, port, local); });
  }
  bool opens(std::size_t n) {
    return trama::test::eventually([&] { return brain.on([&] { return ports->open(); }) == n; });
  }
  std::vector<std::string> said() {
    std::lock_guard hold(mutex);
    return failures;
  }
  std::atomic<bool> healthy{true};
  std::mutex mutex;
  std::vector<std::string> failures;
  Brain brain;
  std::unique_ptr<HealthPorts> ports;
};

TEST(HealthPorts, AnswersAsKubeProxyDoes) {
  in_namespace([] {
    Rig rig;
    rig.set(kWeb, 31234, 2);
    ASSERT_TRUE(rig.opens(1));
    for (const char* ip : {"192.0.2.1", "2001:db8::1"}) {
      auto page = http_get(ip, 31234, "/healthz");
      EXPECT_TRUE(page.starts_with("HTTP/1.1 200")) << page;
      EXPECT_NE(page.find("X-Load-Balancing-Endpoint-Weight: 2\r\n"), page.npos) << page;
      EXPECT_NE(page.find("Content-Type: application/json\r\n"), page.npos) << page;
      EXPECT_TRUE(
          page.ends_with("\r\n\r\n{\"service\":{\"namespace\":\"default\",\"name\":\"web\"},"
                         "\"localEndpoints\":2,\"serviceProxyHealthy\":true}"))
          << page;
    }
    EXPECT_EQ(http_get("127.0.0.1", 31234), "no connection") << "on node addresses only";
    rig.set(kWeb, 31234, 0);
    auto page = http_get("192.0.2.1", 31234);
    EXPECT_TRUE(page.starts_with("HTTP/1.1 503")) << page;
    EXPECT_NE(page.find("X-Load-Balancing-Endpoint-Weight: 0\r\n"), page.npos) << page;
    rig.set(kWeb, 31234, 1);
    rig.healthy = false;
    page = http_get("192.0.2.1", 31234);
    EXPECT_TRUE(page.starts_with("HTTP/1.1 503")) << page;
    EXPECT_NE(page.find("\"localEndpoints\":1,\"serviceProxyHealthy\":false"), page.npos) << page;
    rig.set(kWeb, 0, 0);
    ASSERT_TRUE(rig.opens(0));
    EXPECT_EQ(http_get("192.0.2.1", 31234), "no connection");
  });
}

TEST(HealthPorts, APortThatIsTakenIsNamedRetriedAndHurtsNobodyElse) {
  in_namespace([] {
    Rig rig;
    auto taken = listen_on("192.0.2.1", 31001);
    rig.set(kDb, 31001, 1);
    rig.set(kWeb, 31002, 1);
    ASSERT_TRUE(rig.opens(1));
    EXPECT_TRUE(http_get("192.0.2.1", 31002).starts_with("HTTP/1.1 200"));
    auto failures = rig.brain.on([&] { return rig.ports->failures(); });
    ASSERT_EQ(failures.size(), 1u);
    EXPECT_TRUE(failures[0].starts_with("default/db: health check port 31001: ")) << failures[0];
    EXPECT_TRUE(failures[0].ends_with("listen on 192.0.2.1:31001: Address already in use")) << failures[0];
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ(rig.said(), (std::vector<std::string>{"default/db|" + failures[0]})) << "said once, however often tried";
    taken.reset();
    ASSERT_TRUE(rig.opens(2));
    EXPECT_TRUE(http_get("192.0.2.1", 31001).starts_with("HTTP/1.1 200"));
    EXPECT_TRUE(rig.brain.on([&] { return rig.ports->failures(); }).empty());
  });
}

TEST(HealthPorts, APortMovesFromOneServiceToAnother) {
  in_namespace([] {
    Rig rig;
    rig.set(kWeb, 31001, 1);
    ASSERT_TRUE(rig.opens(1));
    rig.brain.on([&] {
      rig.ports->set(kDb, 31001, 3);
      rig.ports->set(kWeb, 31002, 1);
    });
    ASSERT_TRUE(rig.opens(2));
    EXPECT_NE(http_get("192.0.2.1", 31001).find("\"name\":\"db\"},\"localEndpoints\":3"), std::string::npos);
    EXPECT_NE(http_get("192.0.2.1", 31002).find("\"name\":\"web\""), std::string::npos);
    EXPECT_TRUE(rig.said().empty());
  });
}

}  // namespace
}  // namespace trama::agent
