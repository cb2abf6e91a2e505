// SPDX-License-Identifier: GPL-2.0-or-later
// A hundred thousand scalings of one service while ten thousand new connections a second begin: each is answered, and
// none goes past the rules.
#include <atomic>
#include <bitset>
#include <cstring>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using std::chrono::milliseconds;

constexpr int kScalings = 100'000;
constexpr int kPerTick = 10;  // of a millisecond
constexpr int kPorts = 60'000;
constexpr int kFirstPort = 2000;

std::uint32_t words(const void* data, std::size_t size) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < size; i += 2) {
    std::uint16_t word;
    std::memcpy(&word, static_cast<const char*>(data) + i, 2);
    sum += word;
  }
  return sum;
}

// First packets of connections (SYN) at a steady pace, each sent once, and the answers (SYN, ACK) to them. The kernel
// below knows of no such connection and resets each, so that nothing piles up.
class FirstPackets {
 public:
  FirstPackets(const test::PrivateNetns& from, const base::IpPort& self, const base::IpPort& to)
      : self_(self), to_(to) {
    from.run([this] {
      v4_ = to_.ip.is_v4();
      fd_.reset(socket(v4_ ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
      int room = 32 << 20, checksum_at = 16;
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
      if (!v4_) setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_CHECKSUM, &checksum_at, sizeof checksum_at);
      sockaddr_in a4{};
      sockaddr_in6 a6{};
      a4.sin_family = AF_INET, a6.sin6_family = AF_INET6;
      std::memcpy(v4_ ? static_cast<void*>(&a4.sin_addr) : &a6.sin6_addr, to_.ip.bytes().data(), v4_ ? 4 : 16);
      // Only what comes from the service is an answer: an untranslated one does not count.
      ASSERT_EQ(v4_ ? connect(fd_.get(), reinterpret_cast<sockaddr*>(&a4), sizeof a4)
                    : connect(fd_.get(), reinterpret_cast<sockaddr*>(&a6), sizeof a6),
                0);
    });
    thread_ = std::thread([this] { work(); });
  }
  ~FirstPackets() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int sent() const { return sent_; }
  int unanswered() const { return unanswered_ + static_cast<int>(waiting_.count()); }  // after stop()

 private:
  void work() {
    auto next = Clock::now();
    while (!stop_) {
      for (int i = 0; i < kPerTick; ++i) send_one();
      receive();
      next = std::max(next + milliseconds(1), Clock::now() - milliseconds(5));  // no long burst after a pause
      std::this_thread::sleep_until(next);
    }
    for (auto end = Clock::now() + milliseconds(500); waiting_.any() && Clock::now() < end;) {
      receive();
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  void send_one() {
    auto flow = static_cast<std::size_t>(sent_ % kPorts);
    if (waiting_[flow]) ++unanswered_;  // since the last time round
    tcphdr tcp{};
    tcp.source = htons(static_cast<std::uint16_t>(kFirstPort + flow)), tcp.dest = htons(to_.port);
    tcp.seq = htonl(static_cast<std::uint32_t>(sent_) * 70'001u), tcp.doff = 5, tcp.syn = 1, tcp.window = htons(1000);
    if (v4_) {
      auto from = self_.ip.bytes(), to = to_.ip.bytes();
      std::uint32_t sum = words(from.data(), 4) + words(to.data(), 4) + htons(IPPROTO_TCP) + htons(sizeof tcp) +
                          words(&tcp, sizeof tcp);
      while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
      tcp.check = static_cast<std::uint16_t>(~sum);
    }
    if (send(fd_.get(), &tcp, sizeof tcp, 0) != sizeof tcp) return;  // the next tick tries again
    waiting_.set(flow);
    ++sent_;
  }
  void receive() {
    char packet[256];
    for (ssize_t n; (n = recv(fd_.get(), packet, sizeof packet, 0)) > 0;) {
      std::size_t header = v4_ ? 20 : 0;
      if (static_cast<std::size_t>(n) < header + sizeof(tcphdr)) continue;
      tcphdr tcp;
      std::memcpy(&tcp, packet + header, sizeof tcp);
      int flow = ntohs(tcp.dest) - kFirstPort;
      if (tcp.syn && tcp.ack && ntohs(tcp.source) == to_.port && flow >= 0 && flow < kPorts)
        waiting_.reset(static_cast<std::size_t>(flow));
    }
  }

  base::IpPort self_, to_;
  bool v4_ = true;
  base::UniqueFd fd_;
  std::atomic<int> sent_{0};
  int unanswered_ = 0;
  std::bitset<kPorts> waiting_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// TCP alone: after a change, UDP flows are looked for, which is another matter.
Service hot(std::vector<int> pods) {
  Service s = test::web(std::move(pods));
  std::erase_if(s.ports, [](const ServicePort& p) { return p.protocol != Protocol::tcp; });
  return s;
}

class HotService : public test::Traffic {
 protected:
  HotService() {
    std::string said;
    // Connections are forgotten soon: the table is the whole machine's.
    EXPECT_EQ(lab.node().shell("cd /proc/sys/net/netfilter; for t in syn_sent syn_recv close; do echo 1 "
                               "> nf_conntrack_tcp_timeout_$t; done; nft -f - <<'E'\n"
                               "table inet witness {\nchain past {\ntype filter hook postrouting priority 300\n"
                               "ip daddr 10.96.0.0/16 counter\nip6 daddr fd00:96::/112 counter\n}\n}\nE",
                               &said),
              0)
        << said;
    tell({hot({1, 2})});
    floods.push_back(std::make_unique<FirstPackets>(lab.pod(3), test::at("10.244.3.2", 0), test::at("10.96.0.10", 80)));
    floods.push_back(
        std::make_unique<FirstPackets>(lab.pod(3), test::at("fd00:244:3::2", 0), test::at("fd00:96::10", 80)));
  }
  int past_the_rules() {
    std::string text;
    EXPECT_EQ(lab.node().shell("nft list table inet witness | grep -o 'packets [0-9]*' | awk '{n += $2} END {print n}'",
                               &text),
              0);
    return std::atoi(text.c_str());
  }
  void scale(std::vector<int> pods) {
    PassInput in;
    in.changes.push_back({{"default", "web"}, hot(std::move(pods))});
    auto out = engine->pass(std::move(in), Clock::now());
    ASSERT_TRUE(out.committed);
    ASSERT_THAT(out.failures, ::testing::IsEmpty());
  }
  std::vector<std::unique_ptr<FirstPackets>> floods;
};

TEST_F(HotService, AHundredThousandScalingsLoseNoFirstPacket) {
  const std::vector<std::vector<int>> states = {{1}, {1, 2}, {2}, {1, 2}};
  auto begin = Clock::now();
  for (std::size_t i = 0; i < kScalings; ++i) ASSERT_NO_FATAL_FAILURE(scale(states[i % states.size()]));
  double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  int sent = 0;
  for (auto& f : floods) {
    f->stop();
    sent += f->sent();
    EXPECT_EQ(f->unanswered(), 0) << "of " << f->sent();
    EXPECT_GT(f->sent(), 10'000);
  }
  EXPECT_EQ(past_the_rules(), 0);
  std::printf("%d scalings, %.0f a second; %d first packets, %.0f a second\n", kScalings, kScalings / seconds, sent,
              sent / seconds);
}

TEST_F(HotService, AnUntranslatedPacketIsSeen) {  // or the test above would say nothing
  ASSERT_TRUE(test::eventually([&] { return floods[0]->sent() > 1000; }));
  std::string said;
  ASSERT_EQ(lab.node().shell("nft flush chain ip trama services", &said), 0) << said;
  int sent = floods[0]->sent();
  ASSERT_TRUE(test::eventually([&] { return floods[0]->sent() > sent + 100; }));
  floods[0]->stop();
  EXPECT_GT(floods[0]->unanswered(), 0);
  EXPECT_GT(past_the_rules(), 0);
}

}  // namespace
}  // namespace trama::servicelb
