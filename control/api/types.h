// SPDX-License-Identifier: GPL-2.0-or-later
// Typed, read-only views of the objects that loops and agents work with. Decoding never fails: objects were validated
// at the door (or by a real kube-apiserver); a field that is absent or of another type reads as its default.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/api/object.h"

namespace trama::api {

using StringMap = std::map<std::string, std::string>;

struct Owner {
  std::string kind, name, uid;
  bool controller = false;
};

struct Meta {
  std::string ns, name, uid;
  std::uint64_t revision = 0;
  std::int64_t generation = 0;
  StringMap labels, annotations;
  std::string creation_timestamp;  // RFC 3339
  std::string deletion_timestamp;  // "" = not being deleted
  std::int64_t deletion_grace_seconds = 0;
  std::vector<std::string> finalizers;
  std::vector<Owner> owners;
  bool deleting() const { return !deletion_timestamp.empty(); }
};

struct Condition {
  std::string type, status, reason, message, last_transition_time;
};
// The entry of that type, or null.
const Condition* find_condition(const std::vector<Condition>& all, std::string_view type);
bool is_true(const std::vector<Condition>& all, std::string_view type);

// A port that is a number or the name of a container port.
struct PortRef {
  int number = 0;
  std::string name;  // "" when it is a number
  bool set() const { return number != 0 || !name.empty(); }
};

struct Resources {
  std::int64_t cpu_milli = 0;     // 0 = not given
  std::int64_t memory_bytes = 0;  // 0 = not given
  std::int64_t pods = 0;          // of nodes: how many pods they take
};

struct EnvVar {
  std::string name, value;
  std::string field_path;     // valueFrom.fieldRef.fieldPath: "status.podIP"
  std::string resource_name;  // valueFrom.resourceFieldRef.resource: "limits.cpu"
  bool unsupported = false;   // from a ConfigMap or a Secret
};

struct ContainerPort {
  std::string name, protocol = "TCP", host_ip;
  int port = 0, host_port = 0;
};

struct Probe {
  enum class Type { none, exec, http, tcp, grpc };
  Type type = Type::none;
  std::vector<std::string> command;
  std::string host, path = "/", scheme = "HTTP", grpc_service;
  std::vector<std::pair<std::string, std::string>> headers;
  PortRef port;
  int initial_delay_seconds = 0, timeout_seconds = 1, period_seconds = 10;
  int success_threshold = 1, failure_threshold = 3;
  explicit operator bool() const { return type != Type::none; }
};

struct Container {
  std::string name, image, working_dir, image_pull_policy;
  std::vector<std::string> command, args;
  std::vector<EnvVar> env;
  std::vector<ContainerPort> ports;
  Resources requests, limits;
  Probe liveness, readiness, startup;
  std::vector<std::string> pre_stop;  // lifecycle.preStop.exec.command
  std::optional<std::int64_t> run_as_user, run_as_group;
  bool tty = false, stdin_open = false;
};

struct ContainerStatus {
  std::string name, container_id, image;
  bool ready = false, started = false;
  int restart_count = 0;
  std::string state;  // "waiting", "running", "terminated"
  std::string reason, message, started_at, finished_at;
  int exit_code = 0;
};

struct Toleration {
  std::string key, op = "Equal", value, effect;
  std::optional<std::int64_t> seconds;
};

struct HostAlias {
  std::string ip;
  std::vector<std::string> hostnames;
};

struct Pod {
  Meta meta;
  std::string node_name, restart_policy = "Always", dns_policy = "ClusterFirst", hostname, subdomain, service_account;
  std::string scheduler_name;
  StringMap node_selector;
  std::vector<Container> init_containers, containers;
  std::vector<Toleration> tolerations;
  std::vector<HostAlias> host_aliases;
  std::vector<std::string> dns_servers, dns_searches;
  std::vector<std::pair<std::string, std::string>> dns_options, sysctls;
  std::int64_t grace_seconds = 30;
  bool host_network = false;
  // status
  std::string phase, pod_ip, host_ip, start_time;
  std::vector<std::string> pod_ips, host_ips;
  std::vector<Condition> conditions;
  std::vector<ContainerStatus> container_statuses, init_container_statuses;

  bool ready() const { return is_true(conditions, "Ready"); }
  bool finished() const { return phase == "Succeeded" || phase == "Failed"; }
};

struct ServicePort {
  std::string name, protocol = "TCP", app_protocol;
  int port = 0, node_port = 0;
  PortRef target_port;
};

struct Service {
  Meta meta;
  std::string type = "ClusterIP", external_name, load_balancer_ip, load_balancer_class;
  std::string session_affinity = "None", external_traffic_policy, internal_traffic_policy, ip_family_policy;
  std::string traffic_distribution;
  StringMap selector;
  std::vector<std::string> cluster_ips, ip_families, external_ips, load_balancer_source_ranges;
  std::vector<ServicePort> ports;
  int affinity_timeout_seconds = 10800, health_check_node_port = 0;
  bool publish_not_ready_addresses = false;
  struct Ingress {
    std::string ip, hostname, ip_mode;
  };
  std::vector<Ingress> load_balancer_ingress;  // status
  bool headless() const { return !cluster_ips.empty() && cluster_ips[0] == "None"; }
};

struct Endpoint {
  std::vector<std::string> addresses;
  bool ready = true, serving = true, terminating = false;
  std::string hostname, node_name, zone;
  std::string target_kind, target_ns, target_name, target_uid;
  std::vector<std::string> for_zones, for_nodes;  // hints
};

struct EndpointPort {
  std::string name, protocol = "TCP", app_protocol;
  std::optional<int> port;  // absent = every port
};

struct EndpointSlice {
  Meta meta;
  std::string address_type = "IPv4", service_name;  // service_name: label kubernetes.io/service-name
  std::vector<Endpoint> endpoints;
  std::vector<EndpointPort> ports;
};

struct Taint {
  std::string key, value, effect, time_added;
};

struct NodeAddress {
  std::string type, address;  // "InternalIP", "Hostname"
};

struct Node {
  Meta meta;
  std::vector<std::string> pod_cidrs;
  bool unschedulable = false;
  std::vector<Taint> taints;
  // status
  std::vector<NodeAddress> addresses;
  std::vector<Condition> conditions;
  Resources capacity, allocatable;
  int agent_port = 0;  // status.daemonEndpoints.kubeletEndpoint.Port
  bool ready() const { return is_true(conditions, "Ready"); }
  std::vector<std::string> internal_ips() const;
};

struct Workload {  // what Deployments and ReplicaSets have in common
  Meta meta;
  std::int64_t replicas = 1, min_ready_seconds = 0;
  json::object selector, pod_template;
  std::int64_t observed_generation = 0, status_replicas = 0, ready_replicas = 0, available_replicas = 0;
};

struct Deployment : Workload {
  std::string strategy = "RollingUpdate";
  std::string max_surge = "25%", max_unavailable = "25%";  // a number or a percentage
  std::int64_t revision_history_limit = 10, progress_deadline_seconds = 600;
  std::int64_t updated_replicas = 0, unavailable_replicas = 0;
  bool paused = false;
};

struct ReplicaSet : Workload {
  std::int64_t fully_labeled_replicas = 0;
};

struct Lease {
  Meta meta;
  std::string holder, acquire_time, renew_time;
  std::int64_t duration_seconds = 0, transitions = 0;
};

Meta decode_meta(const Object& o);
Pod decode_pod(const Object& o);
Service decode_service(const Object& o);
EndpointSlice decode_endpoint_slice(const Object& o);
Node decode_node(const Object& o);
Deployment decode_deployment(const Object& o);
ReplicaSet decode_replica_set(const Object& o);
Lease decode_lease(const Object& o);
// A container of a pod or of a pod template.
Container decode_container(const json::object& o);

}  // namespace trama::api
