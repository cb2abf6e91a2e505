// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/node_status.h"

#include "agent/compute/conditions.h"

namespace trama::agent {
namespace {

std::map<std::string, std::string> all_labels(const NodeFindings& findings) {
  std::map<std::string, std::string> out = {{"kubernetes.io/hostname", findings.node_name},
                                            {"kubernetes.io/os", "linux"},
                                            {"kubernetes.io/arch", findings.machine.architecture}};
  for (const auto& [key, value] : findings.labels) out[key] = value;
  return out;
}

json::object resources(const NodeFindings& findings) {
  json::object out;
  out["cpu"] = std::to_string(findings.machine.cpus);
  out["memory"] = fmt::format("{}Ki", findings.machine.memory_bytes / 1024);
  out["pods"] = std::to_string(findings.max_pods);
  return out;
}

}  // namespace

json::object new_node(const NodeFindings& findings) {
  json::object labels;
  for (const auto& [key, value] : all_labels(findings)) labels[key] = value;
  json::object metadata;
  metadata["name"] = findings.node_name;
  metadata["labels"] = std::move(labels);
  json::object node;
  node["apiVersion"] = "v1";
  node["kind"] = "Node";
  node["metadata"] = std::move(metadata);
  node["spec"] = json::object();
  return node;
}

std::map<std::string, std::string> missing_labels(const api::Object& node, const NodeFindings& findings) {
  auto out = all_labels(findings);
  for (const auto& [key, value] : node.labels)
    if (auto it = out.find(key); it != out.end() && it->second == value) out.erase(it);
  return out;
}

json::object compute_node_status(const json::object& present_status, const NodeFindings& findings) {
  json::object status = present_status;
  status["capacity"] = resources(findings);
  status["allocatable"] = resources(findings);
  json::array addresses;
  for (const auto& ip : findings.node_ips) {
    json::object item;
    item["type"] = "InternalIP";
    item["address"] = ip.to_string();
    addresses.push_back(std::move(item));
  }
  json::object hostname;
  hostname["type"] = "Hostname";
  hostname["address"] = findings.node_name;
  addresses.push_back(std::move(hostname));
  status["addresses"] = std::move(addresses);

  json::object info;
  info["machineID"] = findings.machine.machine_id;
  info["systemUUID"] = findings.machine.machine_id;
  info["bootID"] = findings.machine.boot_id;
  info["kernelVersion"] = findings.machine.kernel_version;
  info["osImage"] = findings.machine.os_image;
  info["containerRuntimeVersion"] = "trama://" TRAMA_VERSION;
  info["kubeletVersion"] = "v" TRAMA_VERSION "+trama";
  info["kubeProxyVersion"] = "v" TRAMA_VERSION "+trama";
  info["operatingSystem"] = "linux";
  info["architecture"] = findings.machine.architecture;
  status["nodeInfo"] = std::move(info);
  if (findings.api_port != 0) {
    json::object port;
    port["Port"] = findings.api_port;
    json::object endpoints;
    endpoints["kubeletEndpoint"] = std::move(port);
    status["daemonEndpoints"] = std::move(endpoints);
  }

  json::array conditions = api::array_at(status, "conditions");
  auto set = [&](const char* type, bool holds, const std::string& reason, const std::string& message) {
    Condition condition{type, holds, reason, message, "lastHeartbeatTime"};
    set_condition(conditions, condition, findings.now);
  };
  set("Ready", findings.ready, findings.reason, findings.message);
  set("NetworkUnavailable", !findings.network_ready, findings.network_ready ? "OverlayReady" : "OverlayNotReady",
      findings.network_ready ? "the overlay is programmed" : "the overlay is not programmed yet");
  if (findings.paths) set("OverlayReady", findings.paths->holds, findings.paths->reason, findings.paths->message);
  if (findings.obstacles) {
    auto verdict = judge_obstacles(*findings.obstacles);
    set("ServicesUnobstructed", findings.obstacles->empty(), verdict.reason, verdict.message);
  }
  status["conditions"] = std::move(conditions);
  return status;
}

bool differ_in_words(const json::object& one, const json::object& other) {
  auto bare = [](json::object status) {
    if (auto* list = status.if_contains("conditions"); list && list->is_array())
      for (auto& item : list->get_array())
        if (item.is_object())
          for (auto field : {"message", "lastHeartbeatTime"}) item.get_object().erase(field);
    return status;
  };
  return one != other && bare(one) == bare(other);
}

}  // namespace trama::agent
