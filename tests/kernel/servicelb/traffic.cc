// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/servicelb/traffic.h"

#include <limits>
#include <stdexcept>

#include <gmock/gmock.h>

namespace trama::test {
using servicelb::Clock;
using servicelb::Engine;
using servicelb::LinuxKernel;
using servicelb::PassInput;
using servicelb::PassOutcome;
using servicelb::Protocol;
using servicelb::Service;
using servicelb::ServicePort;

base::IpPort at(const std::string& ip, std::uint16_t port) { return {*base::Ip::parse(ip), port}; }

Service web(std::vector<int> pods, bool v6) {
  Service s;
  s.key = {"default", "web"};
  s.cluster_ips = {*base::Ip::parse("10.96.0.10")};
  if (v6) s.cluster_ips.push_back(*base::Ip::parse("fd00:96::10"));
  for (Protocol p : {Protocol::tcp, Protocol::udp}) {
    ServicePort port;
    port.name = p == Protocol::tcp ? "http" : "dns";
    port.protocol = p, port.port = 80, port.node_port = 30080;
    for (int pod : pods) {
      port.endpoints.push_back(ServiceLab::endpoint(pod));
      if (v6) port.endpoints.push_back(ServiceLab::endpoint(pod, true));
    }
    std::sort(port.endpoints.begin(), port.endpoints.end());
    s.ports.push_back(port);
  }
  return s;
}

Service with(Service service, const std::function<void(servicelb::Endpoint&)>& change) {
  for (auto& port : service.ports) {
    for (auto& e : port.endpoints) change(e);
    std::sort(port.endpoints.begin(), port.endpoints.end());
  }
  return service;
}

Traffic::Traffic() : lab(3) {
  lab.node().run([&] {
    auto s = nft::Session::open();
    if (!s) throw std::runtime_error(s.error().to_string());
    session = std::make_unique<nft::Session>(std::move(*s));
    auto k = LinuxKernel::open(*session);
    if (!k) throw std::runtime_error(k.error().to_string());
    kernel = std::move(*k);
  });
  engine = std::make_unique<Engine>(*kernel);
}

// Netlink sockets stay in their namespace: the engine may run on this thread.
PassOutcome Traffic::pass(PassInput in) {
  auto out = engine->pass(std::move(in), Clock::now() + ahead);
  // conntrack is asked in rations: the reconciler would come back by itself
  EXPECT_TRUE(eventually([&] { return !out.retry || !engine->pass({}, Clock::now() + ahead).retry; }));
  EXPECT_TRUE(out.committed) << ::testing::PrintToString(out.failures);
  EXPECT_THAT(out.failures, ::testing::IsEmpty());
  return out;
}
PassOutcome Traffic::tell(std::vector<Service> services, const servicelb::NodeFacts& facts) {
  PassInput in;
  for (auto& s : services) in.changes.push_back({s.key, s});
  in.node = facts;
  return pass(std::move(in));
}
PassOutcome Traffic::tell(std::vector<Service> services, bool look) {
  PassInput in;
  for (auto& s : services) in.changes.push_back({s.key, s});
  in.node = lab.facts();
  in.look = look;
  return pass(std::move(in));
}
void Traffic::forward(std::chrono::milliseconds by) {
  ahead += by;
  pass({});
}
PassOutcome Traffic::restart(std::vector<Service> services) {
  engine = std::make_unique<Engine>(*kernel);
  return tell(std::move(services));
}

std::string Traffic::listing(const std::string& what) {
  std::string text;
  EXPECT_EQ(lab.node().shell("nft list " + what, &text), 0) << text;
  return text;
}

std::map<std::string, int> Traffic::answers(const PrivateNetns& from, Protocol protocol, const base::IpPort& to,
                                            int times, const std::optional<base::Ip>& source) {
  std::map<std::string, int> out;
  from.run([&] {
    for (int i = 0; i < times; ++i) {
      std::uint16_t port = protocol == Protocol::udp ? next_port++ : std::uint16_t{0};
      ++out[who(ServiceLab::ask_here(protocol, to, 2000, source, port))];
    }
  });
  return out;
}

std::string who(const std::string& answer) {
  return answer.starts_with("pod-") ? answer.substr(0, answer.find(' ')) : answer;
}

double chi_squared(const std::map<std::string, int>& counts, const std::map<std::string, double>& weights) {
  double total = 0, sum = 0, all = 0;
  for (const auto& [name, n] : counts) {
    if (!weights.contains(name)) return std::numeric_limits<double>::infinity();
    total += n;
  }
  for (const auto& [name, weight] : weights) all += weight;
  for (const auto& [name, weight] : weights) {
    double expected = total * weight / all;
    auto it = counts.find(name);
    double n = it == counts.end() ? 0 : it->second;
    sum += (n - expected) * (n - expected) / expected;
  }
  return sum;
}

}  // namespace trama::test
