// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/sim/model.h"

#include <algorithm>

#include "agent/compute/node_status.h"
#include "agent/compute/pod_status.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

agent::NodeFindings findings_of(const SimOptions& options, unsigned number, bool ready, const std::string& now) {
  agent::NodeFindings f;
  f.node_name = sim_name(options, number);
  f.node_ips = {sim_address(number)};
  f.labels = options.labels;
  f.labels[kSimulated] = "true";
  f.machine.kernel_version = "simulated";
  f.machine.os_image = "simulated";
  f.machine.architecture = "amd64";
  f.machine.cpus = options.cpus;
  f.machine.memory_bytes = std::uint64_t{options.memory_gib} << 30;
  f.max_pods = options.pods_per_node;
  f.ready = f.network_ready = ready;
  f.reason = ready ? "Simulated" : "NoPodCIDR";
  f.message = ready ? "trama sim says so; there is no machine" : "waits for its pod CIDR";
  f.now = now;
  return f;
}

bool is_label(std::string_view text) {
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !text.empty() && plain(text.front()) && plain(text.back()) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return plain(c) || c == '-'; });
}

bool owned_by_job(const api::Object& pod) {
  for (const auto& o : api::array_at(pod.body, "metadata.ownerReferences"))
    if (o.is_object() && api::text_at(o.get_object(), "kind") == "Job") return true;
  return false;
}

// When the container began, if its status says so.
std::string started_at(const api::Object& pod, const std::string& container, const std::string& otherwise) {
  for (const auto& s : api::array_at(pod.body, "status.containerStatuses"))
    if (s.is_object() && api::text_at(s.get_object(), "name") == container)
      return api::text_at(s.get_object(), "state.running.startedAt", otherwise);
  return otherwise;
}

}  // namespace

Result<> check(const SimOptions& options) {
  if (options.nodes == 0 || options.nodes > kMostSimulated)
    return Error::text(
        fmt::format("cannot simulate {} nodes: give a number from 1 to {}", options.nodes, kMostSimulated),
        std::errc::invalid_argument);
  if (options.prefix.size() > 50 || !is_label(options.prefix))
    return Error::text(fmt::format("\"{}\" cannot begin the names of nodes: give up to 50 small letters, digits and "
                                   "dashes, with a letter or digit at both ends",
                                   options.prefix),
                       std::errc::invalid_argument);
  if (options.lease_period < std::chrono::milliseconds(100))
    return Error::text("leases cannot be renewed more often than every 100ms", std::errc::invalid_argument);
  return {};
}

std::string sim_name(const SimOptions& options, unsigned number) {
  return fmt::format("{}-{:04}", options.prefix, number);
}

base::Ip sim_address(unsigned number) { return base::Ip::v4(198, 18, 0, 0).plus(number); }

json::object sim_node(const SimOptions& options, unsigned number, const std::string& now) {
  auto findings = findings_of(options, number, false, now);
  auto node = agent::new_node(findings);
  if (options.taint) {
    json::object taint;
    taint["key"] = kSimulated;
    taint["value"] = "true";
    taint["effect"] = "NoSchedule";
    json::array taints;
    taints.push_back(std::move(taint));
    node["spec"].as_object()["taints"] = std::move(taints);
  }
  node["status"] = agent::compute_node_status(json::object(), findings);
  return node;
}

json::object sim_node_status(const SimOptions& options, unsigned number, const api::Object& node,
                             const std::string& now) {
  bool ready = !api::array_at(node.body, "spec.podCIDRs").empty();
  return agent::compute_node_status(api::object_at(node.body, "status"), findings_of(options, number, ready, now));
}

json::object sim_lease(const SimOptions& options, const api::Object& node, const std::string& now) {
  json::object owner;
  owner["apiVersion"] = "v1";
  owner["kind"] = "Node";
  owner["name"] = node.key.name;
  owner["uid"] = node.uid;
  json::array owners;
  owners.push_back(std::move(owner));
  json::object metadata;
  metadata["name"] = node.key.name;
  metadata["namespace"] = "kube-node-lease";
  metadata["ownerReferences"] = std::move(owners);
  json::object spec;
  spec["holderIdentity"] = node.key.name;
  spec["leaseDurationSeconds"] = std::max<std::int64_t>(1, options.lease_period.count() * 4 / 1000);
  spec["renewTime"] = now;
  json::object lease;
  lease["apiVersion"] = "coordination.k8s.io/v1";
  lease["kind"] = "Lease";
  lease["metadata"] = std::move(metadata);
  lease["spec"] = std::move(spec);
  return lease;
}

json::object sim_pod_status(const api::Object& pod, const std::vector<base::Ip>& addresses, const base::Ip& node,
                            const std::string& now) {
  agent::PodFindings findings;
  findings.pod_ips = addresses;
  findings.host_ips = {node};
  findings.now = now;
  bool seen_running = api::text_at(pod.body, "status.phase") == "Running";
  bool ends = seen_running && owned_by_job(pod);
  for (const auto& value : api::array_at(pod.body, "spec.containers")) {
    if (!value.is_object()) continue;
    netns::ContainerStatus container;
    container.state.name = api::text_at(value.get_object(), "name");
    container.state.phase = ends ? netns::ContainerPhase::terminated : netns::ContainerPhase::running;
    container.state.started_at = started_at(pod, container.state.name, now);
    if (ends) container.state.finished_at = now;
    findings.containers.push_back(std::move(container));
  }
  return agent::compute_pod_status(pod, findings);
}

bool is_silent(const api::Object& node) {
  auto annotations = api::strings_at(node.body, "metadata.annotations");
  auto it = annotations.find(kSilent);
  return it != annotations.end() && it->second == "true";
}

bool is_deleting(const api::Object& object) { return api::at(object.body, "metadata.deletionTimestamp") != nullptr; }

bool has_ended(const api::Object& pod) {
  auto phase = api::text_at(pod.body, "status.phase");
  return phase == "Succeeded" || phase == "Failed";
}

bool on_host_network(const api::Object& pod) { return api::bool_at(pod.body, "spec.hostNetwork"); }

std::vector<base::Cidr> pod_cidrs_of(const api::Object& node) {
  std::vector<base::Cidr> out;
  for (const auto& text : api::array_at(node.body, "spec.podCIDRs"))
    if (text.is_string())
      if (auto cidr = base::Cidr::parse(std::string_view(text.get_string()))) out.push_back(*cidr);
  return out;
}

std::vector<base::Ip> addresses_of(const api::Object& pod) {
  std::vector<base::Ip> out;
  for (const auto& item : api::array_at(pod.body, "status.podIPs"))
    if (item.is_object())
      if (auto ip = base::Ip::parse(api::text_at(item.get_object(), "ip"))) out.push_back(*ip);
  return out;
}

}  // namespace trama::cli
