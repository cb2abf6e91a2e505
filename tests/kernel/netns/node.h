// SPDX-License-Identifier: GPL-2.0-or-later
// A node for sandbox tests: a network namespace of its own, and mounts of its own for /run, so that `ip netns` sees
// only what the test made and nothing outlives it.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include "netns/kernel_linux.h"
#include "netns/plan.h"
#include "tests/support/private_netns.h"

namespace trama::netns::test {

// Once per test program, before any thread exists.
struct PrivateMounts {
  PrivateMounts() {
    if (unshare(CLONE_NEWNS) < 0 || mount("", "/", "none", MS_REC | MS_PRIVATE, nullptr) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, nullptr) < 0)
      throw std::runtime_error("kernel tests need root: cannot make private mounts");
  }
};

inline Sandbox pod(const std::string& name, unsigned number, bool v6 = true) {
  Sandbox s;
  s.uid = fmt::format("{:08x}-0000-4000-8000-{:012x}", 0x7f3a0000u + number, number);
  s.ns = "default", s.name = name, s.hostname = name;
  s.network.netns_name = "default." + name;
  s.network.addresses = {
      Ip::v4(10, 244, static_cast<std::uint8_t>(number / 250), static_cast<std::uint8_t>(1 + number % 250))};
  if (v6) s.network.addresses.push_back(*Ip::parse(fmt::format("fd00:244::{:x}", number + 1)));
  s.network.hosts = "127.0.0.1 localhost\n";
  s.network.resolv_conf = "nameserver 10.96.0.10\n";
  s.network.connection_limit = 16384;
  return s;
}

// The machine below one agent, which can be killed and started again.
class Node {
 public:
  Node() {
    static std::atomic<int> number{0};
    std::string dir = fmt::format("/run/node{}", ++number);
    paths.run_dir = dir + "/trama";
    paths.netns_dir = "/run/netns";
    paths.etc_netns_dir = dir + "/etc-netns";
    start();
  }
  ~Node() {
    stop();
    trama::test::shell("cd /run/netns && for f in *; do umount -l $f; rm -f $f; done");
  }

  void start() {
    in([&] {
      auto opened = nft::Session::open();
      if (!opened) throw std::runtime_error(opened.error().to_string());
      session = std::make_unique<nft::Session>(std::move(*opened));
      KernelLinux::Options options;
      options.paths = paths;
      options.at_step = at_step;
      auto k = KernelLinux::open(options, *session, *processes);
      if (!k) throw std::runtime_error(k.error().to_string());
      kernel = std::move(*k);
    });
  }
  // As after kill -9: whatever the process knew is gone, the kernel's state stays.
  void stop() {
    kernel.reset();
    session.reset();
  }
  void restart() {
    stop();
    start();
  }

  void in(const std::function<void()>& job) { net.run(job); }
  Observed observe() {
    Observed out;
    in([&] {
      auto seen = kernel->observe();
      if (!seen) throw std::runtime_error(seen.error().to_string());
      out = std::move(*seen);
    });
    return out;
  }
  // One pass; the texts of what was done, and the failures.
  std::vector<std::string> pass(std::vector<std::string>* failures = nullptr) {
    std::vector<std::string> done;
    auto have = observe();
    in([&] {
      for (const auto& op : plan(desired, have)) {
        done.push_back(to_text(op));
        auto r = kernel->apply(op);
        if (!r && failures) failures->push_back(r.error().to_string());
        if (!r && !failures) ADD_FAILURE() << done.back() << ": " << r.error().to_string();
      }
    });
    return done;
  }
  // Passes until there is nothing to do; false when that does not come.
  bool converge() {
    for (int i = 0; i < 5; ++i)
      if (pass().empty()) return true;
    return false;
  }
  void want(const Sandbox& s) { desired.sandboxes[s.uid] = s; }
  std::string shell(const std::string& command) {
    std::string out;
    net.shell(command, &out);
    return out;
  }
  int run(const std::string& command) { return net.shell(command); }
  std::string in_pod(const Sandbox& s, const std::string& command, int* code = nullptr) {
    std::string out;
    int c = trama::test::shell(fmt::format("nsenter --net=/run/netns/{} -- sh -c '{}'", s.network.netns_name, command),
                               &out);
    if (code) *code = c;
    return out;
  }

  trama::test::PrivateNetns net;
  Paths paths;
  std::unique_ptr<nft::Session> session;
  std::unique_ptr<ProcessPort> processes = std::make_unique<NoProcesses>();
  std::unique_ptr<KernelLinux> kernel;
  std::function<void(const char*)> at_step;
  Desired desired;
};

}  // namespace trama::netns::test
