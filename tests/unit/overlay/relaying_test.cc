// SPDX-License-Identifier: GPL-2.0-or-later
// What packets over a third node are put into, and third nodes that pass them on.
#include <condition_variable>
#include <cstring>
#include <random>
#include <thread>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/sockaddr.h"
#include "overlay/tunnel/envelope.h"
#include "overlay/tunnel/tunnel.h"

namespace trama::overlay::tunnel {
namespace {

std::vector<std::byte> body_with(std::uint8_t type, std::size_t size = 100) {
  std::vector<std::byte> body(kEnvelopeSize + size);
  put_envelope(body.data(), 1, node_number("n3"));
  body[kEnvelopeSize] = std::byte{'T'};
  body[kEnvelopeSize + 1] = std::byte{1};
  body[kEnvelopeSize + 2] = static_cast<std::byte>(type);
  return body;
}

TEST(Envelope, HoldsOneDatagramForOneNode) {
  auto body = body_with(kDataType);
  auto e = parse_envelope(body);
  ASSERT_TRUE(e);
  EXPECT_EQ(e->hops, 1);
  EXPECT_EQ(e->node, node_number("n3"));
  EXPECT_NE(e->node, node_number("n4"));
  EXPECT_EQ(e->inside.size(), 100u);
  EXPECT_TRUE(parse_envelope(*std::make_unique<std::vector<std::byte>>(body_with(8)))) << "a probe";
  auto bad = [](std::vector<std::byte> b) { return !parse_envelope(b); };
  EXPECT_TRUE(bad(body_with(kRelayType))) << "an envelope in an envelope";
  EXPECT_TRUE(bad(body_with(1))) << "a heartbeat that goes directly";
  EXPECT_TRUE(bad(body_with(kDataType, kSealedOverhead - 1)));
  EXPECT_TRUE(bad(body_with(kDataType, kLargestInside + 1)));
  body[1] = std::byte{2};
  EXPECT_TRUE(bad(body)) << "more hops than there are";
}

TEST(Envelope, TheTypeIsPartOfWhatIsSealed) {
  Secret secret{};
  secret[0] = 7;
  auto seal = *SealingLane::make(Cipher::chacha20_poly1305, secret, 3);
  auto open = *OpeningLane::make(Cipher::chacha20_poly1305, secret, 3);
  std::vector<std::byte> datagram(kSealedOverhead + 20);
  ASSERT_TRUE(seal.seal(9, datagram.data(), 20, kRelayType));
  auto copy = datagram;
  copy[2] = static_cast<std::byte>(kDataType);
  Bytes body;
  EXPECT_EQ(open.open(*parse_data_header(copy), copy, body), OpeningLane::Verdict::forged);
  auto header = parse_data_header(datagram);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->type, kRelayType);
  EXPECT_EQ(open.open(*header, datagram, body), OpeningLane::Verdict::genuine) << "the control";
}

TEST(Envelope, OnePeerMayAskForSoMuchASecondAndNoMore) {
  RelayBudget b(1000, 3000);
  double now = 100;
  std::size_t passed = 0;
  auto flood = [&](double seconds) {
    std::size_t before = passed;
    for (auto end = now + seconds; now < end; now += 0.001)
      if (b.take(100, now)) passed += 100;
    return passed - before;
  };
  EXPECT_NEAR(static_cast<double>(flood(1)), 4000, 200) << "the burst, and a second's worth";
  EXPECT_NEAR(static_cast<double>(flood(5)), 5000, 200);
  now += 10;
  EXPECT_TRUE(b.take(2900, now)) << "it comes back";
  EXPECT_FALSE(b.take(5000, now + 100)) << "never more than the burst at once";
}

// ---- three real tunnels on loopback, without a device
// -----------------------------------------------------------------

class Relaying : public testing::Test {
 protected:
  struct One {
    Tunnel tunnel{Tunnel::Options{"none", 1}};
    base::IpPort at;
    std::mutex mutex;
    std::condition_variable some;
    std::vector<std::pair<std::string, std::string>> came;
    std::vector<std::pair<std::string, std::string>> wait(std::size_t count, int ms = 3000) {
      std::unique_lock lock(mutex);
      some.wait_for(lock, std::chrono::milliseconds(ms), [&] { return came.size() >= count; });
      return came;
    }
  };

  void SetUp() override {
    for (const char* name : {"a", "b", "c"}) {
      auto& one = nodes[name];
      base::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_storage where{};
      auto size = base::to_sockaddr({base::Ip::v4(127, 0, 0, 1), 0}, where);
      ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), size), 0);
      size = sizeof where;
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where), &size);
      one.at = *base::from_sockaddr(reinterpret_cast<sockaddr*>(&where));
      one.tunnel.on_relayed([&one](const std::string& via, std::string datagram) {
        std::lock_guard lock(one.mutex);
        one.came.emplace_back(via, std::move(datagram));
        one.some.notify_all();
      });
      std::vector<base::UniqueFd> sockets;
      sockets.push_back(std::move(fd));
      one.tunnel.use_sockets(std::move(sockets), {});
    }
    for (auto& [name, one] : nodes) {
      std::vector<peers::TunnelPort::Peer> peers;
      for (auto& [other, two] : nodes)
        if (other != name) peers.push_back({other, two.at, {}});
      one.tunnel.set_peers(std::move(peers));
    }
    agree("a", "b", 10);
    agree("b", "c", 20);
    agree("a", "c", 30);
  }
  void agree(const std::string& x, const std::string& y, std::uint32_t index) {
    peers::TunnelPort::Keys k;
    k.node = y, k.my_index = index, k.their_index = index + 1;
    k.sending.fill(static_cast<std::uint8_t>(index)), k.receiving.fill(static_cast<std::uint8_t>(index + 1));
    ASSERT_TRUE(nodes[x].tunnel.open(k));
    nodes[x].tunnel.seal_with(k.my_index);
    k.node = x;
    std::swap(k.my_index, k.their_index), std::swap(k.sending, k.receiving);
    ASSERT_TRUE(nodes[y].tunnel.open(k));
    nodes[y].tunnel.seal_with(k.my_index);
  }
  static std::string probe(std::uint8_t type = 8, std::size_t size = 200) {
    std::string out(size, 'p');
    out[0] = 'T', out[1] = 1, out[2] = static_cast<char>(type), out[3] = 0;
    return out;
  }
  bool send(const std::string& to, const std::string& datagram = probe()) {
    return nodes["a"].tunnel.send_relayed("b", to, datagram);
  }
  // Waits until the third node has counted so many, then tells what it has passed on.
  std::uint64_t refused(std::uint64_t count) {
    peers::TunnelTraffic t;
    for (int i = 0; i < 300; ++i) {
      t = nodes["b"].tunnel.traffic();
      if (t.relay_refused + t.malformed + t.relay_limited >= count) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return t.relay_refused + t.malformed + t.relay_limited;
  }
  void TearDown() override {
    for (auto& [name, one] : nodes) one.tunnel.use_sockets({}, {});
  }

  std::map<std::string, One> nodes;
};

TEST_F(Relaying, AThirdNodePassesOnWhatIsForAMember) {
  ASSERT_TRUE(send("c"));
  auto came = nodes["c"].wait(1);
  ASSERT_EQ(came.size(), 1u);
  EXPECT_EQ(came[0].first, "b");
  EXPECT_EQ(came[0].second, probe()) << "as it was";
  ASSERT_TRUE(nodes["c"].tunnel.send_relayed("b", "a", probe(9)));
  EXPECT_EQ(nodes["a"].wait(1).size(), 1u) << "and back";
  EXPECT_EQ(nodes["b"].tunnel.traffic().relayed_packets, 2u);
  EXPECT_TRUE(nodes["b"].wait(1, 100).empty()) << "it keeps nothing for itself";
}

TEST_F(Relaying, NothingLoopsAndNothingGoesToNobody) {
  ASSERT_TRUE(send("a")) << "back to where it came from";
  ASSERT_TRUE(send("b")) << "to the third node itself, which would have to pass it on again";
  ASSERT_TRUE(send("z")) << "no member";
  ASSERT_TRUE(send("c", probe(17))) << "an envelope in an envelope";
  ASSERT_TRUE(send("c", probe(1))) << "a heartbeat that goes directly";
  ASSERT_TRUE(send("c", std::string(200, '\0'))) << "no datagram of ours";
  EXPECT_EQ(refused(6), 6u);
  nodes["b"].tunnel.set_relaying(false);
  ASSERT_TRUE(send("c"));
  EXPECT_EQ(refused(7), 7u) << "switched off";
  nodes["b"].tunnel.set_relaying(true);
  nodes["b"].tunnel.close(20);
  ASSERT_TRUE(send("c"));
  EXPECT_EQ(refused(8), 8u) << "no keys with whom it is for";
  EXPECT_EQ(nodes["b"].tunnel.traffic().relayed_packets, 0u);
  EXPECT_TRUE(nodes["c"].wait(1, 100).empty());
  EXPECT_TRUE(nodes["a"].wait(1, 0).empty());
  agree("b", "c", 40);
  ASSERT_TRUE(send("c"));
  EXPECT_EQ(nodes["c"].wait(1).size(), 1u) << "the control";
}

// What the third node passes on is sealed for the receiver anew: who has seen one of the two datagrams can do nothing
// with it, not even send it twice.
TEST_F(Relaying, ReplayedBentOrRedirectedDatagramsAreNotTaken) {
  base::UniqueFd tap(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage where{};
  auto size = base::to_sockaddr({base::Ip::v4(127, 0, 0, 1), 0}, where);
  ASSERT_EQ(::bind(tap.get(), reinterpret_cast<sockaddr*>(&where), size), 0);
  size = sizeof where;
  ::getsockname(tap.get(), reinterpret_cast<sockaddr*>(&where), &size);
  auto here = *base::from_sockaddr(reinterpret_cast<sockaddr*>(&where));
  // a believes that b is at the tap: so the tap gets a genuine datagram.
  nodes["a"].tunnel.set_peers({{"b", here, {}}, {"c", nodes["c"].at, {}}});
  ASSERT_TRUE(send("c"));
  std::string seen(2000, '\0');
  auto n = ::recv(tap.get(), seen.data(), seen.size(), 0);
  ASSERT_GT(n, 200);
  seen.resize(static_cast<std::size_t>(n));
  auto throw_at = [&](const std::string& whom, const std::string& datagram) {
    sockaddr_storage to{};
    auto to_size = base::to_sockaddr(nodes[whom].at, to);
    ::sendto(tap.get(), datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&to), to_size);
  };
  throw_at("b", seen);
  ASSERT_EQ(nodes["c"].wait(1).size(), 1u) << "the control: it is genuine";
  std::mt19937 random(5);
  for (int i = 0; i < 3000; ++i) {
    auto d = seen;
    if (i % 3 == 1) d[random() % d.size()] ^= static_cast<char>(1 << random() % 8);
    if (i % 3 == 2) d.resize(random() % d.size());
    throw_at(i % 5 == 0 ? "c" : "b", d);  // also to whom it was not for
    if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(nodes["c"].wait(2, 0).size(), 1u);
  auto t = nodes["b"].tunnel.traffic();
  EXPECT_EQ(t.relayed_packets, 1u);
  EXPECT_GT(t.replayed, 500u);
  EXPECT_GT(t.forged, 100u) << "the others have a number that was here already";
}

TEST_F(Relaying, OnePeerCannotFillTheThirdNodesWire) {
  auto large = probe(8, 16'000);
  std::uint64_t offered = 0;
  auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(400)) {
    ASSERT_TRUE(send("c", large));
    offered += large.size();
    if (offered % (64 * large.size()) == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    if (nodes["b"].tunnel.traffic().relay_limited > 20) break;
  }
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  auto t = nodes["b"].tunnel.traffic();
  double most = RelayBudget::kBurst + RelayBudget::kRate * took.count() * 1.1;
  EXPECT_LE(static_cast<double>(t.relayed_bytes), most);
  // Only where the machine was fast enough to ask for more.
  if (static_cast<double>(offered) > most * 2) {
    EXPECT_GT(t.relay_limited, 0u);
  }
}

}  // namespace
}  // namespace trama::overlay::tunnel
