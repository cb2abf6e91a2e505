// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/servicelb/running_reconciler.h"

#include <sstream>

#include <fmt/format.h>

namespace trama::test {
using base::Cidr;
using base::Ip;
using servicelb::Endpoint;
using servicelb::NodeFacts;
using servicelb::Service;
using servicelb::ServicePort;

Service service(int i, int endpoints) {
  Service s;
  s.key = {"default", fmt::format("web-{:04}", i)};
  s.cluster_ips = {Ip::v4(10, 96, static_cast<std::uint8_t>(i / 250 + 1), static_cast<std::uint8_t>(i % 250 + 1)),
                   Ip::parse(fmt::format("fd00:96::{:x}", i + 1)).value_or(Ip())};
  ServicePort p;
  p.name = "http", p.port = 80;
  if (i < 100) p.node_port = static_cast<std::uint16_t>(30000 + i);
  for (int n = 0; n < endpoints; ++n) {
    Endpoint e;
    e.pod = fmt::format("default/web-{:04}-{}", i, n), e.port = 8080;
    e.ip = Ip::v4(10, 244, static_cast<std::uint8_t>(i % 200), static_cast<std::uint8_t>(n + 1));
    p.endpoints.push_back(e);
    e.ip = Ip::parse(fmt::format("fd00:244:{:x}::{:x}", i, n + 1)).value_or(Ip());
    p.endpoints.push_back(e);
  }
  s.ports = {p};
  return s;
}
NodeFacts facts() {
  NodeFacts f;
  f.service_cidrs = {*Cidr::parse("10.96.0.0/16"), *Cidr::parse("fd00:96::/112")};
  f.pod_cidrs = {*Cidr::parse("10.244.0.0/16"), *Cidr::parse("fd00:244::/32")};
  f.local_pods = {Ip::v4(10, 244, 1, 2), *Ip::parse("fd00:244:1::2")};
  return f;
}

std::string listing(const PrivateNetns& ns, const std::string& what) {
  std::string text;
  EXPECT_EQ(ns.shell("nft list " + what, &text), 0) << text;
  return text;
}
std::vector<std::string> sorted_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::string flat;
  for (char c : text) flat += c == ',' ? '\n' : c;
  std::istringstream in(flat);
  for (std::string line; std::getline(in, line);) {
    auto from = line.find_first_not_of(" \t");
    if (from == std::string::npos) continue;
    line = line.substr(from);
    if (line.starts_with("elements = { ")) line = line.substr(13);
    if (line.ends_with(" }")) line.resize(line.size() - 2);
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace trama::test
