// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loop_set.h"

#include "base/file.h"
#include "control/api/kinds.h"
#include "control/controllers/pod_account.h"
#include "control/pki/join_token.h"
#include "control/sockets.h"

namespace trama::control {

using base::Error;
using base::Result;

namespace {

NodeLifecycleOptions lifecycle_options(const LoopTimers& t) {
  NodeLifecycleOptions o;
  o.plan.grace = t.node_grace;
  o.plan.eviction_toleration = t.eviction_toleration;
  o.monitor = t.node_monitor;
  o.evictions_per_second = t.eviction_per_second;
  return o;
}

JobOptions job_options(const LoopTimers& t) {
  JobOptions o;
  o.backoff_lowest = t.job_backoff_lowest;
  o.backoff_highest = t.job_backoff_highest;
  return o;
}

SchedulerOptions scheduler_options(const ControllerOptions& o) {
  SchedulerOptions s;
  s.waiting.backoff_lowest = o.timers.scheduler_backoff_lowest;
  s.waiting.backoff_highest = o.timers.scheduler_backoff_highest;
  s.seed = o.seed;
  return s;
}

std::uint64_t seed_of(const ControllerOptions& o, std::uint64_t n) {
  return o.seed ? *o.seed + n : std::random_device{}();
}

Result<std::vector<base::Cidr>> parse_ranges(const std::vector<std::string>& texts, const char* option) {
  std::vector<base::Cidr> out;
  for (const auto& t : texts) {
    auto c = base::Cidr::parse(t);
    if (!c) return std::move(c).error().in(option);
    for (const auto& other : out) {
      if (other.family() == c->family())
        return Error::text(fmt::format("{}: {} and {} are of one family; give one range per family", option,
                                       other.to_string(), c->to_string()));
    }
    out.push_back(*c);
  }
  if (out.empty()) return Error::text(fmt::format("{}: at least one range is needed", option));
  return out;
}

}  // namespace

Result<std::string> store_path_of(const ControllerOptions& o) {
  if (o.store.empty()) return o.data_dir + "/store.db";
  if (o.store.starts_with("sqlite:") && o.store.size() > 7) return o.store.substr(7);
  if (is_etcd(o))
    return Error::text(
        "this is for a store in a file (sqlite:PATH); of etcd make a file with `trama controller export`");
  return Error::text(fmt::format("store \"{}\" is not known; use sqlite:PATH or etcd:URL[,URL…]", o.store));
}

bool is_etcd(const ControllerOptions& o) { return o.store.starts_with("etcd:"); }

Result<store::EtcdOptions> etcd_options(const ControllerOptions& o) {
  store::EtcdOptions out;
  auto& gateway = out.gateway;
  for (std::string_view rest = std::string_view(o.store).substr(5); !rest.empty();) {
    auto comma = std::min(rest.find(','), rest.size());
    gateway.urls.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  out.prefix = o.etcd_prefix;
  if (!out.prefix.starts_with('/') || out.prefix.ends_with('/') || out.prefix.size() < 2)
    return Error::text(fmt::format("--etcd-prefix \"{}\": expected something like /trama", out.prefix));
  out.compact_every = o.etcd_compaction;
  for (auto [file, text, option] : {std::tuple(&o.etcd_ca, &gateway.ca_pem, "--etcd-ca"),
                                    std::tuple(&o.etcd_cert, &gateway.certificate_pem, "--etcd-cert"),
                                    std::tuple(&o.etcd_key, &gateway.key_pem, "--etcd-key")}) {
    if (file->empty()) continue;
    auto read = base::read_file(*file);
    if (!read) return std::move(read).error().in(option);
    *text = std::move(*read);
  }
  return out;
}

Result<CheckedOptions> check_options(ControllerOptions o) {
  CheckedOptions c;
  for (const auto& text : o.listen) {
    auto address = parse_address(text);
    if (!address) return std::move(address).error();
    c.listen.push_back(*address);
  }
  auto services = parse_ranges(o.service_cidrs, "--service-cidr");
  if (!services) return std::move(services).error();
  auto clusters = parse_ranges(o.cluster_cidrs, "--cluster-cidr");
  if (!clusters) return std::move(clusters).error();
  for (const auto& s : *services)
    for (const auto& p : *clusters)
      if (s.overlaps(p))
        return Error::text(
            fmt::format("service addresses {} and pod addresses {} overlap", s.to_string(), p.to_string()));
  for (const auto& p : *clusters) {
    unsigned mask = p.family() == base::Family::v4 ? o.node_mask_v4 : o.node_mask_v6;
    if (mask < p.length() || mask > p.address().bits())
      return Error::text(fmt::format("a node's share of {} can not be a /{}", p.to_string(), mask));
  }
  if (o.node_port_first == 0 || o.node_port_first > o.node_port_last)
    return Error::text(fmt::format("node ports {}-{}: not a range", o.node_port_first, o.node_port_last));
  if (o.timers.node_grace < o.timers.lease_renew * 3)
    return Error::text(
        fmt::format("node grace {} ms is less than three lease periods of {} ms: one lost renewal would "
                    "make a node look dead",
                    o.timers.node_grace.count(), o.timers.lease_renew.count()));
  if (is_etcd(o)) {
    auto etcd = etcd_options(o);
    if (!etcd) return std::move(etcd).error();
    c.etcd = std::move(*etcd);
    const auto& e = o.election;
    if (e.retry.count() <= 0 || e.renew <= e.retry || e.lease <= e.renew)
      return Error::text(
          fmt::format("--leader-lease {} ms, --leader-renew {} ms, --leader-retry {} ms: each must be "
                      "longer than the next",
                      e.lease.count(), e.renew.count(), e.retry.count()));
  } else {
    auto path = store_path_of(o);
    if (!path) return std::move(path).error();
    c.store_path = std::move(*path);
  }
  c.services.addresses = std::move(*services);
  c.services.node_port_first = o.node_port_first;
  c.services.node_port_last = o.node_port_last;
  c.nodes.clusters = std::move(*clusters);
  c.nodes.mask_v4 = o.node_mask_v4;
  c.nodes.mask_v6 = o.node_mask_v6;
  c.nodes.cool_down = o.timers.cidr_cool_down;
  c.given = std::move(o);
  return c;
}

LoopSet::LoopSet(async::asio::any_io_executor ex, store::Store& store, const CheckedOptions& checked,
                 const pki::Authority& authority)
    : store_(store),
      options_(checked.given),
      events_(ex, store),
      slices_(ex, store, seed_of(options_, 1)),
      endpoints_(ex, store, slices_.pods()),
      mirror_(ex, store, events_, seed_of(options_, 5)),
      cidrs_(ex, store, events_, checked.nodes),
      lifecycle_(ex, store, events_, lifecycle_options(options_.timers)),
      replica_sets_(ex, store, events_, seed_of(options_, 2)),
      deployments_(ex, store, events_),
      daemon_sets_(ex, store, events_, seed_of(options_, 3)),
      jobs_(ex, store, events_, job_options(options_.timers), seed_of(options_, 4)),
      garbage_(ex, store, options_.timers.node_grace),
      namespaces_(ex, store),
      namespace_defaults_(ex, store),
      csrs_(ex, store, authority, options_.timers.certificate_life, options_.timers.node_grace),
      scheduler_(ex, store, events_, scheduler_options(options_)) {
  slices_.when_pods_change(
      [this](const std::string& service, const std::string& trigger) { endpoints_.touch(service, trigger); });
}

void LoopSet::start(async::TaskGroup& group) {
  group.spawn("events", events_.run());
  group.spawn("event sweep", sweep_events(store_, options_.timers.event_ttl, options_.timers.event_cap));
  for (auto* loop : all()) loop->start(group);
  scheduler_.start(group);
}

std::vector<Loop*> LoopSet::all() {
  return {&slices_.loop(),       &endpoints_.loop(),          &mirror_.loop(),      &cidrs_.loop(), &lifecycle_.loop(),
          &replica_sets_.loop(), &deployments_.loop(),        &daemon_sets_.loop(), &jobs_.loop(),  &garbage_.loop(),
          &namespaces_.loop(),   &namespace_defaults_.loop(), &csrs_.loop()};
}

std::vector<const Loop*> LoopSet::loops() const {
  auto all = const_cast<LoopSet*>(this)->all();  // the loops hand out themselves; only read here
  return {all.begin(), all.end()};
}

std::string LoopSet::scheduler_metrics() const {
  return fmt::format(
      "# HELP trama_scheduler_bound_total Pods that were given a node.\n# TYPE trama_scheduler_bound_total counter\n"
      "trama_scheduler_bound_total {}\n"
      "# HELP trama_scheduler_unschedulable_total Attempts that found no node.\n"
      "# TYPE trama_scheduler_unschedulable_total counter\ntrama_scheduler_unschedulable_total {}\n"
      "# HELP trama_scheduler_pending_pods Pods without a node, by queue.\n# TYPE trama_scheduler_pending_pods gauge\n"
      "trama_scheduler_pending_pods{{queue=\"active\"}} {}\ntrama_scheduler_pending_pods{{queue=\"backoff\"}} {}\n",
      scheduler_.bound(), scheduler_.unschedulable(), scheduler_.pending(), scheduler_.waiting());
}

std::string LoopSet::controller_metrics() const {
  std::string depth, handled, failed, objects;
  for (const auto* loop : loops()) {
    depth += fmt::format("trama_loop_queue_depth{{loop=\"{}\"}} {}\n", loop->name(), loop->depth());
    handled += fmt::format("trama_loop_passes_total{{loop=\"{}\"}} {}\n", loop->name(), loop->handled());
    failed += fmt::format("trama_loop_failures_total{{loop=\"{}\"}} {}\n", loop->name(), loop->failures());
  }
  for (const auto& k : api::kinds())
    if (k.served_as.empty())
      objects +=
          fmt::format("trama_objects{{resource=\"{}\"}} {}\n", k.resource, store_.list(std::string(k.resource)).size());
  return fmt::format(
      "# HELP trama_loop_queue_depth Keys that wait.\n# TYPE trama_loop_queue_depth gauge\n{}"
      "# HELP trama_loop_passes_total Keys worked off.\n# TYPE trama_loop_passes_total counter\n{}"
      "# HELP trama_loop_failures_total Keys that failed and come again.\n# TYPE trama_loop_failures_total counter\n{}"
      "# HELP trama_events_dropped_total Events that were not written.\n# TYPE trama_events_dropped_total counter\n"
      "trama_events_dropped_total {}\n"
      "# HELP trama_objects Objects in the store.\n# TYPE trama_objects gauge\n{}"
      "# HELP trama_store_revision Newest committed revision.\n# TYPE trama_store_revision counter\n"
      "trama_store_revision {}\n",
      depth, handled, failed, events_.dropped(), objects, store_.revision());
}

std::vector<server::Admission> admissions(ServiceAllocator& allocator) {
  using Refusal = std::optional<api::Status>;
  auto allocate = [&allocator](store::Transaction& tx, const api::Key& key, const api::Object* old,
                               api::json::object* body, const server::Identity&) -> Refusal {
    if (key.resource != "services" || body == nullptr) return std::nullopt;
    return allocator.admit(tx, key, *body, old);
  };
  // Who asks is what the decision rests on: never what the request says about itself.
  auto stamp = [](store::Transaction&, const api::Key& key, const api::Object* old, api::json::object* body,
                  const server::Identity& who) -> Refusal {
    if (key.resource != "certificatesigningrequests" || body == nullptr) return std::nullopt;
    if (old != nullptr) {
      (*body)["spec"] = api::object_at(old->body, "spec");
      return std::nullopt;
    }
    auto& spec = api::make_object_at(*body, "spec");
    api::json::array groups;
    for (const auto& g : who.groups) groups.emplace_back(g);
    spec["username"] = who.name;
    spec["groups"] = std::move(groups);
    spec.erase("uid");
    spec.erase("extra");
    body->erase("status");
    return std::nullopt;
  };
  // Whoever writes a token in upstream's shape: only the hash of its secret reaches the store.
  auto hash = [](store::Transaction&, const api::Key& key, const api::Object*, api::json::object* body,
                 const server::Identity&) -> Refusal {
    if (key.resource == "secrets" && body != nullptr) pki::hash_token_secret(*body);
    return std::nullopt;
  };
  // Without them the cluster has no API Service, no CA and no system of its own.
  auto keep = [](store::Transaction&, const api::Key& key, const api::Object*, api::json::object* body,
                 const server::Identity&) -> Refusal {
    if (key.resource != "namespaces" || body != nullptr) return std::nullopt;
    if (key.name != "default" && key.name != "kube-system" && key.name != "kube-public") return std::nullopt;
    auto refused = api::Status::forbidden(
        fmt::format("namespaces \"{}\" is forbidden: this namespace may not be deleted", key.name));
    refused.kind = "namespaces";
    refused.name = key.name;
    return refused;
  };
  auto account = [](store::Transaction& tx, const api::Key& key, const api::Object* old, api::json::object* body,
                    const server::Identity&) -> Refusal {
    if (key.resource != "pods" || body == nullptr || old != nullptr) return std::nullopt;
    return admit_pod_account(tx, key, *body, std::chrono::system_clock::now());
  };
  return {allocate, stamp, hash, keep, account};
}

}  // namespace trama::control
