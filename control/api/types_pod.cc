// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/decode.h"
#include "control/api/types.h"

namespace trama::api {
namespace {

Probe probe_at(const json::object& container, std::string_view field) {
  const auto& o = object_at(container, field);
  Probe p;
  if (o.empty()) return p;
  if (const auto* exec = at(o, "exec"); exec && exec->is_object()) {
    p.type = Probe::Type::exec;
    p.command = texts_at(o, "exec.command");
  } else if (at(o, "httpGet")) {
    p.type = Probe::Type::http;
    p.host = text_at(o, "httpGet.host");
    p.path = text_at(o, "httpGet.path", "/");
    p.scheme = text_at(o, "httpGet.scheme", "HTTP");
    p.port = port_ref_at(o, "httpGet.port");
    for_objects(o, "httpGet.httpHeaders",
                [&](const json::object& h) { p.headers.emplace_back(text_at(h, "name"), text_at(h, "value")); });
  } else if (at(o, "tcpSocket")) {
    p.type = Probe::Type::tcp;
    p.host = text_at(o, "tcpSocket.host");
    p.port = port_ref_at(o, "tcpSocket.port");
  } else if (at(o, "grpc")) {
    p.type = Probe::Type::grpc;
    p.port = port_ref_at(o, "grpc.port");
    p.grpc_service = text_at(o, "grpc.service");
  }
  p.initial_delay_seconds = small_int_at(o, "initialDelaySeconds");
  p.timeout_seconds = small_int_at(o, "timeoutSeconds", 1);
  p.period_seconds = small_int_at(o, "periodSeconds", 10);
  p.success_threshold = small_int_at(o, "successThreshold", 1);
  p.failure_threshold = small_int_at(o, "failureThreshold", 3);
  return p;
}

EnvVar decode_env(const json::object& e) {
  EnvVar out;
  out.name = text_at(e, "name");
  out.value = text_at(e, "value");
  out.field_path = text_at(e, "valueFrom.fieldRef.fieldPath");
  out.resource_name = text_at(e, "valueFrom.resourceFieldRef.resource");
  out.unsupported = at(e, "valueFrom.configMapKeyRef") || at(e, "valueFrom.secretKeyRef");
  return out;
}

std::optional<std::int64_t> number_at(const json::object& o, std::string_view path) {
  if (!at(o, path)) return std::nullopt;
  return int_at(o, path);
}

std::vector<ContainerStatus> statuses_at(const json::object& status, std::string_view field) {
  std::vector<ContainerStatus> out;
  for_objects(status, field, [&](const json::object& s) {
    ContainerStatus c;
    c.name = text_at(s, "name");
    c.container_id = text_at(s, "containerID");
    c.image = text_at(s, "image");
    c.ready = bool_at(s, "ready");
    c.started = bool_at(s, "started");
    c.restart_count = small_int_at(s, "restartCount");
    for (const char* state : {"running", "waiting", "terminated"}) {
      const auto* v = at(s, std::string("state.") + state);
      if (!v || !v->is_object()) continue;
      const auto& o = v->get_object();
      c.state = state;
      c.reason = text_at(o, "reason");
      c.message = text_at(o, "message");
      c.started_at = text_at(o, "startedAt");
      c.finished_at = text_at(o, "finishedAt");
      c.exit_code = small_int_at(o, "exitCode");
    }
    out.push_back(std::move(c));
  });
  return out;
}

std::vector<std::string> ips_at(const json::object& status, std::string_view list, const std::string& first) {
  std::vector<std::string> out;
  for_objects(status, list, [&](const json::object& ip) { out.push_back(text_at(ip, "ip")); });
  if (out.empty() && !first.empty()) out.push_back(first);
  return out;
}

}  // namespace

Container decode_container(const json::object& o) {
  Container c;
  c.name = text_at(o, "name");
  c.image = text_at(o, "image");
  c.working_dir = text_at(o, "workingDir");
  c.image_pull_policy = text_at(o, "imagePullPolicy");
  c.command = texts_at(o, "command");
  c.args = texts_at(o, "args");
  for_objects(o, "env", [&](const json::object& e) { c.env.push_back(decode_env(e)); });
  for_objects(o, "ports", [&](const json::object& p) {
    ContainerPort port;
    port.name = text_at(p, "name");
    port.protocol = text_at(p, "protocol", "TCP");
    port.host_ip = text_at(p, "hostIP");
    port.port = small_int_at(p, "containerPort");
    port.host_port = small_int_at(p, "hostPort");
    c.ports.push_back(std::move(port));
  });
  c.requests = resources_at(o, "resources.requests");
  c.limits = resources_at(o, "resources.limits");
  c.liveness = probe_at(o, "livenessProbe");
  c.readiness = probe_at(o, "readinessProbe");
  c.startup = probe_at(o, "startupProbe");
  c.pre_stop = texts_at(o, "lifecycle.preStop.exec.command");
  c.run_as_user = number_at(o, "securityContext.runAsUser");
  c.run_as_group = number_at(o, "securityContext.runAsGroup");
  c.tty = bool_at(o, "tty");
  c.stdin_open = bool_at(o, "stdin");
  return c;
}

Pod decode_pod(const Object& o) {
  const auto& spec = object_at(o.body, "spec");
  const auto& status = object_at(o.body, "status");
  Pod p;
  p.meta = decode_meta(o);
  p.node_name = text_at(spec, "nodeName");
  p.restart_policy = text_at(spec, "restartPolicy", "Always");
  p.dns_policy = text_at(spec, "dnsPolicy", "ClusterFirst");
  p.hostname = text_at(spec, "hostname");
  p.subdomain = text_at(spec, "subdomain");
  p.service_account = text_at(spec, "serviceAccountName");
  p.scheduler_name = text_at(spec, "schedulerName", "default-scheduler");
  p.node_selector = strings_at(spec, "nodeSelector");
  for_objects(spec, "initContainers", [&](const json::object& c) { p.init_containers.push_back(decode_container(c)); });
  for_objects(spec, "containers", [&](const json::object& c) { p.containers.push_back(decode_container(c)); });
  // The pod's own user applies to containers that name none.
  for (auto* list : {&p.init_containers, &p.containers})
    for (auto& c : *list) {
      if (!c.run_as_user) c.run_as_user = number_at(spec, "securityContext.runAsUser");
      if (!c.run_as_group) c.run_as_group = number_at(spec, "securityContext.runAsGroup");
    }
  for_objects(spec, "tolerations", [&](const json::object& t) {
    p.tolerations.push_back({text_at(t, "key"), text_at(t, "operator", "Equal"), text_at(t, "value"),
                             text_at(t, "effect"), number_at(t, "tolerationSeconds")});
  });
  for_objects(spec, "hostAliases", [&](const json::object& a) {
    p.host_aliases.push_back({text_at(a, "ip"), texts_at(a, "hostnames")});
  });
  p.dns_servers = texts_at(spec, "dnsConfig.nameservers");
  p.dns_searches = texts_at(spec, "dnsConfig.searches");
  for_objects(spec, "dnsConfig.options",
              [&](const json::object& d) { p.dns_options.emplace_back(text_at(d, "name"), text_at(d, "value")); });
  for_objects(spec, "securityContext.sysctls",
              [&](const json::object& s) { p.sysctls.emplace_back(text_at(s, "name"), text_at(s, "value")); });
  p.grace_seconds = int_at(spec, "terminationGracePeriodSeconds", 30);
  p.host_network = bool_at(spec, "hostNetwork");
  p.phase = text_at(status, "phase");
  p.pod_ip = text_at(status, "podIP");
  p.host_ip = text_at(status, "hostIP");
  p.start_time = text_at(status, "startTime");
  p.pod_ips = ips_at(status, "podIPs", p.pod_ip);
  p.host_ips = ips_at(status, "hostIPs", p.host_ip);
  p.conditions = conditions_at(status, "conditions");
  p.container_statuses = statuses_at(status, "containerStatuses");
  p.init_container_statuses = statuses_at(status, "initContainerStatuses");
  return p;
}

}  // namespace trama::api
