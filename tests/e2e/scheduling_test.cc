// SPDX-License-Identifier: GPL-2.0-or-later
// The real kubectl, a real controller and simulated nodes in three zones: what people write about where pods run, and
// what they read when it can not be had.
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/e2e/support/controller_process.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

std::string kubectl_path() {
  if (const char* given = std::getenv("TRAMA_KUBECTL")) return given;
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  auto cached = std::string(source ? source : ".") + "/.cache/kubectl";
  return std::filesystem::exists(cached) ? cached : "/usr/bin/kubectl";
}

class Scheduling : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(directory_);
    auto started = controller_.start("--lab-timers --cluster-cidr 100.64.0.0/12");
    ASSERT_TRUE(started) << started.error().to_string();
    for (const char* zone : {"za", "zb", "zc"}) {
      auto log = fmt::format("{}/{}.log", directory_, zone);
      sims_.push_back(start_program(
          {binary_, "--kubeconfig", controller_.kubeconfig_path(), "sim", "nodes", "2", "--no-taint", "--prefix", zone,
           "--cpus", "2", "--lease-period", "1s", "--label", fmt::format("topology.kubernetes.io/zone={}", zone)},
          log));
      ASSERT_TRUE(eventually([&] { return read(log).find("Ready after") != std::string::npos; }, 20'000)) << read(log);
    }
  }
  void TearDown() override {
    for (auto pid : sims_) end_program(pid, SIGKILL);
    controller_.stop();
    std::filesystem::remove_all(directory_);
  }
  static std::string read(const std::string& file) {
    std::ifstream in(file);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::string kubectl(const std::string& arguments, const std::string& input = "") {
    std::ofstream(directory_ + "/in") << input;
    std::string out;
    shell(fmt::format("HOME={0} timeout 60 {1} --kubeconfig {2} --cache-dir {0}/cache {3} < {0}/in 2>&1", directory_,
                      kubectl_path(), controller_.kubeconfig_path(), arguments),
          &out);
    return out;
  }
  // A Deployment whose pods have that in their spec.
  void deploy(const std::string& name, int replicas, const std::string& spec) {
    auto said = kubectl("apply -f -", fmt::format(R"(apiVersion: apps/v1
kind: Deployment
metadata: {{name: {0}}}
spec:
  replicas: {1}
  selector: {{matchLabels: {{app: {0}}}}}
  template:
    metadata: {{labels: {{app: {0}}}}}
    spec:
      {2}
      containers: [{{name: c, image: host, resources: {{requests: {{cpu: 100m}}}}}}]
)",
                                                  name, replicas, spec));
    ASSERT_THAT(said, HasSubstr("deployment.apps/" + name)) << said;
  }
  // How many pods of the Deployment there are on each node, or in each zone; "" = on none.
  std::map<std::string, int> where(const std::string& name, bool zones = false) {
    std::istringstream words(
        kubectl("get pods -l app=" + name + " -o jsonpath='{range .items[*]}x{.spec.nodeName}{\" \"}{end}'"));
    std::map<std::string, int> out;
    for (std::string w; words >> w;) ++out[zones ? w.substr(1, 2) : w.substr(1)];
    return out;
  }
  bool becomes(const std::function<bool()>& done) { return eventually(done, 20'000); }
  using Where = std::map<std::string, int>;

  std::string directory_ = fmt::format("/tmp/trama-scheduling-{}", ::getpid());
  std::string binary_ = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "trama";
  ControllerProcess controller_{binary_, directory_ + "/controller"};
  std::vector<pid_t> sims_;
};

TEST_F(Scheduling, ByKubectl) {
  // One per node, and no more.
  deploy("lonely", 7,
         "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
         "[{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: lonely}}}]}}");
  ASSERT_TRUE(becomes([&] { return where("lonely").size() == 7; }));
  for (const auto& [node, n] : where("lonely")) EXPECT_EQ(n, 1) << node;
  EXPECT_TRUE(becomes([&] {
    return kubectl("describe pods -l app=lonely")
               .find(
                   "0/6 nodes are available: 6 node(s) didn't match pod anti-affinity rules. preemption: 0/6 nodes "
                   "are available: 6 No preemption victims found for incoming pod.") != std::string::npos;
  })) << kubectl("describe pods -l app=lonely");
  // What waits goes on when it can: one of them leaves.
  kubectl("scale deployment lonely --replicas=6");
  EXPECT_TRUE(becomes([&] { return !where("lonely").contains(""); }));

  // Evenly over zones; a replica by its database.
  deploy("even", 6,
         "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: "
         "DoNotSchedule, labelSelector: {matchLabels: {app: even}}}]");
  EXPECT_TRUE(becomes([&] { return where("even", true) == Where{{"za", 2}, {"zb", 2}, {"zc", 2}}; }));
  deploy("db", 1, "nodeSelector: {topology.kubernetes.io/zone: zb}");
  deploy("beside", 3,
         "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
         "[{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: db}}}]}}");
  EXPECT_TRUE(becomes([&] { return where("beside", true) == Where{{"zb", 3}}; }));

  // Too much for any; then somebody makes room in the rule.
  deploy("big", 1, "nodeSelector: {size: big}");
  EXPECT_TRUE(becomes([&] {
    return kubectl("get pods -l app=big -o jsonpath='{.items[0].status.conditions[0].message}'") ==
           "0/6 nodes are available: 6 node(s) didn't match Pod's node affinity/selector. preemption: 0/6 nodes are "
           "available: 6 Preemption is not helpful for scheduling.";
  }));
  kubectl("label node zc-0001 size=big");
  EXPECT_TRUE(becomes([&] { return where("big") == Where{{"zc-0001", 1}}; }));

  // Nonsense is refused at the door.
  EXPECT_THAT(kubectl("create -f -", R"(apiVersion: v1
kind: Pod
metadata: {name: x}
spec:
  topologySpreadConstraints: [{maxSkew: 0, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]
  containers: [{name: c, image: host}]
)"),
              HasSubstr("spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"));
}

}  // namespace
}  // namespace trama::test
