// SPDX-License-Identifier: GPL-2.0-or-later
// What may come out of a pod, by real packets. Each "dropped" stands beside the same packet that passes.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/kernel/netns/node.h"

namespace trama::netns::test {
namespace {

PrivateMounts mounts;

using ::testing::IsEmpty;

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t length = 0;
  Endpoint(const Ip& ip, std::uint16_t port) {
    if (ip.is_v4()) {
      auto* a = reinterpret_cast<sockaddr_in*>(&storage);
      a->sin_family = AF_INET, a->sin_port = htons(port);
      std::memcpy(&a->sin_addr, ip.bytes().data(), 4);
      length = sizeof *a;
    } else {
      auto* a = reinterpret_cast<sockaddr_in6*>(&storage);
      a->sin6_family = AF_INET6, a->sin6_port = htons(port);
      std::memcpy(&a->sin6_addr, ip.bytes().data(), 16);
      length = sizeof *a;
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

struct GuardTest : ::testing::Test {
  Node node;
  Sandbox bad = pod("bad", 1), good = pod("good", 2);

  void make() {
    node.want(bad);
    node.want(good);
    ASSERT_TRUE(node.converge());
    ASSERT_THAT(node.pass(), IsEmpty());
  }
  base::UniqueFd socket_in(const Sandbox& s, const Ip& ip, std::uint16_t port, int type = SOCK_DGRAM) {
    base::UniqueFd fd;
    std::thread([&] {
      base::UniqueFd ns(open(("/run/netns/" + s.network.netns_name).c_str(), O_RDONLY | O_CLOEXEC));
      if (setns(ns.get(), CLONE_NEWNET) < 0) return;
      fd.reset(socket(ip.is_v4() ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
      Endpoint self(ip, port);
      int on = 1;
      (void)setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (bind(fd.get(), self.get(), self.length) < 0) fd.reset();
      if (type == SOCK_STREAM) (void)listen(fd.get(), 8);
    }).join();
    EXPECT_TRUE(fd) << ip.to_string() << " " << port;
    return fd;
  }
  // A datagram from `from` inside `bad` to `to`, where `receiver` listens: whether it arrives.
  bool arrives(const Ip& from, const Ip& to, std::uint16_t port, int receiver) {
    auto sender = socket_in(bad, from, 0);
    Endpoint destination(to, port);
    (void)sendto(sender.get(), "x", 1, 0, destination.get(), destination.length);
    timeval wait{0, 150'000};  // it arrives within microseconds or not at all
    (void)setsockopt(receiver, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    char c;
    return recv(receiver, &c, 1, 0) == 1;
  }
  const Ip& v4(const Sandbox& s) { return s.network.addresses[0]; }
  const Ip& v6(const Sandbox& s) { return s.network.addresses[1]; }
};

TEST_F(GuardTest, only_the_pods_own_addresses_leave_it) {
  make();
  auto r4 = socket_in(good, v4(good), 9000), r6 = socket_in(good, v6(good), 9000);
  auto forged4 = *Ip::parse("10.244.0.77"), forged6 = *Ip::parse("fd00:244::77");
  node.in_pod(bad, "ip addr add 10.244.0.77/32 dev eth0; ip -6 addr add fd00:244::77/128 dev eth0 nodad");
  EXPECT_TRUE(arrives(v4(bad), v4(good), 9000, r4.get()));
  EXPECT_FALSE(arrives(forged4, v4(good), 9000, r4.get()));
  EXPECT_TRUE(arrives(v6(bad), v6(good), 9000, r6.get()));
  EXPECT_FALSE(arrives(forged6, v6(good), 9000, r6.get()));
  // It is the guard that does it (reverse path filtering would catch the IPv4 one as well).
  ASSERT_EQ(node.run("nft delete table inet trama-pods; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf." +
                     veth_name(bad.uid) + ".rp_filter=0"),
            0);
  EXPECT_TRUE(arrives(forged4, v4(good), 9000, r4.get()));
  EXPECT_TRUE(arrives(forged6, v6(good), 9000, r6.get()));
}

TEST_F(GuardTest, another_pods_address_with_the_own_mac_is_dropped_and_so_is_another_mac) {
  make();
  auto receiver = socket_in(good, v4(good), 9000);
  EXPECT_TRUE(arrives(v4(bad), v4(good), 9000, receiver.get()));
  // Changing the address flushes the neighbours: without the gateway's entry nothing would leave anyhow.
  std::string gateway = "; ip neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent";
  node.in_pod(bad, "ip link set eth0 address 02:00:00:00:00:66" + gateway);
  EXPECT_FALSE(arrives(v4(bad), v4(good), 9000, receiver.get()));
  node.in_pod(bad, "ip link set eth0 address " + pod_mac(bad.uid).to_string() + gateway);
  EXPECT_TRUE(arrives(v4(bad), v4(good), 9000, receiver.get()));
}

TEST_F(GuardTest, the_overlays_ports_are_out_of_reach_also_by_a_service) {
  make();
  for (std::uint16_t port : {std::uint16_t{6783}, std::uint16_t{6784}, std::uint16_t{6785}}) {
    auto udp4 = socket_in(good, v4(good), port), udp6 = socket_in(good, v6(good), port);
    EXPECT_FALSE(arrives(v4(bad), v4(good), port, udp4.get())) << port;
    EXPECT_FALSE(arrives(v6(bad), v6(good), port, udp6.get())) << port;
  }
  auto next_to_it = socket_in(good, v4(good), 6786);
  EXPECT_TRUE(arrives(v4(bad), v4(good), 6786, next_to_it.get()));

  auto tcp = socket_in(good, v4(good), 6784, SOCK_STREAM), other = socket_in(good, v4(good), 6786, SOCK_STREAM);
  int code = 0;
  node.in_pod(bad, "timeout 0.3 bash -c \"exec 3<>/dev/tcp/" + v4(good).to_string() + "/6784\"", &code);
  EXPECT_NE(code, 0);
  node.in_pod(bad, "timeout 2 bash -c \"exec 3<>/dev/tcp/" + v4(good).to_string() + "/6786\"", &code);
  EXPECT_EQ(code, 0);

  ASSERT_EQ(node.run("nft -f - <<E\ntable ip nat {\n chain c {\n type nat hook prerouting priority -100\n ip daddr "
                     "10.96.0.1 udp dport 80 "
                     "dnat to " +
                     v4(good).to_string() + ":6784\n ip daddr 10.96.0.1 udp dport 81 dnat to " + v4(good).to_string() +
                     ":6786\n }\n}\nE\n"),
            0);
  auto vxlan = socket_in(good, v4(good), 6784);
  EXPECT_FALSE(arrives(v4(bad), *Ip::parse("10.96.0.1"), 80, vxlan.get()));
  EXPECT_TRUE(arrives(v4(bad), *Ip::parse("10.96.0.1"), 81, next_to_it.get()));
}

TEST_F(GuardTest, a_pod_reaches_its_connection_limit_and_others_do_not_notice) {
  bad.network.connection_limit = 3;
  make();
  auto receiver = socket_in(good, v4(good), 9000);
  int passed = 0;
  for (int i = 0; i < 10; ++i) passed += arrives(v4(bad), v4(good), 9000, receiver.get());
  EXPECT_EQ(passed, 3);
  auto back = socket_in(bad, v4(bad), 9001);
  auto sender = socket_in(good, v4(good), 0);
  Endpoint to(v4(bad), 9001);
  EXPECT_EQ(sendto(sender.get(), "x", 1, 0, to.get(), to.length), 1);
  char c;
  EXPECT_EQ(recv(back.get(), &c, 1, 0), 1);
  // Another limit takes effect without remaking anything else.
  bad.network.connection_limit = 6;
  node.want(bad);
  EXPECT_THAT(node.pass(), ::testing::ElementsAre("repair guard default/bad"));
  EXPECT_THAT(node.pass(), IsEmpty());
  for (int i = 0; i < 10; ++i) passed += arrives(v4(bad), v4(good), 9000, receiver.get());
  EXPECT_GT(passed, 3);
}

}  // namespace
}  // namespace trama::netns::test
