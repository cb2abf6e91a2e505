// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/model.h"

#include <algorithm>

#include "control/api/decode.h"

namespace trama::control {

namespace json = api::json;

namespace {

constexpr std::int64_t kAssumedCpu = 100;  // milli
constexpr std::int64_t kAssumedMemory = 200LL << 20;
// Larger than any machine, and small enough for sums over all pods of a node.
constexpr std::int64_t kMost = std::int64_t{1} << 50;

std::int64_t sum_of(std::int64_t a, std::int64_t b) {
  return std::min(kMost, a + std::clamp<std::int64_t>(b, 0, kMost));
}

// A limit without a request counts as the request.
api::Resources requests_of(const json::object& container) {
  auto r = api::resources_at(container, "resources.requests");
  if (r.cpu_milli != 0 && r.memory_bytes != 0) return r;
  auto limits = api::resources_at(container, "resources.limits");
  if (r.cpu_milli == 0) r.cpu_milli = limits.cpu_milli;
  if (r.memory_bytes == 0) r.memory_bytes = limits.memory_bytes;
  return r;
}

// Init containers run one after the other before the rest: the pod needs the larger of the two.
api::Resources requests_of_pod(const json::object& spec) {
  api::Resources sum;
  api::for_objects(spec, "containers", [&](const json::object& c) {
    auto r = requests_of(c);
    sum.cpu_milli = sum_of(sum.cpu_milli, r.cpu_milli);
    sum.memory_bytes = sum_of(sum.memory_bytes, r.memory_bytes);
  });
  api::for_objects(spec, "initContainers", [&](const json::object& c) {
    auto r = requests_of(c);
    sum.cpu_milli = std::max(sum.cpu_milli, sum_of(0, r.cpu_milli));
    sum.memory_bytes = std::max(sum.memory_bytes, sum_of(0, r.memory_bytes));
  });
  return sum;
}

std::string where_of(const json::object& spec) {
  const auto* selector = spec.if_contains("nodeSelector");
  const auto* affinity = api::at(spec, "affinity.nodeAffinity");
  std::string text;
  if (selector != nullptr) text = json::serialize(*selector);
  if (affinity != nullptr) text += "|" + json::serialize(*affinity);
  return text;
}

void add(api::Resources& to, const api::Resources& r, std::int64_t sign) {
  to.cpu_milli += sign * r.cpu_milli;
  to.memory_bytes += sign * r.memory_bytes;
}

}  // namespace

// Reads no more of the pod than it needs: a start has this to do for every pod there is.
PodNeeds needs_of(const api::Object& o) {
  const auto& spec = api::object_at(o.body, "spec");
  PodNeeds n;
  n.key = o.key;
  n.uid = o.uid;
  n.revision = o.revision;
  n.priority = api::int_at(spec, "priority");
  n.node = api::text_at(spec, "nodeName");
  n.requests = requests_of_pod(spec);
  n.nodes = node_affinity_of(spec);
  api::for_objects(spec, "tolerations", [&](const json::object& t) {
    n.tolerations.push_back({api::text_at(t, "key"), api::text_at(t, "operator", "Equal"), api::text_at(t, "value"),
                             api::text_at(t, "effect"), std::nullopt});
  });
  bool on_host = api::bool_at(spec, "hostNetwork");
  api::for_objects(spec, "containers", [&](const json::object& c) {
    api::for_objects(c, "ports", [&](const json::object& p) {
      int port = api::small_int_at(p, on_host ? "containerPort" : "hostPort");
      auto address = api::text_at(p, "hostIP");
      if (address.empty()) address = "0.0.0.0";
      if (port != 0) n.host_ports.emplace_back(api::text_at(p, "protocol", "TCP"), std::move(address), port);
    });
  });
  n.labels = o.labels;
  n.terminating = api::at(o.body, "metadata.deletionTimestamp") != nullptr;
  n.never_preempts = api::text_at(spec, "preemptionPolicy") == "Never";
  n.where = where_of(spec);
  n.rules = rules_of(spec, o.key.ns, o.labels);
  return n;
}

NodeState state_of(const api::Object& o) {
  auto node = api::decode_node(o);
  NodeState s;
  s.name = o.key.name;
  s.labels = o.labels;
  s.unschedulable = node.unschedulable;
  s.taints = node.taints;
  s.allocatable = node.allocatable;
  bool told = std::any_of(s.taints.begin(), s.taints.end(), [](const api::Taint& t) {
    return t.key == "node.kubernetes.io/not-ready" || t.key == "node.kubernetes.io/unreachable";
  });
  if (!node.ready() && !told) {
    // The lifecycle loop is about to say so; a new node must not get pods in between.
    api::Taint t;
    t.key = "node.kubernetes.io/not-ready";
    t.effect = "NoSchedule";
    s.taints.push_back(t);
  }
  return s;
}

api::Resources assumed_requests(const PodNeeds& pod) {
  auto assumed = pod.requests;
  if (assumed.cpu_milli == 0) assumed.cpu_milli = kAssumedCpu;
  if (assumed.memory_bytes == 0) assumed.memory_bytes = kAssumedMemory;
  return assumed;
}

void NodeState::place(const PodNeeds& pod) {
  add(used, pod.requests, 1);
  add(used_or_assumed, assumed_requests(pod), 1);
  ++pods;
  for (const auto& p : pod.host_ports) host_ports.insert(p);
  ++priorities[pod.priority];
}

void NodeState::remove(const PodNeeds& pod) {
  add(used, pod.requests, -1);
  add(used_or_assumed, assumed_requests(pod), -1);
  --pods;
  for (const auto& p : pod.host_ports)
    if (auto it = host_ports.find(p); it != host_ports.end()) host_ports.erase(it);
  if (auto it = priorities.find(pod.priority); it != priorities.end() && --it->second <= 0) priorities.erase(it);
}

}  // namespace trama::control
