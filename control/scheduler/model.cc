// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/model.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace {

constexpr std::int64_t kAssumedCpu = 100;  // milli
constexpr std::int64_t kAssumedMemory = 200LL << 20;

// Init containers run one after the other before the rest: the pod needs the larger of the two.
api::Resources requests_of(const api::Pod& pod) {
  api::Resources sum, peak;
  for (const auto& c : pod.containers) {
    // A limit without a request counts as the request.
    sum.cpu_milli += c.requests.cpu_milli != 0 ? c.requests.cpu_milli : c.limits.cpu_milli;
    sum.memory_bytes += c.requests.memory_bytes != 0 ? c.requests.memory_bytes : c.limits.memory_bytes;
  }
  for (const auto& c : pod.init_containers) {
    peak.cpu_milli = std::max(peak.cpu_milli, c.requests.cpu_milli != 0 ? c.requests.cpu_milli : c.limits.cpu_milli);
    peak.memory_bytes =
        std::max(peak.memory_bytes, c.requests.memory_bytes != 0 ? c.requests.memory_bytes : c.limits.memory_bytes);
  }
  sum.cpu_milli = std::max(sum.cpu_milli, peak.cpu_milli);
  sum.memory_bytes = std::max(sum.memory_bytes, peak.memory_bytes);
  return sum;
}

std::string where_of(const api::json::object& spec) {
  const auto* selector = spec.if_contains("nodeSelector");
  const auto* affinity = api::at(spec, "affinity.nodeAffinity");
  std::string text;
  if (selector != nullptr) text = api::json::serialize(*selector);
  if (affinity != nullptr) text += "|" + api::json::serialize(*affinity);
  return text;
}

void add(api::Resources& to, const api::Resources& r, std::int64_t sign) {
  to.cpu_milli += sign * r.cpu_milli;
  to.memory_bytes += sign * r.memory_bytes;
}

}  // namespace

PodNeeds needs_of(const api::Object& o) {
  auto pod = api::decode_pod(o);
  PodNeeds n;
  n.key = o.key;
  n.uid = o.uid;
  n.revision = o.revision;
  n.priority = api::int_at(o.body, "spec.priority");
  n.node = pod.node_name;
  n.requests = requests_of(pod);
  n.nodes = node_affinity_of(api::object_at(o.body, "spec"));
  n.tolerations = pod.tolerations;
  const auto& spec = api::object_at(o.body, "spec");
  n.labels = o.labels;
  n.terminating = pod.meta.deleting();
  n.never_preempts = api::text_at(spec, "preemptionPolicy") == "Never";
  n.where = where_of(spec);
  n.rules = rules_of(spec, o.key.ns, o.labels);
  for (const auto& c : pod.containers)
    for (const auto& p : c.ports) {
      int port = pod.host_network ? p.port : p.host_port;
      if (port != 0) n.host_ports.emplace_back(p.protocol, p.host_ip.empty() ? "0.0.0.0" : p.host_ip, port);
    }
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
