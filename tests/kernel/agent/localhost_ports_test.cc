// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/localhost_ports.h"

#include <mutex>

#include "tests/kernel/agent/ports_fixture.h"

namespace trama::agent {
namespace {

using servicelb::Protocol;
using servicelb::ServiceKey;
const ServiceKey kWeb{"default", "web"};

constexpr const char* kIp4 = "10.96.0.10";
constexpr const char* kIp6 = "fd00:96::10";

servicelb::Service web(std::uint16_t node_port = 30080) {
  servicelb::Service s;
  s.key = kWeb;
  s.cluster_ips = {base::Ip::parse(kIp4).value_or(base::Ip()), base::Ip::parse(kIp6).value_or(base::Ip())};
  for (auto protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    servicelb::ServicePort port;
    port.protocol = protocol;
    port.port = 80;
    port.node_port = node_port;
    s.ports.push_back(port);
  }
  servicelb::ServicePort inside;
  inside.port = 81;
  s.ports.push_back(inside);
  return s;
}

// The ClusterIP is an address of the namespace itself here: who answers there is not the proxy's business.
void in_namespace(const std::function<void()>& test) {
  trama::test::PrivateNetns ns;
  ASSERT_EQ(ns.shell("ip addr add 10.96.0.10/32 dev lo && ip addr add fd00:96::10/128 dev lo nodad"), 0);
  ns.run(test);
}

struct Rig {
  explicit Rig(LocalhostPorts::Options options = {}) {
    options.retry = std::chrono::milliseconds(50);
    options.sweep = std::chrono::milliseconds(20);
    auto failed = [this](const std::string& line) {
      std::lock_guard hold(mutex);
      failures.push_back(line);
    };
    ports = std::make_unique<LocalhostPorts>(brain.executor(), options, failed);
    brain.on([this] { brain.tasks().spawn("ports", ports->run()); });
  }
  ~Rig() {
    auto end = brain.tasks().stop();
    brain.wait(std::move(end));
    auto stop = ports->stop();
    brain.wait(std::move(stop));
  }
  void set(const servicelb::Service* service) {
    brain.on([&] { ports->set(kWeb, service); });
  }
  template <class F>
  bool becomes(F what, std::size_t n) {
    return trama::test::eventually([&] { return brain.on([&] { return ((*ports).*what)(); }) == n; });
  }
  bool opens(std::size_t n) { return becomes(&LocalhostPorts::open, n); }
  std::mutex mutex;
  std::vector<std::string> failures;
  Brain brain;
  std::unique_ptr<LocalhostPorts> ports;
};

TEST(LocalhostPorts, TcpInBothFamiliesWithHalfClosedConnections) {
  in_namespace([] {
    auto four = listen_on(kIp4, 80), six = listen_on(kIp6, 80);
    Rig rig;
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(2)) << "TCP and UDP; SCTP is not served, and port 81 has no node port";
    for (const auto& [loopback, server] : {std::pair{"127.0.0.1", four.get()}, std::pair{"::1", six.get()}}) {
      auto client = connect_to(loopback, 30080);
      ASSERT_TRUE(client) << loopback;
      base::UniqueFd accepted(::accept(server, nullptr, nullptr));
      ASSERT_TRUE(accepted);
      say(client.get(), "question");
      EXPECT_EQ(hear(accepted.get()), "question");
      ::shutdown(client.get(), SHUT_WR);
      EXPECT_EQ(hear(accepted.get()), "end");
      say(accepted.get(), "answer after the end");
      EXPECT_EQ(hear(client.get()), "answer after the end");
      accepted.reset();
      EXPECT_EQ(hear(client.get()), "end");
    }
    EXPECT_TRUE(rig.becomes(&LocalhostPorts::connections, 0));
    EXPECT_FALSE(connect_to(kIp4, 30080)) << "on loopback only";
    rig.set(nullptr);
    ASSERT_TRUE(rig.opens(0));
    EXPECT_FALSE(connect_to("127.0.0.1", 30080));
  });
}

TEST(LocalhostPorts, MuchDataGoesThroughWhole) {
  in_namespace([] {
    auto server = listen_on(kIp4, 80);
    Rig rig;
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(2));
    auto client = connect_to("127.0.0.1", 30080);
    base::UniqueFd accepted(::accept(server.get(), nullptr, nullptr));
    ASSERT_TRUE(client && accepted);
    constexpr std::size_t kBytes = 8u << 20;
    std::thread sender([fd = client.get()] {
      std::string block(64 * 1024, 'x');
      for (std::size_t sent = 0; sent < kBytes; sent += block.size()) say(fd, block);
      ::shutdown(fd, SHUT_WR);
    });
    std::size_t got = 0;
    for (auto part = hear(accepted.get()); part != "end" && part != "reset" && part != "silence";
         part = hear(accepted.get()))
      got += part.size();
    sender.join();
    EXPECT_EQ(got, kBytes);
  });
}

TEST(LocalhostPorts, UdpClientsKeepTheirSessionsApart) {
  in_namespace([] {
    auto four = listen_on(kIp4, 80, SOCK_DGRAM), six = listen_on(kIp6, 80, SOCK_DGRAM);
    LocalhostPorts::Options options;
    options.udp_idle = std::chrono::milliseconds(300);
    options.sessions = 3;
    Rig rig(options);
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(2));
    auto echo = [](int fd) {  // answers one datagram; which one
      char buffer[64];
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      auto n = ::recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (n <= 0) return std::string("silence");
      ::sendto(fd, buffer, static_cast<std::size_t>(n), 0, reinterpret_cast<sockaddr*>(&from), size);
      return std::string(buffer, static_cast<std::size_t>(n));
    };
    auto a = connect_to("127.0.0.1", 30080, SOCK_DGRAM), b = connect_to("127.0.0.1", 30080, SOCK_DGRAM),
         c = connect_to("::1", 30080, SOCK_DGRAM), d = connect_to("127.0.0.1", 30080, SOCK_DGRAM);
    say(a.get(), "a");
    EXPECT_EQ(echo(four.get()), "a");
    say(b.get(), "b");
    EXPECT_EQ(echo(four.get()), "b");
    say(c.get(), "c");
    EXPECT_EQ(echo(six.get()), "c");
    EXPECT_EQ(hear(b.get()), "b");
    EXPECT_EQ(hear(a.get()), "a");
    EXPECT_EQ(hear(c.get()), "c");
    EXPECT_TRUE(rig.becomes(&LocalhostPorts::sessions, 3));
    say(d.get(), "dropped: there is no room");
    EXPECT_TRUE(rig.becomes(&LocalhostPorts::sessions, 0)) << "idle ones end";
    say(d.get(), "d");
    EXPECT_EQ(echo(four.get()), "d");
    EXPECT_EQ(hear(d.get()), "d");
  });
}

TEST(LocalhostPorts, NobodyBehindTheServiceIsAReset) {
  in_namespace([] {
    Rig rig;
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(2));
    auto client = connect_to("127.0.0.1", 30080);
    ASSERT_TRUE(client);
    EXPECT_EQ(hear(client.get()), "reset");
  });
}

TEST(LocalhostPorts, ConnectionsAreBoundedAndIdleOnesEnd) {
  in_namespace([] {
    auto server = listen_on(kIp4, 80);
    LocalhostPorts::Options options;
    options.connections = 1;
    options.tcp_idle = std::chrono::milliseconds(1000);
    Rig rig(options);
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(2));
    auto first = connect_to("127.0.0.1", 30080);
    ASSERT_TRUE(rig.becomes(&LocalhostPorts::connections, 1));
    auto second = connect_to("127.0.0.1", 30080);
    EXPECT_EQ(second ? hear(second.get()) : "reset", "reset");
    for (int i = 0; i < 4; ++i) {  // bytes in either direction keep it
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
      say(first.get(), "x");
    }
    EXPECT_EQ(rig.brain.on([&] { return rig.ports->connections(); }), 1u);
    EXPECT_EQ(hear(first.get()), "reset");
    EXPECT_TRUE(rig.becomes(&LocalhostPorts::connections, 0));
  });
}

TEST(LocalhostPorts, APortThatIsTakenIsNamedAndRetried) {
  in_namespace([] {
    auto taken = listen_on("127.0.0.1", 30080);
    Rig rig;
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(1)) << "UDP is not hurt";
    std::string line =
        "default/web: node port 30080/tcp on loopback: listen on 127.0.0.1:30080: Address already in use";
    auto failures = rig.brain.on([&] { return rig.ports->failures(); });
    EXPECT_EQ(failures, (std::vector<std::string>{line}));
    taken.reset();
    ASSERT_TRUE(rig.opens(2));
    std::lock_guard hold(rig.mutex);
    EXPECT_EQ(rig.failures, (std::vector<std::string>{line}));
  });
}

TEST(LocalhostPorts, AMachineWithoutIpv6HasIpv4) {
  trama::test::PrivateNetns ns;
  ASSERT_EQ(ns.shell("ip addr add 10.96.0.10/32 dev lo && sysctl -qw net.ipv6.conf.lo.disable_ipv6=1"), 0);
  ns.run([] {
    auto server = listen_on(kIp4, 80);
    Rig rig;
    auto service = web();
    rig.set(&service);
    ASSERT_TRUE(rig.opens(2));
    auto client = connect_to("127.0.0.1", 30080);
    EXPECT_TRUE(client);
    EXPECT_TRUE(rig.brain.on([&] { return rig.ports->failures(); }).empty());
  });
}

}  // namespace
}  // namespace trama::agent
