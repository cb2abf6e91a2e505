// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/reporter.h"

#include <algorithm>

#include "base/digest.h"
#include "base/timestamp.h"
#include "control/client/paths.h"

namespace trama::agent {

namespace asio = async::asio;
using client::collection_path;
using client::object_path;

namespace {

constexpr auto kIdle = std::chrono::hours(24);
const char* const kLeaseNamespace = "kube-node-lease";

api::ObjectPtr to_object(const std::string& resource, json::object body) {
  api::Key key{resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
  std::uint64_t revision = 0;
  auto text = api::text_at(body, "metadata.resourceVersion");
  for (char c : text) revision = c >= '0' && c <= '9' ? revision * 10 + static_cast<std::uint64_t>(c - '0') : revision;
  return api::make_object(std::move(key), std::move(body), revision);
}

}  // namespace

std::string now_seconds() { return base::format_seconds(base::now()); }

json::object status_patch(const json::object& from, const json::object& to) {
  json::object patch;
  for (const auto& [name, value] : to) {
    auto* had = from.if_contains(name);
    if (!had || *had != value) patch[name] = value;
  }
  for (const auto& [name, value] : from)
    if (!to.contains(name)) patch[name] = nullptr;
  return patch;
}

Reporter::Reporter(asio::any_io_executor brain, Options options)
    : brain_(brain),
      options_(std::move(options)),
      log_(base::logger("report")),
      tasks_(brain),
      pods_wake_(brain),
      events_wake_(brain),
      node_wake_(brain) {}

Reporter::~Reporter() = default;

void Reporter::start(client::ApiClient& client) {
  client_ = &client;
  tasks_.spawn("events", event_loop());
  if (options_.events_only) return;
  tasks_.spawn("pod statuses", pod_loop());
  tasks_.spawn("node status", node_loop());
  tasks_.spawn("lease", lease_loop());
}

awaitable<void> Reporter::stop() { co_await tasks_.stop(); }

void Reporter::failed(const base::Error& error) {
  streak_.failed([this](const std::string& line) { log_->warn("{}; trying again until it works", line); }, error);
}

api::ObjectPtr Reporter::newest(const api::ObjectPtr& object) const {
  auto it = acknowledged_.find(object->uid);
  return it != acknowledged_.end() && it->second->revision > object->revision ? it->second : object;
}

void Reporter::pod_status(const api::ObjectPtr& pod, json::object status) {
  auto& work = work_[pod->uid];
  work.pod = pod;
  work.status = std::move(status);
  pods_wake_.set();
}

void Reporter::finish_delete(const api::ObjectPtr& pod) {
  auto& work = work_[pod->uid];
  if (std::exchange(work.remove, true)) return;
  work.pod = pod;
  pods_wake_.set();
}

void Reporter::forget(const std::string& uid) {
  if (auto it = work_.find(uid); it != work_.end()) {
    if (it->second.busy)
      it->second.forgotten = true;
    else
      work_.erase(it);
  }
  acknowledged_.erase(uid);
  said_.erase(uid);
}

awaitable<void> Reporter::pod_loop() {
  for (;;) {
    auto pause = backoff_.delay().count() > 0 ? backoff_.delay() : std::chrono::milliseconds(kIdle);
    bool woken = co_await pods_wake_.wait_for(pause);
    if (backoff_.delay().count() > 0 && woken) co_await async::sleep_for(backoff_.delay());
    for (auto& [uid, work] : work_) {
      if (sending_ >= options_.parallel) break;
      if (work.busy || (!work.status && !work.remove)) continue;
      work.busy = true;
      ++sending_;
      tasks_.spawn("pod status", send_pod(uid));
    }
  }
}

awaitable<void> Reporter::send_pod(std::string uid) {
  struct Done {
    Reporter& r;
    const std::string& uid;
    ~Done() {
      --r.sending_;
      if (auto it = r.work_.find(uid); it != r.work_.end()) {
        it->second.busy = false;
        if (it->second.forgotten) r.work_.erase(it);
      }
      r.pods_wake_.set();
    }
  } done{*this, uid};
  auto pod = work_[uid].pod;
  base::Result<> result;
  if (auto status = std::exchange(work_[uid].status, std::nullopt)) {
    result = co_await send_status(uid, pod, *status);
    if (!result && !work_[uid].status) work_[uid].status = std::move(status);
  }
  if (result && work_[uid].remove) {
    json::object preconditions;
    preconditions["uid"] = uid;
    json::object options;
    options["gracePeriodSeconds"] = 0;
    options["preconditions"] = std::move(preconditions);
    ++requests_;
    auto gone = co_await client_->remove(object_path(pod->key), options);
    // 404 and 409: it is gone, or another one of that name lives.
    if (gone || client::is_not_found(gone.error()) || client::is_conflict(gone.error()))
      work_.erase(uid);
    else
      result = gone.error();
  }
  if (result) {
    backoff_.succeeded();
    streak_.recovered([this](const std::string& line) { log_->info("{}", line); });
  } else {
    backoff_.failed();
    failed(result.error());
  }
}

awaitable<base::Result<>> Reporter::send_status(std::string uid, api::ObjectPtr pod, json::object status) {
  auto base = newest(pod);
  auto patch = status_patch(api::object_at(base->body, "status"), status);
  if (patch.empty()) co_return base::Result<>();
  json::object metadata;
  metadata["uid"] = uid;
  json::object body;
  body["metadata"] = std::move(metadata);
  body["status"] = std::move(patch);
  json::value value = std::move(body);
  ++requests_;
  auto answer = co_await client_->patch(object_path(pod->key, "status"), value);
  if (answer) {
    if (work_.contains(uid)) acknowledged_[uid] = to_object("pods", std::move(*answer));
    co_return base::Result<>();
  }
  int code = client::http_status(answer.error());
  if (code >= 400 && code < 500 && code != 429) {
    if (code != 404 && code != 409)
      log_->warn("status of pod {}/{}: {}", pod->key.ns, pod->key.name, answer.error().to_string());
    co_return base::Result<>();  // it is gone, or no repetition would help
  }
  co_return base::Error(answer.error()).in(fmt::format("status of pod {}/{}", pod->key.ns, pod->key.name));
}

void Reporter::event(const api::Object& about, const std::string& kind, const std::string& type,
                     const std::string& reason, const std::string& message) {
  if (!said_[about.uid].insert(reason + "\n" + message).second) return;
  auto ns = about.key.ns.empty() ? std::string("default") : about.key.ns;
  json::object metadata;
  metadata["name"] = fmt::format("{}.{}", about.key.name.substr(0, 200), base::random_hex(8));
  metadata["namespace"] = ns;
  json::object involved;
  involved["apiVersion"] = "v1";
  involved["kind"] = kind;
  if (!about.key.ns.empty()) involved["namespace"] = about.key.ns;
  involved["name"] = about.key.name;
  involved["uid"] = about.uid;
  json::object source;
  source["component"] = "trama-agent";
  source["host"] = options_.node_name;
  auto now = now_seconds();
  json::object body;
  body["apiVersion"] = "v1";
  body["kind"] = "Event";
  body["metadata"] = std::move(metadata);
  body["involvedObject"] = std::move(involved);
  body["reason"] = reason;
  body["message"] = message.substr(0, 1000);
  body["type"] = type;
  body["source"] = std::move(source);
  body["firstTimestamp"] = now;
  body["lastTimestamp"] = now;
  body["count"] = 1;
  body["reportingComponent"] = "trama-agent";
  body["reportingInstance"] = options_.node_name;
  events_.push_back(std::move(body));
  if (events_.size() > options_.most_events) events_.pop_front();
  events_wake_.set();
}

awaitable<void> Reporter::event_loop() {
  for (;;) {
    if (events_.empty()) {
      co_await events_wake_.wait();
      continue;
    }
    auto body = events_.front();
    auto path = collection_path("events", api::text_at(body, "metadata.namespace"));
    auto name = api::text_at(body, "metadata.name");
    ++requests_;
    auto created = co_await client_->create(path, body);
    if (!created && client::http_status(created.error()) == 0) {
      co_await async::sleep_for(std::chrono::milliseconds(1000));  // the server is away
      continue;
    }
    if (!created) log_->debug("event {}: {}", name, created.error().to_string());
    // While we waited the queue may have dropped its oldest.
    if (!events_.empty() && api::text_at(events_.front(), "metadata.name") == name) events_.pop_front();
  }
}

void Reporter::node(NodeFindings findings, const api::ObjectPtr& in_view) {
  findings_ = std::move(findings);
  if (in_view && (!node_ || in_view->revision > node_->revision || in_view->uid != node_->uid)) node_ = in_view;
  node_wake_.set();
}

awaitable<void> Reporter::node_loop() {
  base::Backoff backoff(std::chrono::milliseconds(50), std::chrono::milliseconds(5'000));
  for (;;) {
    auto pause = backoff.delay().count() > 0 ? backoff.delay() : std::chrono::milliseconds(kIdle);
    if (words_wait_) pause = std::min(pause, kWords);
    co_await node_wake_.wait_for(pause);
    if (!findings_) continue;
    base::Result<> result;
    if (!registered_) result = co_await register_node();
    if (result) result = co_await update_node();
    if (result) {
      backoff.succeeded();
    } else {
      backoff.failed();
      failed(result.error());
    }
  }
}

awaitable<base::Result<>> Reporter::register_node() {
  api::Key key{"nodes", "", options_.node_name};
  ++requests_;
  auto have = co_await client_->get(object_path(key));
  if (!have && client::is_not_found(have.error())) {
    auto body = new_node(*findings_);
    ++requests_;
    have = co_await client_->create(collection_path("nodes"), body);
    if (have) log_->info("registered node {}", options_.node_name);
  }
  if (!have) co_return base::Error(have.error()).in("register node " + options_.node_name);
  node_ = to_object("nodes", std::move(*have));
  registered_ = true;
  co_return base::Result<>();
}

awaitable<base::Result<>> Reporter::update_node() {
  auto labels = missing_labels(*node_, *findings_);
  if (!labels.empty()) {
    json::object wanted;
    for (const auto& [name, value] : labels) wanted[name] = value;
    json::object metadata;
    metadata["labels"] = std::move(wanted);
    json::object body;
    body["metadata"] = std::move(metadata);
    json::value value = std::move(body);
    ++requests_;
    auto answer = co_await client_->patch(object_path(node_->key), value);
    if (answer)
      node_ = to_object("nodes", std::move(*answer));
    else if (!client::is_forbidden(answer.error()))
      co_return base::Error(answer.error()).in("labels of the node");
    else
      log_->warn("labels of the node: {}", answer.error().to_string());
  }
  auto present = api::object_at(node_->body, "status");
  auto wanted = compute_node_status(present, *findings_);
  auto now = std::chrono::steady_clock::now();
  words_wait_ = differ_in_words(present, wanted) && now < words_again_;
  auto patch = status_patch(present, wanted);
  if (patch.empty() || words_wait_) co_return base::Result<>();
  words_again_ = now + kWords;
  json::object body;
  body["status"] = std::move(patch);
  json::value value = std::move(body);
  ++requests_;
  auto answer = co_await client_->patch(object_path(node_->key, "status"), value);
  if (!answer && client::is_not_found(answer.error())) {
    log_->warn("node {} was deleted from the cluster; restart the agent to register it again", options_.node_name);
    co_return base::Result<>();
  }
  if (!answer) co_return base::Error(answer.error()).in("status of the node");
  node_ = to_object("nodes", std::move(*answer));
  co_return base::Result<>();
}

awaitable<void> Reporter::lease_loop() {
  while (!registered_) co_await async::sleep_for(std::chrono::milliseconds(10));
  for (;;) {
    auto renewed = co_await renew_lease();
    if (!renewed) failed(renewed.error());
    auto pause = renewed ? options_.lease_period : std::min(options_.lease_period, std::chrono::milliseconds(500));
    co_await async::sleep_for(pause);
  }
}

awaitable<base::Result<>> Reporter::renew_lease() {
  api::Key key{"leases", kLeaseNamespace, options_.node_name};
  auto seconds = std::max<std::int64_t>(1, options_.lease_period.count() * 4 / 1000);
  json::object spec;
  spec["holderIdentity"] = options_.node_name;
  spec["leaseDurationSeconds"] = seconds;
  spec["renewTime"] = base::format_micros(base::now());
  json::object body;
  ++requests_;
  if (lease_exists_) {
    body["spec"] = std::move(spec);
    json::value value = std::move(body);
    auto answer = co_await client_->patch(object_path(key), value);
    if (answer) ++renewals_;
    if (answer) co_return base::Result<>();
    if (!client::is_not_found(answer.error())) co_return base::Error(answer.error()).in("renew the node's lease");
    lease_exists_ = false;
    co_return base::Result<>();
  }
  json::object metadata;
  metadata["name"] = options_.node_name;
  metadata["namespace"] = kLeaseNamespace;
  body["apiVersion"] = "coordination.k8s.io/v1";
  body["kind"] = "Lease";
  body["metadata"] = std::move(metadata);
  body["spec"] = std::move(spec);
  auto answer = co_await client_->create(collection_path("leases", kLeaseNamespace), body);
  if (!answer && !client::is_already_exists(answer.error()))
    co_return base::Error(answer.error()).in("make the node's lease");
  lease_exists_ = true;
  ++renewals_;
  co_return base::Result<>();
}

}  // namespace trama::agent
