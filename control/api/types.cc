// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/types.h"

#include "control/api/decode.h"

namespace trama::api {

const Condition* find_condition(const std::vector<Condition>& all, std::string_view type) {
  for (const auto& c : all)
    if (c.type == type) return &c;
  return nullptr;
}

bool is_true(const std::vector<Condition>& all, std::string_view type) {
  const auto* c = find_condition(all, type);
  return c && c->status == "True";
}

std::vector<std::string> Node::internal_ips() const {
  std::vector<std::string> out;
  for (const auto& a : addresses)
    if (a.type == "InternalIP") out.push_back(a.address);
  return out;
}

Meta decode_meta(const Object& o) {
  const auto& m = object_at(o.body, "metadata");
  Meta out;
  out.ns = o.key.ns;
  out.name = o.key.name;
  out.uid = o.uid;
  out.revision = o.revision;
  out.generation = int_at(m, "generation");
  out.labels = o.labels;
  out.annotations = strings_at(m, "annotations");
  out.creation_timestamp = text_at(m, "creationTimestamp");
  out.deletion_timestamp = text_at(m, "deletionTimestamp");
  out.deletion_grace_seconds = int_at(m, "deletionGracePeriodSeconds");
  out.finalizers = texts_at(m, "finalizers");
  for_objects(m, "ownerReferences", [&](const json::object& r) {
    out.owners.push_back({text_at(r, "kind"), text_at(r, "name"), text_at(r, "uid"), bool_at(r, "controller")});
  });
  return out;
}

Service decode_service(const Object& o) {
  const auto& spec = object_at(o.body, "spec");
  Service s;
  s.meta = decode_meta(o);
  s.type = text_at(spec, "type", "ClusterIP");
  s.external_name = text_at(spec, "externalName");
  s.load_balancer_ip = text_at(spec, "loadBalancerIP");
  s.load_balancer_class = text_at(spec, "loadBalancerClass");
  s.session_affinity = text_at(spec, "sessionAffinity", "None");
  s.external_traffic_policy = text_at(spec, "externalTrafficPolicy");
  s.internal_traffic_policy = text_at(spec, "internalTrafficPolicy");
  s.ip_family_policy = text_at(spec, "ipFamilyPolicy");
  s.traffic_distribution = text_at(spec, "trafficDistribution");
  s.selector = strings_at(spec, "selector");
  s.cluster_ips = texts_at(spec, "clusterIPs");
  if (s.cluster_ips.empty())
    if (auto one = text_at(spec, "clusterIP"); !one.empty()) s.cluster_ips.push_back(one);
  s.ip_families = texts_at(spec, "ipFamilies");
  s.external_ips = texts_at(spec, "externalIPs");
  s.load_balancer_source_ranges = texts_at(spec, "loadBalancerSourceRanges");
  s.affinity_timeout_seconds = small_int_at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds", 10800);
  s.health_check_node_port = small_int_at(spec, "healthCheckNodePort");
  s.publish_not_ready_addresses = bool_at(spec, "publishNotReadyAddresses");
  for_objects(spec, "ports", [&](const json::object& p) {
    ServicePort port;
    port.name = text_at(p, "name");
    port.protocol = text_at(p, "protocol", "TCP");
    port.app_protocol = text_at(p, "appProtocol");
    port.port = small_int_at(p, "port");
    port.node_port = small_int_at(p, "nodePort");
    port.target_port = port_ref_at(p, "targetPort");
    if (!port.target_port.set()) port.target_port.number = port.port;
    s.ports.push_back(std::move(port));
  });
  for_objects(o.body, "status.loadBalancer.ingress", [&](const json::object& i) {
    s.load_balancer_ingress.push_back({text_at(i, "ip"), text_at(i, "hostname"), text_at(i, "ipMode")});
  });
  return s;
}

EndpointSlice decode_endpoint_slice(const Object& o) {
  EndpointSlice s;
  s.meta = decode_meta(o);
  s.address_type = text_at(o.body, "addressType", "IPv4");
  if (auto it = o.labels.find("kubernetes.io/service-name"); it != o.labels.end()) s.service_name = it->second;
  for_objects(o.body, "endpoints", [&](const json::object& e) {
    Endpoint out;
    out.addresses = texts_at(e, "addresses");
    out.ready = bool_at(e, "conditions.ready", true);
    out.serving = bool_at(e, "conditions.serving", out.ready);
    out.terminating = bool_at(e, "conditions.terminating");
    out.hostname = text_at(e, "hostname");
    out.node_name = text_at(e, "nodeName");
    out.zone = text_at(e, "zone");
    out.target_kind = text_at(e, "targetRef.kind");
    out.target_ns = text_at(e, "targetRef.namespace");
    out.target_name = text_at(e, "targetRef.name");
    out.target_uid = text_at(e, "targetRef.uid");
    for_objects(e, "hints.forZones", [&](const json::object& z) { out.for_zones.push_back(text_at(z, "name")); });
    for_objects(e, "hints.forNodes", [&](const json::object& n) { out.for_nodes.push_back(text_at(n, "name")); });
    s.endpoints.push_back(std::move(out));
  });
  for_objects(o.body, "ports", [&](const json::object& p) {
    EndpointPort out;
    out.name = text_at(p, "name");
    out.protocol = text_at(p, "protocol", "TCP");
    out.app_protocol = text_at(p, "appProtocol");
    if (at(p, "port")) out.port = small_int_at(p, "port");
    s.ports.push_back(std::move(out));
  });
  return s;
}

Node decode_node(const Object& o) {
  const auto& spec = object_at(o.body, "spec");
  const auto& status = object_at(o.body, "status");
  Node n;
  n.meta = decode_meta(o);
  n.pod_cidrs = texts_at(spec, "podCIDRs");
  if (n.pod_cidrs.empty())
    if (auto one = text_at(spec, "podCIDR"); !one.empty()) n.pod_cidrs.push_back(one);
  n.unschedulable = bool_at(spec, "unschedulable");
  for_objects(spec, "taints", [&](const json::object& t) {
    n.taints.push_back({text_at(t, "key"), text_at(t, "value"), text_at(t, "effect"), text_at(t, "timeAdded")});
  });
  for_objects(status, "addresses", [&](const json::object& a) {
    n.addresses.push_back({text_at(a, "type"), text_at(a, "address")});
  });
  n.conditions = conditions_at(status, "conditions");
  n.capacity = resources_at(status, "capacity");
  n.allocatable = resources_at(status, "allocatable");
  n.agent_port = small_int_at(status, "daemonEndpoints.kubeletEndpoint.Port");
  return n;
}

namespace {

void decode_workload(const Object& o, Workload& w) {
  const auto& spec = object_at(o.body, "spec");
  const auto& status = object_at(o.body, "status");
  w.meta = decode_meta(o);
  w.replicas = int_at(spec, "replicas", 1);
  w.min_ready_seconds = int_at(spec, "minReadySeconds");
  w.selector = object_at(spec, "selector");
  w.pod_template = object_at(spec, "template");
  w.observed_generation = int_at(status, "observedGeneration");
  w.status_replicas = int_at(status, "replicas");
  w.ready_replicas = int_at(status, "readyReplicas");
  w.available_replicas = int_at(status, "availableReplicas");
}

std::string count_or_percent_at(const json::object& o, std::string_view path, std::string_view otherwise) {
  const auto* v = at(o, path);
  if (v && v->is_int64()) return std::to_string(v->get_int64());
  return v && v->is_string() ? std::string(v->get_string()) : std::string(otherwise);
}

}  // namespace

Deployment decode_deployment(const Object& o) {
  Deployment d;
  decode_workload(o, d);
  const auto& spec = object_at(o.body, "spec");
  d.strategy = text_at(spec, "strategy.type", "RollingUpdate");
  d.max_surge = count_or_percent_at(spec, "strategy.rollingUpdate.maxSurge", "25%");
  d.max_unavailable = count_or_percent_at(spec, "strategy.rollingUpdate.maxUnavailable", "25%");
  d.revision_history_limit = int_at(spec, "revisionHistoryLimit", 10);
  d.progress_deadline_seconds = int_at(spec, "progressDeadlineSeconds", 600);
  d.paused = bool_at(spec, "paused");
  d.updated_replicas = int_at(o.body, "status.updatedReplicas");
  d.unavailable_replicas = int_at(o.body, "status.unavailableReplicas");
  return d;
}

ReplicaSet decode_replica_set(const Object& o) {
  ReplicaSet r;
  decode_workload(o, r);
  r.fully_labeled_replicas = int_at(o.body, "status.fullyLabeledReplicas");
  return r;
}

Lease decode_lease(const Object& o) {
  const auto& spec = object_at(o.body, "spec");
  Lease l;
  l.meta = decode_meta(o);
  l.holder = text_at(spec, "holderIdentity");
  l.acquire_time = text_at(spec, "acquireTime");
  l.renew_time = text_at(spec, "renewTime");
  l.duration_seconds = int_at(spec, "leaseDurationSeconds");
  l.transitions = int_at(spec, "leaseTransitions");
  return l;
}

}  // namespace trama::api
