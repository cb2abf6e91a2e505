// SPDX-License-Identifier: GPL-2.0-or-later
// A run directory, a cgroup root and a network namespace of a test's own, and proof that nothing of them is left.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "netns/exec.h"
#include "netns/log_file.h"
#include "netns/process.h"
#include "tests/support/private_netns.h"

namespace trama::netns {

class ProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0u) << "kernel tests need root";
    ASSERT_NE(std::getenv("TRAMA_POD_ENTRY"), nullptr) << "run this by ctest";
    char name[] = "/tmp/trama-process-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    scratch_ = name;
    auto cgroups = CgroupRoot::open(root_);
    ASSERT_TRUE(cgroups) << cgroups.error().to_string();
    pods_.emplace(options(), std::move(*cgroups));
  }

  void TearDown() override {
    if (!pods_) return;
    for (const Uid& uid : pods_->list()) {
      auto removed = pods_->remove(uid);
      EXPECT_TRUE(removed) << removed.error().to_string();
    }
    EXPECT_EQ(leftovers(), "");
    std::filesystem::remove_all(scratch_);
  }

  // Everything of this test that is still on the machine, after the pods have been removed.
  std::string leftovers() {
    std::string out;
    for (const std::string& directory : pods_->cgroups().directories("none")) {
      std::string ours = directory.substr(0, directory.rfind('/'));
      for (std::error_code e; const auto& entry : std::filesystem::directory_iterator(ours, e))
        if (entry.is_directory()) out += entry.path().string() + "\n";
    }
    if (auto r = pods_->cgroups().remove_root(); !r) out += r.error().to_string() + "\n";
    for (const std::string& directory : pods_->cgroups().directories("none"))
      if (std::filesystem::exists(directory.substr(0, directory.find("/trama-test-") + 12))) out += directory + "\n";
    for (std::error_code e; const auto& entry : std::filesystem::directory_iterator(scratch_ + "/run/pods", e))
      out += entry.path().string() + "\n";
    std::istringstream lines(base::read_file("/proc/self/mountinfo", 16 << 20).value_or(std::string()));
    for (std::string line; std::getline(lines, line);)
      if (line.find(scratch_) != std::string::npos) out += line + "\n";
    for (pid_t pid : inits_)
      if (!test::eventually([&] { return gone(pid); })) out += "process " + std::to_string(pid) + "\n";
    return out;
  }

  // A zombie is gone too: reaping orphans is the business of the machine's init.
  static bool gone(pid_t pid) {
    auto text = base::read_file("/proc/" + std::to_string(pid) + "/stat");
    return !text || text->find(") Z ") != std::string::npos;
  }

  // Processes of the pod, its init included, that are not dead yet.
  std::size_t live(const Uid& uid) {
    std::size_t n = 0;
    std::string group = pods_->cgroups().directories("pod-" + uid).back();
    for (std::error_code e; const auto& entry : std::filesystem::directory_iterator(group, e))
      if (auto text = base::read_file(entry.path().string() + "/cgroup.procs"))
        n += static_cast<std::size_t>(std::count(text->begin(), text->end(), '\n'));
    return n;
  }

  PodProcesses::Options options() const {
    PodProcesses::Options o;
    o.run_dir = scratch_ + "/run";
    o.executable = std::getenv("TRAMA_POD_ENTRY");
    return o;
  }

  // One container that runs `script` by sh, with restarts that do not take minutes.
  PodSpec pod(const std::string& script, RestartPolicy restart = RestartPolicy::never) {
    PodSpec s;
    s.uid = "u" + std::to_string(++made_);
    s.ns = "default", s.name = "web", s.hostname = "web-0";
    s.netns_path = network_.path();
    s.restart = restart;
    s.grace = std::chrono::milliseconds(2000);
    s.timing.base = std::chrono::milliseconds(200);
    s.timing.highest = std::chrono::milliseconds(400);
    ContainerSpec c;
    c.name = "main";
    c.command = {"sh", "-c", script};
    s.containers.push_back(c);
    return s;
  }

  RunningPod start(const PodSpec& spec) {
    auto running = pods_->start(spec);
    EXPECT_TRUE(running) << running.error().to_string();
    if (!running) return {};
    inits_.push_back(running->pid);
    return std::move(*running);
  }
  // Starts it and waits until its container has printed `word`.
  RunningPod start_until(const PodSpec& spec, const std::string& word) {
    RunningPod p = start(spec);
    EXPECT_TRUE(test::eventually([&] { return output(spec.uid).find(word) != std::string::npos; }, 15000))
        << story(spec.uid);
    return p;
  }

  ContainerStatus container(const Uid& uid, std::size_t i = 0) {
    auto status = pods_->read_status(uid);
    if (!status || status->containers.size() <= i) return {};
    return status->containers[i];
  }
  bool finished(const Uid& uid) {
    auto status = pods_->read_status(uid);
    return status && status->finished;
  }
  std::string story(const Uid& uid) {
    auto status = pods_->read_status(uid);
    return (status ? to_json(*status) : status.error().to_string()) + output(uid) +
           base::read_file(pods_->directory(uid) + "/init.log").value_or(std::string());
  }

  std::string output(const Uid& uid, const std::string& name = "main") {
    std::string all;
    LogReader reader(pods_->log_path(uid, name), {});
    for (;;) {
      auto more = reader.read([&](const LogLine& l) {
        all += l.text + (l.partial ? "" : "\n");
        return true;
      });
      if (!more || !*more) return all;
    }
  }

  // Runs the pod to its end and returns what its container printed.
  std::string run(const PodSpec& spec) {
    start(spec);
    EXPECT_TRUE(test::eventually([&] { return finished(spec.uid); }, 20000)) << story(spec.uid);
    return output(spec.uid);
  }

  struct Captured {
    int code = -1;
    std::string out, err;
  };
  static std::string drain(int fd) {
    std::string all;
    char chunk[4096];
    for (ssize_t n; (n = ::read(fd, chunk, sizeof chunk)) > 0;) all.append(chunk, static_cast<std::size_t>(n));
    return all;
  }
  Captured exec(const Uid& uid, std::vector<std::string> command) {
    ExecRequest request;
    request.uid = uid;
    request.command = std::move(command);
    auto process = start_exec(*pods_, request);
    EXPECT_TRUE(process) << process.error().to_string();
    Captured c;
    if (!process) return c;
    c.out = drain(process->stdout_r.get());
    c.err = drain(process->stderr_r.get());
    c.code = process->wait().value_or(-1);
    return c;
  }

  test::PrivateNetns network_;
  std::string root_ = "trama-test-" + std::to_string(::getpid()) + ".slice/node";
  std::string scratch_;
  std::optional<PodProcesses> pods_;
  std::vector<pid_t> inits_;
  int made_ = 0;
};

}  // namespace trama::netns
