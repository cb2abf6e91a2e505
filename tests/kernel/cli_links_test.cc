// SPDX-License-Identifier: GPL-2.0-or-later
// Impaired links between real namespaces, measured with datagrams that carry the time. Which backend:
// TRAMA_LINK_BACKEND (relay unless it says netem); both must give the same.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/lab/network.h"
#include "cli/links/service.h"
#include "cli/links/table.h"
#include "tests/support/private_netns.h"

namespace trama::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Nanoseconds kMs{1'000'000};

std::string output_of(const std::string& command) {
  std::string out;
  test::shell(command, &out);
  return out;
}
bool by_netem() {
  const char* v = std::getenv("TRAMA_LINK_BACKEND");
  return v && std::string_view(v) == "netem";
}

struct Arrival {
  std::uint32_t number;
  double delay_ms, at_ms;
};

class LinksTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/run/trama-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    auto documents =
        load_yaml("apiVersion: trama.dev/v1\nkind: Lab\nmetadata: {name: t}\nspec: {nodes: [n1, n2, n3]}\n", "t");
    auto lab = *parse_lab(std::move(*documents));
    auto network = LabNetwork::open(dir_);
    ASSERT_TRUE(network) << network.error().to_string();
    network_ = std::make_unique<LabNetwork>(std::move(*network));
    LabRecord record;
    record.name = "t";
    auto steps = plan_switch(lab);
    for (const auto& n : lab.nodes) {
      for (auto& op : plan_node(lab, n)) steps.push_back(op);
      record.nodes.push_back({n.name, n.address.to_string()});
    }
    for (const auto& op : steps) {
      auto r = network_->apply(op);
      ASSERT_TRUE(r) << r.error().to_string();
    }
    place_ = link_place(record, dir_);
    for (auto n : {"n1", "n2", "n3"}) nodes_.emplace_back(n);
    thread_ = std::thread([this] { serve(); });
    // The kernel opens a port of the switch a moment after its cable has come up; what is asked before that is lost,
    // and neighbours are asked for again only after a second.
    for (auto [from, to, ip] :
         {std::tuple{"n1", "n2", "172.30.0.12"}, {"n1", "n3", "172.30.0.13"}, {"n2", "n3", "172.30.0.13"}}) {
      bool there = false;
      for (int i = 0; i < 25 && !there; ++i) there = send(from, to, ip, 1, 1).size() == 1;
      ASSERT_TRUE(there) << from << " does not reach " << to;
    }
  }
  void TearDown() override {
    end();
    network_.reset();
    ASSERT_TRUE(remove_namespaces(dir_, {"t.switch", "t.n1", "t.n2", "t.n3"}, {}));
    umount2(dir_.c_str(), MNT_DETACH);
    EXPECT_EQ(rmdir(dir_.c_str()), 0);
  }
  void end() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // What the links' service does, in its namespace.
  void serve() {
    ASSERT_EQ(setns(network_->fd("t.switch"), CLONE_NEWNET), 0);
    auto backend = by_netem() ? open_netem(place_) : open_relay(place_, 1);
    ASSERT_TRUE(backend) << backend.error().to_string();
    std::vector<LinkRule> in_force;
    while (!stop_) {
      if (asked_ != done_) {
        auto r = (*backend)->apply(rules_, link_clock());
        EXPECT_TRUE(r) << r.error().to_string();
        done_ = asked_.load();
      }
      std::vector<pollfd> fds;
      for (int fd : (*backend)->descriptors()) fds.push_back({fd, POLLIN, 0});
      auto left = Nanoseconds(2 * kMs);
      if (auto next = (*backend)->next()) left = std::clamp(*next - link_clock(), Nanoseconds(0), left);
      timespec timeout{0, left.count()};
      (void)ppoll(fds.data(), fds.size(), &timeout, nullptr);
      auto r = (*backend)->step(link_clock());
      EXPECT_TRUE(r) << r.error().to_string();
    }
    auto counts = (*backend)->counts();
    ASSERT_TRUE(counts);
    counts_ = *counts;
  }
  struct Wanted {
    const char* link;
    ImpairmentWords words;
    const char* only = "";
    bool down = false;
  };
  void links(const std::vector<Wanted>& wanted) {
    LinkState state;
    for (const auto& w : wanted) {
      LinkChange c;
      c.what = w.down ? LinkChange::What::cut : LinkChange::What::set;
      c.keys = *parse_link(w.link, nodes_);
      if (*w.only) c.only = *parse_match(w.only);
      if (!w.down) c.shape = *parse_impairment(w.words);
      ASSERT_TRUE(state.apply(c, link_clock()));
    }
    rules_ = state.rules();
    ++asked_;
    ASSERT_TRUE(test::eventually([this] { return done_ == asked_; }));
  }

  int socket_in(const char* node, int kind) const {
    int fd = -1;
    EXPECT_TRUE(network_->inside(std::string("t.") + node, [&]() -> base::Result<> {
      fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
      return {};
    }));
    return fd;
  }
  static sockaddr_in address(const char* ip, std::uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
  }
  static double now_ms() { return static_cast<double>(link_clock().count()) / 1e6; }

  // Datagrams from one node to another; what arrived, in the order in which it did.
  std::vector<Arrival> send(const char* from, const char* to, const char* ip, unsigned count, double apart_ms,
                            std::size_t size = 100, std::uint16_t port = 5000, double patience_ms = 150) {
    base::UniqueFd in(socket_in(to, SOCK_DGRAM)), out(socket_in(from, SOCK_DGRAM));
    auto there = address(ip, port), any = address("0.0.0.0", port);
    EXPECT_EQ(bind(in.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    int room = 8 << 20;
    setsockopt(in.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    EXPECT_EQ(connect(out.get(), reinterpret_cast<sockaddr*>(&there), sizeof there), 0);
    std::vector<Arrival> seen;
    std::atomic<bool> sent_all{false};
    std::thread receiver([&] {
      std::vector<char> buffer(size);
      double last = now_ms();
      while (!sent_all || now_ms() - last < patience_ms) {
        pollfd p{in.get(), POLLIN, 0};
        if (poll(&p, 1, 20) <= 0) continue;
        if (recv(in.get(), buffer.data(), buffer.size(), 0) < 12) continue;
        std::uint32_t number;
        double sent;
        memcpy(&number, buffer.data(), 4), memcpy(&sent, buffer.data() + 4, 8);
        last = now_ms();
        seen.push_back({number, last - sent, last});
      }
    });
    std::vector<char> buffer(size, 'x');
    double begin = now_ms();
    for (std::uint32_t i = 0; i < count; ++i) {
      while (now_ms() < begin + i * apart_ms) usleep(100);
      double now = now_ms();
      memcpy(buffer.data(), &i, 4), memcpy(buffer.data() + 4, &now, 8);
      (void)!::send(out.get(), buffer.data(), buffer.size(), 0);
    }
    sent_all = true;
    receiver.join();
    return seen;
  }
  static double median(std::vector<Arrival> seen) {
    std::vector<double> d;
    for (const auto& a : seen) d.push_back(a.delay_ms);
    std::sort(d.begin(), d.end());
    return d.empty() ? -1 : d[d.size() / 2];
  }
  // The median of the calmest of three runs, or of the first below the limit: a busy machine makes frames late, never
  // early.
  double calm_median(const char* from, const char* to, const char* ip, double limit) {
    double best = 1e9;
    for (int i = 0; i < 3 && best >= limit; ++i) best = std::min(best, median(send(from, to, ip, 50, 1)));
    return best;
  }
  static double least(const std::vector<Arrival>& seen) {
    return std::min_element(seen.begin(), seen.end(),
                            [](const auto& a, const auto& b) { return a.delay_ms < b.delay_ms; })
        ->delay_ms;
  }
  static bool in_order(const std::vector<Arrival>& seen) {
    return std::is_sorted(seen.begin(), seen.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  }

  std::string dir_;
  std::vector<std::string> nodes_;
  LinkPlace place_;
  std::unique_ptr<LabNetwork> network_;
  std::vector<LinkRule> rules_;
  std::atomic<int> asked_{0}, done_{0};
  std::atomic<bool> stop_{false};
  std::vector<Carrier::Count> counts_;
  std::thread thread_;
};

TEST_F(LinksTest, DelayBetweenTwoNodesAndNobodyElse) {
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", 50, 1).size(), 50u);
  EXPECT_LT(calm_median("n1", "n2", "172.30.0.12", 5), 5);
  links({{"n1-n2", {"20ms", "5ms", "", "", ""}}});
  for (auto [from, to, ip] : {std::tuple{"n1", "n2", "172.30.0.12"}, {"n2", "n1", "172.30.0.11"}}) {
    auto slow = send(from, to, ip, 200, 2);
    ASSERT_EQ(slow.size(), 200u) << from;
    EXPECT_GE(least(slow), 15) << from;
    EXPECT_GT(median(slow), 19) << from;  // later ones wait for those in front of them
    EXPECT_LT(calm_median(from, to, ip, 32), 32) << from;
    EXPECT_TRUE(in_order(slow)) << from;
  }
  auto other = send("n1", "n3", "172.30.0.13", 50, 1);
  EXPECT_EQ(other.size(), 50u);
  EXPECT_LT(calm_median("n1", "n3", "172.30.0.13", 5), 5);
  links({});
  EXPECT_LT(calm_median("n1", "n2", "172.30.0.12", 5), 5);
}

TEST_F(LinksTest, LossWithinItsBounds) {
  constexpr unsigned n = 3000;
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", n, 0.2).size(), n) << "without a rule nothing is lost";
  links({{"n1>n2", {"", "", "10%", "", ""}}});
  auto arrived = static_cast<double>(send("n1", "n2", "172.30.0.12", n, 0.2).size());
  EXPECT_NEAR(arrived, n * 0.9, 4.5 * std::sqrt(n * 0.1 * 0.9));
  EXPECT_EQ(send("n2", "n1", "172.30.0.11", 500, 0.2).size(), 500u) << "one way is one way";
}

TEST_F(LinksTest, ARateIsKept) {
  auto span = [&] {
    auto seen = send("n1", "n2", "172.30.0.12", 150, 0, 1200);
    EXPECT_EQ(seen.size(), 150u);
    return seen.empty() ? 0 : seen.back().at_ms - seen.front().at_ms;
  };
  double bare = 1e9;
  for (int i = 0; i < 3 && bare >= 60; ++i) bare = std::min(bare, span());
  EXPECT_LT(bare, 60);
  links({{"n1>n2", {"", "", "", "", "10mbit"}}});
  double ideal = 149 * (1200 + 42) * 8 / 10e6 * 1e3, seen = 0;  // 148 ms
  for (int i = 0; i < 3 && std::abs(seen - ideal) > ideal * 0.2; ++i) seen = span();
  EXPECT_NEAR(seen, ideal, ideal * 0.2);
}

TEST_F(LinksTest, SomeFramesOvertake) {
  links({{"n1>n2", {"20ms", "", "", "20%", ""}}});
  auto seen = send("n1", "n2", "172.30.0.12", 500, 1);
  ASSERT_EQ(seen.size(), 500u);
  EXPECT_FALSE(in_order(seen));
  auto early = std::count_if(seen.begin(), seen.end(), [](const Arrival& a) { return a.delay_ms < 10; });
  EXPECT_NEAR(static_cast<double>(early), 100, 4.5 * std::sqrt(500 * 0.2 * 0.8) + 5);
}

TEST_F(LinksTest, OnePortOneWayAndADeadCable) {
  links({{"n1>n2", {}, "udp:6784", true}});
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", 20, 1, 100, 6784).size(), 0u);
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", 20, 1, 100, 6783).size(), 20u);
  EXPECT_EQ(send("n2", "n1", "172.30.0.11", 20, 1, 100, 6784).size(), 20u);
  EXPECT_EQ(send("n1", "n3", "172.30.0.13", 20, 1, 100, 6784).size(), 20u);
  // The same with everything else of that link slow: then the frames are carried, and still cut.
  links({{"n1>n2", {}, "udp:6784", true}, {"n1>n2", {"10ms", "", "", "", ""}}});
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", 20, 1, 100, 6784).size(), 0u);
  auto slow = send("n1", "n2", "172.30.0.12", 20, 1, 100, 6783);
  EXPECT_EQ(slow.size(), 20u);
  EXPECT_GE(least(slow), 10);
  links({{"n2", {}, "", true}});
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", 20, 1).size(), 0u);
  EXPECT_EQ(send("n2", "n3", "172.30.0.13", 20, 1).size(), 0u);
  EXPECT_EQ(send("n1", "n3", "172.30.0.13", 20, 1).size(), 20u);
  EXPECT_THAT(output_of("nsenter --net=" + dir_ + "/t.n2 ping -c1 -W1 172.30.0.1"), HasSubstr(" 0 received"));
  links({});
  EXPECT_EQ(send("n1", "n2", "172.30.0.12", 20, 1).size(), 20u);
}

TEST_F(LinksTest, ANodesOwnCableIsSlowToEverybody) {
  links({{"n1", {"10ms", "", "", "", ""}}, {"n1>n2", {"30ms", "", "", "", ""}}});
  auto rtt = [&](const char* from, const char* ip) {
    auto out = output_of(fmt::format("nsenter --net={}/t.{} ping -c5 -i0.1 -q {}", dir_, from, ip));
    auto at = out.find("min/avg/max/mdev = ");
    return at == std::string::npos ? -1.0 : std::atof(out.c_str() + at + 19);
  };
  EXPECT_GE(rtt("n1", "172.30.0.1"), 20) << "the switch itself, where the controller lives";
  EXPECT_GE(rtt("n3", "172.30.0.11"), 20);
  EXPECT_LT(rtt("n3", "172.30.0.12"), 10);
  EXPECT_GE(rtt("n1", "172.30.0.12"), 50) << "both cables and the way between";
  EXPECT_LT(rtt("n1", "172.30.0.12"), 80);
}

TEST_F(LinksTest, AStreamOverASlowLossyLinkIsWhole) {
  links({{"n1-n2", {"2ms", "1ms", "0.5%", "1%", ""}}});
  base::UniqueFd listener(socket_in("n2", SOCK_STREAM)), out(socket_in("n1", SOCK_STREAM));
  auto there = address("172.30.0.12", 5001);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&there), sizeof there), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ASSERT_EQ(connect(out.get(), reinterpret_cast<sockaddr*>(&there), sizeof there), 0);
  base::UniqueFd in(accept(listener.get(), nullptr, nullptr));
  constexpr std::size_t total = 4 << 20;
  auto pattern = [](std::size_t i) { return static_cast<char>((i * 2654435761u) >> 13); };
  std::thread sender([&] {
    std::vector<char> all(total);
    for (std::size_t i = 0; i < total; ++i) all[i] = pattern(i);
    for (std::size_t at = 0; at < total;) {
      auto n = write(out.get(), all.data() + at, total - at);
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    out.reset();
  });
  std::size_t got = 0, wrong = 0;
  std::vector<char> buffer(1 << 16);
  for (;;) {
    pollfd p{in.get(), POLLIN, 0};
    if (poll(&p, 1, 20'000) <= 0) break;
    auto n = read(in.get(), buffer.data(), buffer.size());
    if (n <= 0) break;
    for (ssize_t k = 0; k < n; ++k) wrong += buffer[static_cast<std::size_t>(k)] != pattern(got++);
  }
  in.reset();
  sender.join();
  EXPECT_EQ(got, total);
  EXPECT_EQ(wrong, 0u);
}

TEST_F(LinksTest, CountsAndLeavesNothingBehind) {
  auto traces = [&] {
    return output_of(
        fmt::format("for n in switch n1 n2; do nsenter --net={}/t.$n sh -c 'ip -d -o link | sed \"s/^[0-9]*: //\" | "
                    "grep -oE \"^[^:]*|gso_max_segs [0-9]*\"; tc qdisc; nft list ruleset'; done",
                    dir_));
  };
  auto before = traces();
  links({{"n1", {"1ms", "", "", "", ""}}, {"n1>n2", {"", "", "100%", "", ""}}, {"n2>n1", {}, "tcp:1", true}});
  EXPECT_NE(traces(), before);
  send("n1", "n2", "172.30.0.12", 40, 1);
  end();
  EXPECT_EQ(traces(), before);
  std::uint64_t lost = 0;
  for (const auto& c : counts_)
    if (c.key == LinkKey{"n1", "n2"}) lost = c.wire.lost;
  EXPECT_GE(lost, 1u);  // not the datagrams: already the question for the address
}

TEST_F(LinksTest, TheTableIsWhatItsTextSays) {
  links({{"n1", {}, "", true},
         {"n1>n2", {}, "udp:6784", true},
         {"n2-n3", {"1ms", "", "", "", ""}},
         {"n3>n1", {}, "icmp", true}});
  Ways carried;
  if (!by_netem()) carried = {{"n2", "n3"}, {"n3", "n2"}};
  auto table = link_table(place_, rules_, carried, link_clock());
  auto listed = output_of("nsenter --net=" + dir_ + "/t.switch nft --stateless list table bridge trama-links");
  std::size_t rules = 0;
  for (const auto& c : table.chains)
    for (const auto& r : c.rules) {
      auto text = r.text();
      if (auto at = text.find(" packets 0 bytes 0"); at != std::string::npos) text.erase(at, 18);
      EXPECT_THAT(listed, HasSubstr(fmt::format("{} comment \"{}\"", text, r.comment())));
      ++rules;
    }
  EXPECT_EQ(rules, by_netem() ? 7u : 9u);
  EXPECT_EQ(static_cast<std::size_t>(std::count(listed.begin(), listed.end(), '#')), 1u) << listed;  // "# progname"
  // Somebody else's table is none of ours, and ours is none of theirs: a flush by others leaves it.
  output_of("nsenter --net=" + dir_ + "/t.switch nft flush ruleset");
  EXPECT_EQ(output_of("nsenter --net=" + dir_ + "/t.switch nft --stateless list table bridge trama-links"), listed);
}

TEST_F(LinksTest, NetemIsToldWhatWasSaid) {
  if (!by_netem()) return;  // the relay has unit tests for that
  links({{"n1>n2", {"20ms", "5ms", "1%", "2%", "10mbit"}}, {"n1>n2", {"3ms", "", "", "", ""}, "tcp:80"}});
  auto in_switch = [&](const std::string& command) {
    return output_of("nsenter --net=" + dir_ + "/t.switch " + command);
  };
  auto queues = in_switch("tc qdisc show dev ifb.0");
  EXPECT_THAT(queues, HasSubstr("delay 3ms rate"));
  EXPECT_THAT(queues, HasSubstr("delay 20ms  5ms loss 1% reorder 2% rate 10Mbit gap 1"));
  auto filters = in_switch("tc filter show dev ifb.0");
  EXPECT_THAT(filters, HasSubstr("dst_port 80"));
  EXPECT_THAT(filters, HasSubstr("dst_mac " + place_.nodes[1].mac.to_string()));
  EXPECT_THAT(in_switch("tc filter show dev n1 ingress"), HasSubstr("Egress Redirect to device ifb.0"));
}

TEST(Links, AKernelWithoutNetemIsToldSo) {
  test::PrivateNetns ns;
  ns.run([] {
    auto netem = open_netem({});
    if (netem) return;  // this kernel has it
    EXPECT_TRUE(netem.error().is(std::errc::operation_not_supported));
    EXPECT_THAT(netem.error().to_string(), HasSubstr("this kernel has no netem for us: put "));
  });
}

}  // namespace
}  // namespace trama::cli
