// SPDX-License-Identifier: GPL-2.0-or-later
// Services that come, go and come again; agents and the controller that are restarted; rules that somebody deletes.
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

class Lifecycle : public ServiceSuite {
 protected:
  static bool agent_ready(const std::string& node) {
    return eventually([&] { return cluster().metric(node, "trama_agent_ready") == 1; }, 15000);
  }
};

// Requests one after the other, from its beginning to its end.
class Load {
 public:
  explicit Load(std::function<Answers()> some)
      : thread_([this, some = std::move(some)] {
          while (!stop_) {
            auto more = some();
            std::lock_guard lock(mutex_);
            all_.answers += more.answers, all_.failures += more.failures;
            all_.longest_gap_milliseconds = std::max(all_.longest_gap_milliseconds, more.longest_gap_milliseconds);
            for (const auto& [why, n] : more.errors) all_.errors[why] += n;
          }
        }) {}
  ~Load() { end(); }
  void end() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Answers seen() const {
    std::lock_guard lock(mutex_);
    return all_;
  }
  // Waits until so many more requests have been answered.
  bool goes_on(int n) {
    auto goal = seen().answers + n;
    return eventually([&] { return seen().answers >= goal; }, 15000);
  }

 private:
  mutable std::mutex mutex_;  // guards all_
  Answers all_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_F(Lifecycle, UpAndDown) {
  for (auto name : {"one", "two", "three"}) make(echo_pods(name, 2) + service(name, "type: NodePort"));
  auto at = [](const std::string& name) { return url("http", cluster_ip(name), 80); };
  auto pods = [](const std::string& name) { return Names{name + "-1", name + "-2"}; };
  auto one = at("one"), two = at("two");
  EXPECT_TRUE(reaches("n3.c3", one, pods("one")));
  EXPECT_TRUE(reaches("n3.c3", two, pods("two")));
  auto port = node_port("one");
  remove("service/one");
  EXPECT_TRUE(dropped("n3.c3", one));
  EXPECT_TRUE(refused("hub", url("http", ip_of("n3"), port)));
  EXPECT_TRUE(reaches("n3.c3", two, pods("two")));
  EXPECT_TRUE(reaches("n3.c3", at("three"), pods("three")));
  remove("pod/two-1 pod/two-2");
  EXPECT_TRUE(refused("n3.c3", two));
  EXPECT_TRUE(reaches("n3.c3", at("three"), pods("three")));
}

TEST_F(Lifecycle, AServiceIsMadeAnew) {
  make(echo_pods("anew", 2) + service("anew", "clusterIP: 10.96.88.88, type: NodePort"));
  const Names both{"anew-1", "anew-2"};
  auto http = url("http", "10.96.88.88", 80);
  EXPECT_TRUE(reaches("n3.c3", http, both));
  for (int i = 0; i < 3; ++i) {
    remove("service/anew");
    EXPECT_TRUE(dropped("n3.c3", http));
    make(service("anew", "clusterIP: 10.96.88.88, type: NodePort"));
    EXPECT_TRUE(reaches("n3.c3", http, both));
    EXPECT_TRUE(reaches("hub", url("http", ip_of("n1"), node_port("anew")), both));
  }
  // The address may go to another Service at once.
  remove("service/anew");
  make(echo_pods("heir", 1) + service("heir", "clusterIP: 10.96.88.88"));
  EXPECT_TRUE(reaches("n3.c3", http, {"heir-1"}));
}

TEST_F(Lifecycle, ServicesWorkWhileAndAfterAgentsAreRestarted) {
  make(echo_pods("agent") + service("agent", "type: NodePort"));
  const Names all{"agent-1", "agent-2", "agent-3"};
  auto http = url("http", cluster_ip("agent"), 80);
  ASSERT_TRUE(reaches("n1.c1", http, all));
  ASSERT_TRUE(reaches("hub", url("http", ip_of("n2"), node_port("agent")), all));
  Load inside([&] { return ask("n1.c1", http, 20, "--timeout 2s --interval 5ms"); });
  Load outside(
      [&] { return ask("hub", url("http", ip_of("n2"), node_port("agent")), 20, "--timeout 2s --interval 5ms"); });
  ASSERT_TRUE(inside.goes_on(1) && outside.goes_on(1));
  for (int signal : {15, 9})
    for (auto node : {"n1", "n2"}) {
      cluster().stop_agent(node, signal);
      EXPECT_TRUE(inside.goes_on(20) && outside.goes_on(20)) << "without the agent of " << node;
      cluster().start_agent(node);
      EXPECT_TRUE(agent_ready(node)) << cluster().log(node);
    }
  inside.end(), outside.end();
  EXPECT_EQ(inside.seen().failures, 0) << inside.seen().text();
  EXPECT_EQ(outside.seen().failures, 0) << outside.seen().text();
  // What changed in the meantime is learnt, and the agent goes on following.
  cluster().stop_agent("n1");
  remove("pod/agent-2");
  make(service("behind", "selector: {app: agent}"));
  auto behind = url("http", cluster_ip("behind"), 80);
  EXPECT_TRUE(dropped("n1.c1", behind)) << "the control: nobody has told node n1";
  cluster().start_agent("n1");
  for (const auto& u : {http, behind}) EXPECT_TRUE(reaches("n1.c1", u, {"agent-1", "agent-3"}));
  make(echo_pod({"agent-4", "n2", "agent"}));
  EXPECT_TRUE(reaches("n1.c1", behind, {"agent-1", "agent-3", "agent-4"}));
}

TEST_F(Lifecycle, ServicesWorkWhileAndAfterTheControllerIsRestarted) {
  make(echo_pods("control") + service("control", "type: NodePort"));
  const Names all{"control-1", "control-2", "control-3"};
  auto http = url("http", cluster_ip("control"), 80);
  auto port = node_port("control");
  ASSERT_TRUE(reaches("n1.c1", http, all));
  for (int signal : {15, 9}) {
    Load load([&] { return ask("n1.c1", http, 20, "--timeout 2s --interval 5ms"); });
    cluster().stop_controller(signal);
    EXPECT_TRUE(load.goes_on(20)) << "without a controller";
    cluster().start_controller();
    ASSERT_TRUE(cluster().ok());
    load.end();
    EXPECT_EQ(load.seen().failures, 0) << load.seen().text();
    EXPECT_EQ(node_port("control"), port);
    // It follows again, and gives nothing away that somebody has.
    auto name = fmt::format("after{}", signal);
    make(echo_pods(name, 2) + service(name, "type: NodePort"));
    EXPECT_NE(cluster_ip(name), cluster_ip("control"));
    EXPECT_NE(node_port(name), port);
    for (auto node : {"n1", "n2", "n3"})
      EXPECT_TRUE(reaches("hub", url("http", ip_of(node), node_port(name)), {name + "-1", name + "-2"}, 15000)) << node;
    EXPECT_TRUE(reaches("n1.c1", http, all));
  }
}

// Somebody flushes every rule of a node, again and again, while it is used.
TEST_F(Lifecycle, FlushedRulesComeBackUnderLoad) {
  constexpr int kFlushes = 3;
  make(echo_pods("flush") + service("flush", "type: NodePort"));
  const Names all{"flush-1", "flush-2", "flush-3"};
  auto http = url("http", cluster_ip("flush"), 80);
  auto port = url("http", ip_of("n1"), node_port("flush"));
  ASSERT_TRUE(reaches("n1.c1", http, all));
  ASSERT_TRUE(reaches("hub", port, all));
  auto heals = cluster().metric("n1", "trama_room_heals_total{room=\"services\"}");
  Load fresh([&] { return ask("n1.c1", http, 50, "--timeout 1500ms --interval 2ms"); });
  Load kept([&] { return ask("n1.c1", http, 50, "--timeout 3s --interval 2ms --keep-alive"); });
  Load outside([&] { return ask("hub", port, 50, "--timeout 1500ms --interval 2ms"); });
  ASSERT_TRUE(fresh.goes_on(1) && kept.goes_on(1) && outside.goes_on(1));
  std::string output;
  for (int i = 0; i < kFlushes; ++i) {
    ASSERT_EQ(cluster().on_node("n1", "nft flush ruleset", &output), 0) << output;
    EXPECT_TRUE(eventually([&] { return ask("n1.c1", http, 1, "--timeout 200ms").answers == 1; }, 1000)) << "healed";
    EXPECT_TRUE(fresh.goes_on(50) && kept.goes_on(50) && outside.goes_on(50));
  }
  fresh.end(), kept.end(), outside.end();
  EXPECT_GE(cluster().metric("n1", "trama_room_heals_total{room=\"services\"}"), heals + kFlushes);
  // A connection that was there goes on. Of new ones some are refused in a moment without rules; lost is at most what
  // each client had just begun.
  EXPECT_EQ(kept.seen().failures, 0) << kept.seen().text();
  for (auto* load : {&fresh, &outside}) {
    int lost = 0;
    for (const auto& [why, n] : load->seen().errors) lost += why.find("refused") == std::string::npos ? n : 0;
    EXPECT_LE(lost, 2 * kFlushes) << load->seen().text();
  }
  EXPECT_TRUE(reaches("n1.c1", http, all));
  EXPECT_TRUE(reaches("hub", port, all));
}

}  // namespace
}  // namespace trama::test
