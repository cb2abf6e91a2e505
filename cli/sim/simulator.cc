// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/sim/simulator.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/timestamp.h"
#include "control/client/paths.h"

namespace trama::cli {

using async::awaitable;
using base::Error;
using base::Result;
using client::Change;
using client::object_path;

namespace {

std::string now_seconds() { return base::format_seconds(base::now()); }

api::ObjectPtr to_object(const std::string& resource, json::object body) {
  api::Key key{resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
  auto revision = std::strtoull(api::text_at(body, "metadata.resourceVersion").c_str(), nullptr, 10);
  return api::make_object(std::move(key), std::move(body), revision);
}

bool is_newer(const api::ObjectPtr& a, const api::ObjectPtr& b) {
  return !b || a->uid != b->uid || a->revision > b->revision;
}

json::object gone_at_once(const std::string& uid) {
  json::object preconditions;
  preconditions["uid"] = uid;
  json::object options;
  options["gracePeriodSeconds"] = 0;
  options["preconditions"] = std::move(preconditions);
  return options;
}

json::value status_body(json::object status) {
  json::object body;
  body["status"] = std::move(status);
  return body;
}

}  // namespace

Simulator::Simulator(async::asio::any_io_executor ex, client::ApiClient& client, SimOptions options,
                     std::function<void()> ready)
    : ex_(ex),
      client_(client),
      options_(std::move(options)),
      when_ready_(std::move(ready)),
      log_(base::logger("sim")),
      tasks_(ex),
      failure_(ex) {
  for (unsigned i = 1; i <= options_.nodes; ++i) {
    auto node = std::make_unique<Node>();
    node->number = i;
    node->name = sim_name(options_, i);
    by_name_[node->name] = node.get();
    nodes_.push_back(std::move(node));
  }
}

Simulator::~Simulator() = default;

void Simulator::start() {
  client::ReflectorOptions nodes;
  nodes.resource = "nodes";
  nodes.label_selector = fmt::format("{}=true", kSimulated);
  client::ReflectorHandlers on_node;
  on_node.synced = [this](std::vector<api::ObjectPtr> all, std::uint64_t) {
    bool first = !std::exchange(nodes_known_, true);
    std::set<std::string> there;
    for (const auto& o : all) {
      there.insert(o->key.name);
      node_seen(o, false);
    }
    for (auto& n : nodes_) {
      if (first)
        look_at(*n);
      else if (n->seen && !there.contains(n->name))  // deleted while no watch was open
        node_seen(n->seen, true);
    }
  };
  on_node.changed = [this](Change change, api::ObjectPtr o) { node_seen(o, change == Change::deleted); };
  node_watch_ = std::make_unique<client::Reflector>(client_, nodes, on_node);
  tasks_.spawn("nodes", node_watch_->run());

  client::ReflectorOptions pods;
  pods.resource = "pods";
  client::ReflectorHandlers on_pod;
  on_pod.synced = [this](std::vector<api::ObjectPtr> all, std::uint64_t) {
    std::set<std::string> there;
    for (const auto& o : all) {
      there.insert(o->uid);
      pod_seen(o, false);
    }
    std::vector<std::string> lost;
    for (const auto& [uid, pod] : pods_)
      if (!there.contains(uid)) lost.push_back(uid);
    for (const auto& uid : lost) forget(uid);
  };
  on_pod.changed = [this](Change change, api::ObjectPtr o) { pod_seen(o, change == Change::deleted); };
  pod_watch_ = std::make_unique<client::Reflector>(client_, pods, on_pod);
  tasks_.spawn("pods", pod_watch_->run());
  tasks_.spawn("leases", lease_clock());
}

awaitable<Error> Simulator::failed() {
  co_await failure_.wait();
  co_return *error_;
}

awaitable<void> Simulator::stop() {
  stopping_ = true;
  // What was asked for is heard out: a node whose registration is cut off would be there without our knowing.
  auto end = Clock::now() + std::chrono::seconds(5);
  while (running_ > 0 && Clock::now() < end) co_await async::sleep_for(std::chrono::milliseconds(5));
  co_await tasks_.stop();
}

std::size_t Simulator::without_range() const {
  return static_cast<std::size_t>(std::count_if(
      nodes_.begin(), nodes_.end(), [](const auto& n) { return n->seen && !n->gone && n->pool.cidrs().empty(); }));
}

void Simulator::give_up(Error error) {
  if (!error_) error_ = std::move(error);
  failure_.set();
}

void Simulator::node_seen(const api::ObjectPtr& object, bool deleted) {
  auto found = by_name_.find(object->key.name);
  if (found == by_name_.end()) return;  // another process's
  auto& n = *found->second;
  if (deleted) {
    if (n.seen && n.seen->uid != object->uid) return;
    n.gone = true;
    ready_.erase(&n);
    return;
  }
  if (!is_newer(object, n.seen)) return;
  bool had_range = !n.pool.cidrs().empty();
  n.seen = object;
  n.gone = false;
  n.pool.set_cidrs(pod_cidrs_of(*object));
  if (!had_range && !n.pool.cidrs().empty())
    for (const auto& uid : n.pods) look_at(uid);
  look_at(n);
}

void Simulator::pod_seen(const api::ObjectPtr& object, bool deleted) {
  if (deleted) return forget(object->uid);
  auto node = by_name_.find(api::text_at(object->body, "spec.nodeName"));
  if (node == by_name_.end()) return;
  auto& pod = pods_[object->uid];
  if (!is_newer(object, pod.seen)) return;
  if (!pod.node) {
    pod.node = node->second;
    pod.node->pods.insert(object->uid);
    // Of an earlier run: its address is taken.
    if (!has_ended(*object) && !on_host_network(*object)) pod.node->pool.adopt(object->uid, addresses_of(*object));
  }
  pod.seen = object;
  look_at(object->uid);
}

void Simulator::look_at(Node& node) {
  if (node.queued) return;
  node.queued = true;
  Work work;
  work.node = &node;
  work_.push_back(std::move(work));
  pump();
}

void Simulator::look_at(const std::string& uid) {
  auto it = pods_.find(uid);
  if (it == pods_.end() || it->second.queued) return;
  it->second.queued = true;
  Work work;
  work.pod = uid;
  work_.push_back(std::move(work));
  pump();
}

void Simulator::forget(const std::string& uid) {
  auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  it->second.node->pool.release(uid, Clock::now());
  it->second.node->pods.erase(uid);
  pods_.erase(it);
}

void Simulator::pump() {
  while (!stopping_ && running_ < options_.parallel && !(urgent_.empty() && work_.empty())) {
    ++running_;
    tasks_.spawn("sim", worker());
  }
}

awaitable<void> Simulator::worker() {
  while (!stopping_ && !(urgent_.empty() && work_.empty())) {
    auto& queue = urgent_.empty() ? work_ : urgent_;
    auto next = std::move(queue.front());
    queue.pop_front();
    co_await serve(std::move(next));
  }
  --running_;
}

awaitable<void> Simulator::serve(Work work) {
  Result<> done;
  if (work.lease_of) {
    done = co_await renew_lease(*work.lease_of);
  } else if (work.node) {
    work.node->queued = false;  // before looking: what changes from here on is looked at again
    done = co_await do_node(*work.node);
  } else {
    if (auto it = pods_.find(work.pod); it != pods_.end()) it->second.queued = false;
    done = co_await do_pod(work.pod);
  }
  if (done) {
    streak_.recovered([this](const std::string& s) { log_->info("{}", s); });
  } else {
    streak_.failed([this](const std::string& s) { log_->warn("{}; trying again", s); }, done.error());
    co_await async::sleep_for(std::chrono::milliseconds(200));
    if (work.node) look_at(*work.node);
    if (!work.pod.empty()) look_at(work.pod);
  }
}

awaitable<Result<>> Simulator::register_node(Node& node) {
  auto body = sim_node(options_, node.number, now_seconds());
  ++requests_;
  auto made = co_await client_.create(client::collection_path("nodes"), body);
  if (!made && client::is_already_exists(made.error())) {
    api::Key key{"nodes", "", node.name};
    ++requests_;
    made = co_await client_.get(object_path(key));
  }
  if (!made && (client::is_forbidden(made.error()) || client::http_status(made.error()) == 422)) give_up(made.error());
  if (!made) co_return Error(made.error()).in("register node " + node.name);
  auto object = to_object("nodes", std::move(*made));
  if (!is_simulated(*object))
    give_up(Error::text(fmt::format("node {} exists and is not simulated: choose other names with --prefix", node.name),
                        std::errc::file_exists));
  else
    node_seen(object, false);
  co_return Result<>();
}

awaitable<Result<>> Simulator::do_node(Node& node) {
  if (node.gone || !nodes_known_ || error_) co_return Result<>();
  if (!node.seen) {
    auto registered = co_await register_node(node);
    if (!registered || !node.seen) co_return registered;
  }
  if (is_silent(*node.seen)) co_return Result<>();
  if (!node.has_lease) {
    auto made = co_await make_lease(node);
    if (!made) co_return made;
  }
  auto seen = node.seen;
  auto status = sim_node_status(options_, node.number, *seen, now_seconds());
  bool ready = !node.pool.cidrs().empty();
  if (status != api::object_at(seen->body, "status")) {
    auto body = status_body(std::move(status));
    ++requests_;
    auto answer = co_await client_.patch(object_path(seen->key, "status"), body);
    if (!answer && client::is_not_found(answer.error())) co_return Result<>();
    if (!answer) co_return Error(answer.error()).in("status of node " + node.name);
    auto newest = to_object("nodes", std::move(*answer));
    if (is_newer(newest, node.seen)) node.seen = newest;
  }
  if (ready) ready_.insert(&node);
  if (!said_ready_ && ready_.size() == nodes_.size()) {
    said_ready_ = true;
    when_ready_();
  }
  co_return Result<>();
}

awaitable<Result<>> Simulator::make_lease(Node& node) {
  auto body = sim_lease(options_, *node.seen, base::format_micros(base::now()));
  ++requests_;
  auto made = co_await client_.create(client::collection_path("leases", "kube-node-lease"), body);
  if (!made && !client::is_already_exists(made.error())) co_return Error(made.error()).in("lease of " + node.name);
  node.has_lease = true;
  // One that was there already may be old: renewed at once.
  renewals_due_.emplace_back(made ? Clock::now() + options_.lease_period : Clock::now(), &node);
  co_return Result<>();
}

awaitable<Result<>> Simulator::renew_lease(Node& node) {
  json::object spec;
  spec["renewTime"] = base::format_micros(base::now());
  json::object body;
  body["spec"] = std::move(spec);
  json::value patch = std::move(body);
  api::Key key{"leases", "kube-node-lease", node.name};
  ++requests_;
  auto answer = co_await client_.patch(object_path(key), patch);
  if (answer) ++renewals_;
  if (!answer && client::is_not_found(answer.error())) {
    node.has_lease = false;  // made anew, if the node is still there
    look_at(node);
    co_return Result<>();
  }
  auto pause = answer ? options_.lease_period : std::min(options_.lease_period, std::chrono::milliseconds(500));
  renewals_due_.emplace_back(Clock::now() + pause, &node);
  if (!answer) co_return Error(answer.error()).in("renew the lease of " + node.name);
  co_return Result<>();
}

// Renewals become due in the order in which they were done, so the queue is nearly sorted.
awaitable<void> Simulator::lease_clock() {
  for (;;) {
    auto now = Clock::now();
    while (!renewals_due_.empty() && renewals_due_.front().first <= now) {
      auto* node = renewals_due_.front().second;
      renewals_due_.pop_front();
      if (node->gone || !node->seen) {
        node->has_lease = false;
      } else if (is_silent(*node->seen)) {
        node->has_lease = false;  // when the annotation goes, the node is looked at and its lease renewed
      } else {
        Work work;
        work.lease_of = node;
        urgent_.push_back(std::move(work));
      }
    }
    pump();
    co_await async::sleep_for(std::chrono::milliseconds(20));
  }
}

awaitable<Result<>> Simulator::do_pod(std::string uid) {
  auto it = pods_.find(uid);
  if (it == pods_.end() || error_) co_return Result<>();
  auto* node = it->second.node;
  auto seen = it->second.seen;
  if (node->gone || !node->seen || is_silent(*node->seen)) co_return Result<>();
  if (is_deleting(*seen)) co_return co_await finish_delete(uid);
  if (has_ended(*seen)) {
    node->pool.release(uid, Clock::now());
    co_return Result<>();
  }
  std::vector<base::Ip> addresses = {sim_address(node->number)};
  if (!on_host_network(*seen)) {
    if (node->pool.cidrs().empty()) co_return Result<>();  // looked at again when the range is known
    auto given = node->pool.assign(uid, Clock::now(), addresses_of(*seen));
    if (!given) co_return Error(given.error()).in(fmt::format("address of pod {}", seen->key.to_string()));
    addresses = *given;
  }
  auto status = sim_pod_status(*seen, addresses, sim_address(node->number), now_seconds());
  if (status == api::object_at(seen->body, "status")) co_return Result<>();
  auto body = status_body(std::move(status));
  ++requests_;
  auto answer = co_await client_.patch(object_path(seen->key, "status"), body);
  if (!answer && client::is_not_found(answer.error())) co_return Result<>();
  if (!answer) co_return Error(answer.error()).in("status of pod " + seen->key.to_string());
  pod_seen(to_object("pods", std::move(*answer)), false);
  co_return Result<>();
}

awaitable<Result<>> Simulator::finish_delete(std::string uid) {
  auto pod = pods_.at(uid).seen;
  auto options = gone_at_once(uid);
  ++requests_;
  auto removed = co_await client_.remove(object_path(pod->key), options);
  if (removed || client::is_not_found(removed.error()) || client::is_conflict(removed.error())) co_return Result<>();
  co_return Error(removed.error()).in("delete pod " + pod->key.to_string());
}

awaitable<Simulator::Removed> Simulator::remove() {
  Removed result;
  // Nodes first: what replaces the pods must not be put on them again.
  std::vector<std::pair<std::string, json::object>> things;
  for (const auto& n : nodes_)
    if (n->seen && !n->gone && is_simulated(*n->seen))
      things.emplace_back(object_path(n->seen->key), gone_at_once(n->seen->uid));
  co_await delete_all(std::move(things), &result, &result.nodes);
  things = {};
  for (const auto& [uid, pod] : pods_) things.emplace_back(object_path(pod.seen->key), gone_at_once(uid));
  co_await delete_all(std::move(things), &result, &result.pods);
  co_return result;
}

awaitable<void> Simulator::delete_all(std::vector<std::pair<std::string, json::object>> things, Removed* result,
                                      std::size_t* done) {
  async::TaskGroup group(ex_);
  async::Event finished(ex_);
  std::size_t next = 0, working = 0;
  auto worker = [&]() -> awaitable<void> {
    while (next < things.size()) {
      auto& [path, options] = things[next++];
      ++requests_;
      auto answer = co_await client_.remove(path, options);
      if (answer) {
        ++*done;
      } else if (!client::is_not_found(answer.error()) && !client::is_conflict(answer.error())) {
        ++result->left;
        result->why = answer.error().to_string();
      }
    }
    --working;
    finished.set();
  };
  for (std::size_t i = 0; i < std::min(options_.parallel, things.size()); ++i) {
    ++working;
    group.spawn("remove", worker());
  }
  while (working > 0) co_await finished.wait();
  co_await group.stop();
}

}  // namespace trama::cli
