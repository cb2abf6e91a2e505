// SPDX-License-Identifier: GPL-2.0-or-later
// A lab whose node has a working servicelb: what the packet tests stand on.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "servicelb/kernel_linux.h"
#include "tests/kernel/servicelb/lab.h"

namespace trama::test {

base::IpPort at(const std::string& ip, std::uint16_t port);

// default/web at 10.96.0.10 and fd00:96::10: ports 80/tcp "http" and 80/udp "dns", node ports 30080, served by pods.
servicelb::Service web(std::vector<int> pods, bool v6 = true);
// Changes every endpoint of every port.
servicelb::Service with(servicelb::Service service, const std::function<void(servicelb::Endpoint&)>& change);

// The engine of the node, told synchronously. Its clock may be put forward.
class Traffic : public ::testing::Test {
 protected:
  Traffic();
  // Returns when everything is in the kernel, stale flows included.
  servicelb::PassOutcome tell(std::vector<servicelb::Service> services, bool look = false);
  servicelb::PassOutcome tell(std::vector<servicelb::Service> services, const servicelb::NodeFacts& facts);
  // So much time passes for the engine; what is due then is done.
  void forward(std::chrono::milliseconds by);
  // A new agent on what the old one left.
  servicelb::PassOutcome restart(std::vector<servicelb::Service> services);
  std::string listing(const std::string& what = "ruleset");

  servicelb::PassOutcome pass(servicelb::PassInput in);
  std::string ask(const PrivateNetns& from, servicelb::Protocol protocol, const base::IpPort& to,
                  int timeout_ms = 1000) {
    return ServiceLab::ask(from, protocol, to, timeout_ms);
  }
  // Which pods answered so many connections or flows, and how often. UDP flows have source ports that no earlier flow
  // had: conntrack still knows those.
  std::map<std::string, int> answers(const PrivateNetns& from, servicelb::Protocol protocol, const base::IpPort& to,
                                     int times, const std::optional<base::Ip>& source = {});

  ServiceLab lab;
  std::unique_ptr<nft::Session> session;
  std::unique_ptr<servicelb::LinuxKernel> kernel;
  std::unique_ptr<servicelb::Engine> engine;
  std::chrono::milliseconds ahead{0};
  std::uint16_t next_port = 10'000;
};

// "pod-1" of "pod-1 10.244.2.2"
std::string who(const std::string& answer);

// Pearson's statistic: how unlikely these counts are when outcomes have these weights. Other outcomes: infinite.
double chi_squared(const std::map<std::string, int>& counts, const std::map<std::string, double>& weights);

}  // namespace trama::test
