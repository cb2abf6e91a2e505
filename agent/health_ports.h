// SPDX-License-Identifier: GPL-2.0-or-later
// healthCheckNodePort: what load balancers ask to learn which nodes have endpoints of a Service.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/api/http_server.h"
#include "base/log.h"
#include "servicelb/model.h"

namespace trama::agent {

// One port per Service, as kube-proxy serves it: 200 while this node has a ready endpoint and the proxy is healthy,
// else 503. A port that cannot be opened is named, tried again, and hurts no other. Everything on one executor.
class HealthPorts {
 public:
  struct Options {
    std::vector<base::Ip> addresses;         // of this node
    std::chrono::milliseconds retry{5'000};  // of ports that could not be opened
  };
  struct Events {
    std::function<bool()> proxy_healthy;  // asked for each answer
    // Said once per Service and reason.
    std::function<void(const servicelb::ServiceKey&, const std::string& line)> failed;
  };
  HealthPorts(async::asio::any_io_executor ex, Options options, Events events);
  ~HealthPorts();

  // Cheap; port 0 = this Service has none (any more).
  void set(const servicelb::ServiceKey& key, std::uint16_t port, std::size_t local_endpoints);
  // Other addresses of this node from now on.
  void use_addresses(std::vector<base::Ip> addresses);
  // "default/web: health check port 31234: listen on 192.0.2.1:31234: Address already in use"
  std::vector<std::string> failures() const;
  std::size_t open() const { return open_.size(); }

  // Opens and closes ports until cancelled; then stop() closes all of them.
  awaitable<void> run();
  awaitable<void> stop();

 private:
  struct Check {
    std::uint16_t port = 0;
    std::size_t local_endpoints = 0;
  };
  struct Open {
    std::uint16_t port = 0;
    std::vector<base::Ip> at;
    std::unique_ptr<HttpServer> server;
  };
  awaitable<void> close_unwanted();
  void open_missing();
  HttpReply answer(const servicelb::ServiceKey& key) const;

  async::asio::any_io_executor ex_;
  Options options_;
  Events events_;
  async::Event wake_;
  std::map<servicelb::ServiceKey, Check> checks_;
  std::map<servicelb::ServiceKey, Open> open_;
  std::map<servicelb::ServiceKey, std::string> failures_;
};

}  // namespace trama::agent
