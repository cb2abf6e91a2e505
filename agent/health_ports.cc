// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/health_ports.h"

#include <boost/json.hpp>

namespace trama::agent {

namespace json = boost::json;
using servicelb::ServiceKey;

namespace {
constexpr std::size_t kConnections = 16;  // a Service: load balancers ask one question every few seconds
}  // namespace

HealthPorts::HealthPorts(async::asio::any_io_executor ex, Options options, Events events)
    : ex_(ex), options_(std::move(options)), events_(std::move(events)), wake_(ex) {}
HealthPorts::~HealthPorts() = default;

void HealthPorts::set(const ServiceKey& key, std::uint16_t port, std::size_t local_endpoints) {
  auto known = checks_.find(key);
  if (port == 0) {
    if (known == checks_.end()) return;
    checks_.erase(known);
    wake_.set();
    return;
  }
  bool moved = known == checks_.end() || known->second.port != port;
  checks_[key] = {port, local_endpoints};
  if (moved) wake_.set();
}

std::vector<std::string> HealthPorts::failures() const {
  std::vector<std::string> out;
  for (const auto& [key, line] : failures_) out.push_back(line);
  return out;
}

awaitable<void> HealthPorts::run() {
  for (;;) {
    if (failures_.empty())
      co_await wake_.wait();
    else
      (void)co_await wake_.wait_for(options_.retry);
    co_await close_unwanted();
    open_missing();
  }
}

// Closed before others are opened: a port may have moved from one Service to another.
awaitable<void> HealthPorts::close_unwanted() {
  for (auto it = open_.begin(); it != open_.end();) {
    auto wanted = checks_.find(it->first);
    if (wanted != checks_.end() && wanted->second.port == it->second.port && it->second.at == options_.addresses) {
      ++it;
      continue;
    }
    co_await it->second.server->stop();
    it = open_.erase(it);
  }
  for (auto it = failures_.begin(); it != failures_.end();)
    it = checks_.contains(it->first) ? std::next(it) : failures_.erase(it);
}

void HealthPorts::open_missing() {
  for (const auto& [key, check] : checks_) {
    if (open_.contains(key)) continue;
    HttpServerOptions options;
    options.name = "health checks";
    options.connections = kConnections;
    for (const auto& ip : options_.addresses) options.listen.push_back({ip, check.port});
    HttpHandler handler = [this, key](HttpRequest, HttpExchange& exchange) -> awaitable<void> {
      auto reply = answer(key);
      co_await exchange.reply(reply);
    };
    auto fail = [&](std::string why) {
      auto line = fmt::format("{}: health check port {}: {}", key.to_string(), check.port, why);
      auto& known = failures_[key];
      if (known != line && events_.failed) events_.failed(key, line);
      known = std::move(line);
    };
    if (options.listen.empty()) {
      fail("no address of this node may have node ports");
      continue;
    }
    auto server = HttpServer::start(ex_, std::move(options), std::move(handler));
    if (!server) {
      fail(server.error().to_string());
      continue;
    }
    open_[key] = {check.port, options_.addresses, std::move(*server)};
    failures_.erase(key);
  }
}

void HealthPorts::use_addresses(std::vector<base::Ip> addresses) {
  if (addresses == options_.addresses) return;
  options_.addresses = std::move(addresses);
  wake_.set();
}

HttpReply HealthPorts::answer(const ServiceKey& key) const {
  auto it = checks_.find(key);
  std::size_t local = it != checks_.end() ? it->second.local_endpoints : 0;
  bool healthy = !events_.proxy_healthy || events_.proxy_healthy();
  json::object service;
  service["namespace"] = key.ns;
  service["name"] = key.name;
  json::object body;
  body["service"] = std::move(service);
  body["localEndpoints"] = local;
  body["serviceProxyHealthy"] = healthy;
  HttpReply out;
  out.status = local > 0 && healthy ? 200 : 503;
  out.headers = {{"X-Content-Type-Options", "nosniff"}, {"X-Load-Balancing-Endpoint-Weight", std::to_string(local)}};
  out.body = json::serialize(body);
  return out;
}

awaitable<void> HealthPorts::stop() {
  checks_.clear();
  co_await close_unwanted();
}

}  // namespace trama::agent
