// SPDX-License-Identifier: GPL-2.0-or-later
// What a NodeAgent answers on its ports.
#include <algorithm>

#include "agent/api/exec.h"
#include "agent/api/logs.h"
#include "agent/node_agent.h"
#include "agent/peer_pages.h"
#include "control/client/join.h"
#include "control/pki/renewal.h"

namespace trama::agent {

namespace {

constexpr auto kRenewalPause = std::chrono::milliseconds(500);        // between two tries at a serving certificate
constexpr const char* kAboutToGo = "ToBeDeletedByClusterAutoscaler";  // kube-proxy looks for the same taint

HttpReply plain(int status, std::string text) {
  HttpReply out;
  out.status = status;
  out.content_type = "text/plain; charset=utf-8";
  out.body = std::move(text);
  return out;
}

HttpReply as_json(const json::value& value) {
  HttpReply out;
  out.body = json::serialize(value) + "\n";
  return out;
}

json::object desired_page(const netns::Desired* sandboxes, const overlay::Desired* overlay) {
  json::array boxes;
  if (sandboxes) {
    for (const auto& [uid, box] : sandboxes->sandboxes) {
      json::object item;
      item["uid"] = uid;
      item["pod"] = box.ns + "/" + box.name;
      item["netns"] = box.network.netns_name;
      json::array ips;
      for (const auto& ip : box.network.addresses) ips.emplace_back(ip.to_string());
      item["addresses"] = std::move(ips);
      item["mtu"] = box.network.mtu;
      item["stopping"] = box.stop_with_grace.has_value();
      json::array containers;
      for (const auto& c : box.containers) containers.emplace_back(c.name);
      item["containers"] = std::move(containers);
      boxes.push_back(std::move(item));
    }
  }
  json::array peers;
  if (overlay) {
    for (const auto& [name, peer] : overlay->peers) {
      json::object item;
      item["node"] = name;
      item["underlay"] = peer.underlay.to_string();
      json::array cidrs;
      for (const auto& cidr : peer.pod_cidrs) cidrs.emplace_back(cidr.to_string());
      item["podCIDRs"] = std::move(cidrs);
      peers.push_back(std::move(item));
    }
  }
  json::object out;
  out["sandboxes"] = std::move(boxes);
  out["peers"] = std::move(peers);
  return out;
}

const json::object* container_of(const api::Object& pod, const std::string& name) {
  for (const auto& value : api::array_at(pod.body, "spec.containers"))
    if (value.is_object() && api::text_at(value.get_object(), "name") == name) return &value.get_object();
  return nullptr;
}

}  // namespace

AgentFacts NodeAgent::facts() const {
  AgentFacts out;
  out.node = settings_.options.node_name;
  out.server = identity_.server;
  out.connected = feed_->connected();
  out.connection_trouble = feed_->trouble();
  out.started_at = started_at_;
  out.now = now_seconds();
  if (auto node = view_.node(out.node)) {
    out.node_deleting = is_being_deleted(*node);
    for (const auto& taint : api::array_at(node->body, "spec.taints"))
      if (taint.is_object() && api::text_at(taint.get_object(), "key") == kAboutToGo) out.node_excluded = true;
    for (const auto& value : api::array_at(node->body, "status.conditions")) {
      if (!value.is_object() || api::text_at(value.get_object(), "type") != "Ready") continue;
      out.ready = api::text_at(value.get_object(), "status") == "True";
      out.reason = api::text_at(value.get_object(), "reason");
      out.message = api::text_at(value.get_object(), "message");
    }
  }
  out.sandboxes = sandbox_facts_;
  out.overlay = overlay_facts_;
  out.services = service_facts_;
  out.services.generation = rooms_->services().generation();
  out.services.programmed = rooms_->services().programmed_generation();
  auto revisions = services_->revisions();
  out.service_revision = revisions.services;
  out.slice_revision = revisions.slices;
  out.services_count = services_->totals().services;
  auto pods = pods_->summary();
  out.pods = pods.pods;
  out.pods_ready = pods.ready;
  out.sandboxes_count = pods.sandboxes;
  out.addresses = pods.addresses;
  out.holding = pods.holding;
  out.troubles = pods.troubles;
  auto localhost = localhost_ports_ ? localhost_ports_->failures() : std::vector<std::string>();
  auto dns = dns_ ? dns_->failures() : std::vector<std::string>();
  if (dns_) out.dns = dns_->counters();
  for (const auto& lines : {services_->refusals(), health_ports_->failures(), localhost, dns, topology_.refusals})
    out.troubles.insert(out.troubles.end(), lines.begin(), lines.end());
  if (overlay_status_) {
    out.peers = overlay_status_->peers;
    out.mtu = overlay_status_->mtu;
    out.uplink = overlay_status_->uplink;
    out.overlay_mode = overlay_status_->mode == overlay::Mode::nexthop ? "nexthop" : "fdb";
    out.troubles.insert(out.troubles.end(), overlay_status_->problems.begin(), overlay_status_->problems.end());
  }
  for (const auto& cidr : topology_.pod_cidrs) out.pod_cidrs.push_back(cidr.to_string());
  out.obstacles = obstacles_;
  if (peers_seen_) out.overlay_paths = overlay_brief(*peers_seen_);
  out.api_requests = reporter_->requests();
  out.lease_renewals = reporter_->lease_renewals();
  out.stale = services_stale();
  out.services_updated_at = base::format_seconds(service_metrics_.updated());
  return out;
}

HttpReply NodeAgent::reply_to(const Ask& ask) const {
  if (std::holds_alternative<AskHealth>(ask)) return plain(200, "ok");
  if (std::holds_alternative<AskStatus>(ask)) return as_json(status_page(facts()));
  if (std::holds_alternative<AskDesired>(ask))
    return as_json(desired_page(rooms_->sandboxes().get().get(), rooms_->overlay().get().get()));
  if (std::holds_alternative<AskPlan>(ask)) {
    std::string text;
    for (const auto& line : rooms_->last_plans()) text += line + "\n";
    return plain(200, text);
  }
  json::array items;
  for (const auto& [name, pod] : view_.pods()) items.push_back(reporter_->newest(pod)->body);
  json::object list;
  list["kind"] = "PodList";
  list["apiVersion"] = "v1";
  list["metadata"] = json::object();
  list["items"] = std::move(items);
  return as_json(list);
}

awaitable<void> NodeAgent::serve_page(HttpRequest request, HttpExchange& exchange) {
  auto ask = parse_route(request);
  if (!ask) {
    auto refusal =
        plain(ask.error().is(std::errc::no_such_file_or_directory) ? 404 : 400, ask.error().to_string() + "\n");
    co_await exchange.reply(refusal);
    co_return;
  }
  if (auto* service = std::get_if<AskService>(&*ask)) {
    co_await serve_service(std::move(*service), exchange);
    co_return;
  }
  if (auto* overlay = std::get_if<AskOverlay>(&*ask)) {
    co_await serve_overlay(std::move(overlay->page), exchange);
    co_return;
  }
  auto* logs = std::get_if<AskLogs>(&*ask);
  auto* exec = std::get_if<AskExec>(&*ask);
  if (!logs && !exec) {
    auto answer = reply_to(*ask);
    co_await exchange.reply(answer);
    co_return;
  }
  const auto& where = logs ? logs->where : exec->where;
  auto pod = view_.pod(where.ns, where.pod);
  if (!pod || !container_of(*pod, where.container)) {
    auto sentence = pod ? fmt::format("pod {}/{} has no container {}\n", where.ns, where.pod, where.container)
                        : fmt::format("pod {}/{} is not on this node\n", where.ns, where.pod);
    auto refusal = plain(404, std::move(sentence));
    co_await exchange.reply(refusal);
    co_return;
  }
  if (exec) {
    co_await serve_exec(std::move(*exec), pod->uid, *processes_, pod_files_.executor(), exchange);
    co_return;
  }
  LogSource source;
  source.path = processes_->log_path(pod->uid, where.container);
  source.files = pod_files_.executor();
  source.may_grow = [this, uid = pod->uid, container = where.container] { return pods_->may_log_more(uid, container); };
  co_await serve_logs(std::move(*logs), std::move(source), exchange);
}

awaitable<void> NodeAgent::serve_plain(HttpRequest request, HttpExchange& exchange) {
  HttpReply answer;
  if (request.path == "/healthz" || request.path == "/livez") {
    bool livez = request.path == "/livez";
    answer.body = health_page(facts(), !livez, answer.status);
    answer.headers = {{"X-Content-Type-Options", "nosniff"}};
    service_metrics_.answered(livez, answer.status);
  } else if (request.path == "/metrics") {
    answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
    auto counted = co_await counted_endpoints();
    answer.body = metrics_page(facts()) + service_metrics_.text(services_->totals(), counted);
  } else if (request.path == "/proxyMode") {
    answer = plain(200, "nftables");
  } else {
    answer = plain(404, "no such page\n");
  }
  co_await exchange.reply(answer);
}

base::Result<> NodeAgent::start_health() {
  auto port = settings_.options.ports.health;
  if (port == 0) return {};
  HttpHandler handler = [this](HttpRequest request, HttpExchange& exchange) {
    return serve_plain(std::move(request), exchange);
  };
  HttpServerOptions options;
  options.name = "health";
  options.refused_sources = settings_.cluster_cidrs;
  options.early = true;
  for (const auto& ip : settings_.node_ips) options.listen.push_back({ip, port});
  options.listen.push_back({base::Ip::v4(127, 0, 0, 1), port});
  auto server = HttpServer::start(brain_, std::move(options), std::move(handler));
  if (!server) return base::Error(server.error()).in("health page (--health-port)");
  health_ = std::move(*server);
  return {};
}

base::Result<> NodeAgent::start_plain_servers() {
  const auto& ports = settings_.options.ports;
  HttpHandler handler = [this](HttpRequest request, HttpExchange& exchange) {
    return serve_plain(std::move(request), exchange);
  };
  if (auto started = start_health(); !started) return started;
  if (ports.metrics != 0) {
    HttpServerOptions options;
    options.name = "metrics";
    options.listen.push_back({base::Ip::v4(127, 0, 0, 1), ports.metrics});
    auto server = HttpServer::start(brain_, std::move(options), handler);
    if (!server) return base::Error(server.error()).in("metrics page (--metrics-port)");
    metrics_ = std::move(*server);
  }
  if (ports.overlay_status != 0) {
    HttpServerOptions options;
    options.name = "overlay status";
    options.listen.push_back({base::Ip::v4(127, 0, 0, 1), ports.overlay_status});
    HttpHandler pages = [this](HttpRequest request, HttpExchange& exchange) -> awaitable<void> {
      auto page = request.path.substr(request.path.starts_with('/') ? 1 : 0);
      if (page.starts_with("status/")) page.erase(0, 7);
      return serve_overlay(std::move(page), exchange);
    };
    auto server = HttpServer::start(brain_, std::move(options), std::move(pages));
    if (!server) return base::Error(server.error()).in("overlay status page (--overlay-status-port)");
    overlay_pages_ = std::move(*server);
  }
  return {};
}

awaitable<void> NodeAgent::serve_api() {
  std::vector<std::string> addresses, names = {settings_.options.node_name};
  auto look_at_addresses = [&] {
    addresses.clear();
    for (const auto& ip : settings_.node_ips) addresses.push_back(ip.to_string());
  };
  look_at_addresses();
  IdentityFiles files(settings_.options.data_dir);
  HttpHandler handler = [this](HttpRequest request, HttpExchange& exchange) {
    return serve_page(std::move(request), exchange);
  };
  base::Streak streak;
  auto failed = [&](const base::Error& error) {
    streak.failed([this](const std::string& line) { log_->warn("agent API: {}; trying again", line); }, error);
  };
  auto serving = files.load_serving(addresses, names);
  auto due_in = [this, &serving]() -> std::chrono::milliseconds {
    auto certificate =
        serving ? pki::Certificate::from_pem(serving->certificate_pem) : base::Error::text("no certificate yet");
    if (!certificate || !is_of_signing_ca(serving->certificate_pem)) return std::chrono::milliseconds(0);
    return pki::until_renewal(*certificate, pki::unix_time());
  };
  for (;;) {
    if (api_ && serving_at_ != settings_.node_ips) {
      co_await api_->stop();
      api_.reset();
      look_at_addresses();
      serving = files.load_serving(addresses, names);
    }
    if (due_in().count() == 0) {
      auto got = co_await client::request_serving_certificate(*client_, settings_.options.node_name, addresses, names);
      if (got) {
        ServingIdentity fresh{got->certificate_pem, got->key_pem};
        if (auto saved = files.save_serving(fresh); !saved) failed(saved.error());
        serving = std::move(fresh);
        if (api_)
          if (auto used = api_->use_certificate(serving->certificate_pem, serving->key_pem, identity_.ca_pem); !used)
            failed(used.error());
        serving_pem_ = serving->certificate_pem;
      } else {
        failed(base::Error(got.error()).in("serving certificate"));
      }
    }
    if (serving && !api_) {
      HttpServerOptions options;
      options.name = "agent API";
      options.refused_sources = settings_.cluster_cidrs;
      options.early = true;
      for (const auto& ip : settings_.node_ips) options.listen.push_back({ip, settings_.options.ports.api});
      HttpTls tls;
      tls.certificate_pem = serving->certificate_pem;
      tls.key_pem = serving->key_pem;
      tls.client_ca_pem = identity_.ca_pem;
      tls.allowed = [](const std::string& name, const std::vector<std::string>& groups) {
        if (name.empty()) return false;  // groups without a name speak for nobody
        return name == "trama:controller" || std::find(groups.begin(), groups.end(), "system:masters") != groups.end();
      };
      serving_at_ = settings_.node_ips;
      auto server = HttpServer::start_tls(brain_, std::move(options), std::move(tls), handler);
      if (server)
        api_ = std::move(*server);
      else
        failed(server.error());
      serving_pem_ = serving->certificate_pem;
    }
    if (api_) streak.recovered([this](const std::string& line) { log_->info("agent API: {}", line); });
    auto pause = api_ && serving ? std::min(due_in(), kRenewalLook) : std::chrono::milliseconds(1'000);
    co_await renew_serving_.wait_for(std::max(pause, kRenewalPause));
    // What is trusted may have changed, too.
    if (api_ && serving)
      if (auto used = api_->use_certificate(serving->certificate_pem, serving->key_pem, identity_.ca_pem); !used)
        failed(used.error());
  }
}

}  // namespace trama::agent
