// SPDX-License-Identifier: GPL-2.0-or-later
// `trama sim nodes` against a real controller process, both on loopback.
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/ip.h"
#include "control/api/object.h"
#include "tests/e2e/support/controller_process.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

namespace json = boost::json;

class Sim : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(directory_);
    auto started = controller_.start("--lab-timers --cluster-cidr 100.64.0.0/12");
    ASSERT_TRUE(started) << started.error().to_string();
  }
  void TearDown() override {
    if (sim_ > 0) end_sim();
    controller_.stop();
    std::filesystem::remove_all(directory_);
  }
  void start_sim(const std::string& arguments) {
    std::filesystem::remove(directory_ + "/sim.log");
    std::vector<std::string> command = {
        binary_, "--kubeconfig", controller_.kubeconfig_path(), "sim", "nodes", "--lease-period", "1s"};
    std::istringstream words(arguments);
    for (std::string w; words >> w;) command.push_back(w);
    sim_ = start_program(command, directory_ + "/sim.log");
  }
  int end_sim(int signal = SIGINT) {
    int status = end_program(sim_, signal);
    sim_ = -1;
    return status;
  }
  std::string said() {
    std::ifstream in(directory_ + "/sim.log");
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  bool says(const std::string& what, int milliseconds = 20000) {
    return eventually([&] { return said().find(what) != std::string::npos; }, milliseconds);
  }
  int trama(const std::string& arguments, std::string* output = nullptr) {
    return shell(fmt::format("{} --kubeconfig {} {}", binary_, controller_.kubeconfig_path(), arguments), output);
  }
  void apply(const std::string& manifest) {
    std::ofstream(directory_ + "/manifest.yaml") << manifest;
    std::string output;
    ASSERT_EQ(trama("apply -f " + directory_ + "/manifest.yaml", &output), 0) << output;
  }
  std::vector<json::object> items(const std::string& what) {
    std::string output;
    if (trama("get " + what + " -o json", &output) != 0) return {};
    boost::system::error_code bad;
    auto list = json::parse(output, bad);
    std::vector<json::object> out;
    if (!bad && list.is_object())
      for (const auto& i : api::array_at(list.get_object(), "items")) out.push_back(i.get_object());
    return out;
  }
  static std::string condition(const json::object& o, const std::string& type) {
    for (const auto& c : api::array_at(o, "status.conditions"))
      if (api::text_at(c.get_object(), "type") == type) return api::text_at(c.get_object(), "status");
    return "absent";
  }
  std::size_t ready(const std::string& what) {
    std::size_t n = 0;
    for (const auto& o : items(what)) n += condition(o, "Ready") == "True";
    return n;
  }
  static std::string deployment(int replicas, bool tolerates) {
    return fmt::format(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {}\n"
        "  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n{}"
        "      containers: [{{name: c, image: host}}]\n",
        replicas, tolerates ? "      tolerations: [{key: trama.dev/simulated, operator: Exists}]\n" : "");
  }

  std::string binary_ = std::getenv("TRAMA_BINARY");
  std::string directory_ = fmt::format("/tmp/trama-sim-test-{}", ::getpid());
  ControllerProcess controller_{binary_, directory_ + "/controller"};
  pid_t sim_ = -1;
};

TEST_F(Sim, NodesBecomeReadyCarryPodsAndAreGoneAfterCtrlC) {
  start_sim("300 --pods-per-node 4");
  ASSERT_TRUE(says("300 nodes Ready")) << said();
  EXPECT_EQ(ready("nodes"), 300u);
  EXPECT_EQ(items("leases -n kube-node-lease").size(), 300u);
  apply(deployment(200, true));
  ASSERT_TRUE(eventually([&] { return ready("pods") == 200; }, 30000)) << ready("pods") << said();
  // Every address is out of its node's range, and nobody else's.
  std::map<std::string, std::string> range;
  for (const auto& n : items("nodes")) range[api::text_at(n, "metadata.name")] = api::text_at(n, "spec.podCIDR");
  std::set<std::string> addresses;
  for (const auto& p : items("pods")) {
    auto cidr = base::Cidr::parse(range.at(api::text_at(p, "spec.nodeName")));
    auto ip = base::Ip::parse(api::text_at(p, "status.podIP"));
    ASSERT_TRUE(cidr && ip);
    EXPECT_TRUE(cidr->contains(*ip));
    EXPECT_TRUE(addresses.insert(ip->to_string()).second);
  }
  // Deleted gracefully: gone soon although the grace period is 30 s.
  apply(deployment(50, true));
  EXPECT_TRUE(eventually([&] { return items("pods").size() == 50; }, 10000));
  EXPECT_EQ(end_sim(), 0) << said();
  EXPECT_NE(said().find("removed 300 nodes"), std::string::npos) << said();
  EXPECT_EQ(items("nodes").size(), 0u);
  EXPECT_TRUE(eventually([&] { return items("leases -n kube-node-lease").empty(); }, 10000));
  // What the Deployment wants again has nowhere to go.
  EXPECT_TRUE(eventually([&] { return items("pods").size() == 50 && ready("pods") == 0; }, 10000));
}

TEST_F(Sim, PodsThatDoNotTolerateItStayAway) {
  start_sim("3");
  ASSERT_TRUE(says("3 nodes Ready")) << said();
  apply(deployment(2, false));
  std::string output;
  EXPECT_TRUE(eventually([&] {
    return trama("events", &output) == 0 && output.find("untolerated taint") != std::string::npos;
  })) << output;
  EXPECT_EQ(ready("pods"), 0u);
  EXPECT_EQ(end_sim(), 0);
  start_sim("3 --no-taint");  // the control: without the taint the same pods run
  EXPECT_TRUE(eventually([&] { return ready("pods") == 2; }, 15000)) << said();
}

TEST_F(Sim, JobsComplete) {
  start_sim("2 --no-taint");
  apply(
      "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  completions: 5\n  parallelism: 2\n  template:\n"
      "    spec:\n      restartPolicy: Never\n      containers: [{name: c, image: host}]\n");
  EXPECT_TRUE(eventually([&] { return condition(items("jobs").at(0), "Complete") == "True"; }, 20000)) << said();
}

TEST_F(Sim, ASilentNodeIsMissedAndComesBack) {
  start_sim("4");
  ASSERT_TRUE(says("4 nodes Ready")) << said();
  auto state = [&](const std::string& name) {
    for (const auto& n : items("nodes"))
      if (api::text_at(n, "metadata.name") == name) return condition(n, "Ready");
    return std::string("no such node");
  };
  auto annotate = [&](const char* value) {
    std::string output;
    std::ofstream(directory_ + "/silent.yaml") << fmt::format(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: sim-0002\n  annotations: "
        "{{trama.dev/simulated-silent: \"{}\"}}\n",
        value);
    ASSERT_EQ(trama("apply -f " + directory_ + "/silent.yaml", &output), 0) << output;
  };
  annotate("true");
  EXPECT_TRUE(eventually([&] { return state("sim-0002") == "Unknown"; }, 15000));
  EXPECT_EQ(state("sim-0001"), "True");
  annotate("false");
  EXPECT_TRUE(eventually([&] { return state("sim-0002") == "True"; }, 15000)) << said();
}

TEST_F(Sim, KeptNodesAreTakenOverAndANodeThatSomebodyDeletesStaysAway) {
  start_sim("5 --keep --no-taint");
  ASSERT_TRUE(says("5 nodes Ready")) << said();
  apply(deployment(6, false));
  ASSERT_TRUE(eventually([&] { return ready("pods") == 6; }, 15000));
  std::map<std::string, std::string> before;
  for (const auto& p : items("pods")) before[api::text_at(p, "metadata.name")] = api::text_at(p, "status.podIP");
  EXPECT_EQ(end_sim(), 0);
  EXPECT_EQ(items("nodes").size(), 5u);
  // Nobody renews their leases now.
  EXPECT_TRUE(eventually([&] { return ready("nodes") == 0; }, 15000));
  start_sim("5");
  EXPECT_TRUE(eventually([&] { return ready("nodes") == 5; }, 15000)) << said();
  EXPECT_TRUE(eventually([&] { return ready("pods") == 6; }, 15000)) << said();
  for (const auto& p : items("pods"))
    EXPECT_EQ(api::text_at(p, "status.podIP"), before[api::text_at(p, "metadata.name")]);
  ASSERT_EQ(trama("delete node sim-0003"), 0);
  apply(deployment(12, false));
  EXPECT_TRUE(eventually([&] { return ready("pods") == 12; }, 15000)) << said();
  EXPECT_EQ(items("nodes").size(), 4u);
  EXPECT_EQ(end_sim(SIGTERM), 0);
  EXPECT_EQ(items("nodes").size(), 0u);
}

TEST_F(Sim, ARealNodeOfThatNameIsLeftAlone) {
  apply("apiVersion: v1\nkind: Node\nmetadata: {name: sim-0002, labels: {mine: \"yes\"}}\nspec: {}\n");
  start_sim("3");
  EXPECT_TRUE(says("node sim-0002 exists and is not simulated: choose other names with --prefix")) << said();
  EXPECT_TRUE(says("removed")) << said();
  EXPECT_EQ(end_sim(0), 4) << "it ends by itself";
  auto left = items("nodes");
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(api::text_at(left[0], "metadata.labels.mine"), "yes");
}

TEST_F(Sim, LogsOfASimulatedPodSayWhyThereAreNone) {
  start_sim("1 --no-taint");
  apply("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: host}]}\n");
  ASSERT_TRUE(eventually([&] { return ready("pods") == 1; }, 15000)) << said();
  std::string output;
  EXPECT_NE(trama("logs p", &output), 0);
  EXPECT_NE(output.find("node sim-0001 is simulated"), std::string::npos) << output;
  EXPECT_NE(trama("exec p -- true", &output), 0);
  EXPECT_NE(output.find("node sim-0001 is simulated"), std::string::npos) << output;
}

// Whoever hears READY may end the controller at once: it ends well, however early the signal comes.
TEST_F(Sim, AControllerThatHasJustBecomeReadyEndsWell) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(controller_.stop(), 0) << controller_.log();
    ASSERT_TRUE(controller_.start());
  }
}

TEST_F(Sim, BadNumbersAreRefused) {
  std::string output;
  EXPECT_EQ(trama("sim nodes 0", &output), 2);
  EXPECT_NE(output.find("give a number from 1 to"), std::string::npos) << output;
  EXPECT_EQ(trama("sim nodes 3 --prefix Big", &output), 2);
  EXPECT_EQ(trama("sim nodes 3 --label x", &output), 2);
  EXPECT_EQ(trama("sim nodes many", &output), 2);
}

}  // namespace
}  // namespace trama::test
