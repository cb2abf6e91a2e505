// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/sandboxes.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "agent/compute/volumes.h"
#include "control/api/quantity.h"

namespace trama::agent {
namespace {

bool runnable_image(const std::string& image) {
  return image == "host" || image.starts_with("dir:/") || image.starts_with("bind:/");
}

// "" = the container can be run as written.
std::string unsupported_container(const json::object& container) {
  auto name = api::text_at(container, "name");
  auto image = api::text_at(container, "image");
  if (!runnable_image(image))
    return fmt::format(
        "container {}: image \"{}\": trama runs \"host\" (the node's own files, read-only), "
        "\"dir:/path\" and \"bind:/path\"; it does not pull images",
        name, image);
  if (api::array_at(container, "command").empty() && api::array_at(container, "args").empty())
    return fmt::format("container {}: needs a command: image \"{}\" has no entry point", name, image);
  if (!api::array_at(container, "volumeDevices").empty())
    return fmt::format("container {}: volumeDevices are not supported", name);
  if (api::bool_at(container, "securityContext.privileged"))
    return fmt::format("container {}: privileged containers are not supported", name);
  if (api::at(container, "lifecycle.postStart") || api::at(container, "lifecycle.preStop"))
    return fmt::format("container {}: lifecycle hooks are not supported", name);
  for (auto field : {"runAsUser", "runAsGroup", "runAsNonRoot"})
    if (api::at(container, std::string("securityContext.") + field))
      return fmt::format("container {}: securityContext.{} is not supported", name, field);
  return "";
}

// In thousandths; 0 when there is none.
base::Result<std::int64_t> quantity(const json::object& container, const std::string& path) {
  auto* value = api::at(container, path);
  if (!value || value->is_null()) return std::int64_t{0};
  auto millis = value->is_string() ? api::parse_milli(std::string_view(value->get_string()))
                                   : std::optional<std::int64_t>(api::milli_of(*value));
  if (millis && *millis >= 0) return *millis;
  return base::Error::text(fmt::format("container {}: {}: {} is no quantity", api::text_at(container, "name"), path,
                                       json::serialize(*value)));
}

unsigned to_unsigned(std::int64_t v) {
  return static_cast<unsigned>(std::min<std::int64_t>(v, std::numeric_limits<unsigned>::max()));
}

// The pod's limits are the sum of its containers'; a container without a limit leaves the pod without one.
base::Result<netns::Limits> pod_limits(const api::Object& pod) {
  netns::Limits out;
  bool cpu_bounded = true, memory_bounded = true;
  std::int64_t cpu = 0, cpu_request = 0, memory = 0;
  for (const auto& value : api::array_at(pod.body, "spec.containers")) {
    if (!value.is_object()) continue;
    const auto& container = value.get_object();
    auto cpu_limit = quantity(container, "resources.limits.cpu");
    auto memory_limit = quantity(container, "resources.limits.memory");
    auto request = quantity(container, "resources.requests.cpu");
    if (!cpu_limit) return cpu_limit.error();
    if (!memory_limit) return memory_limit.error();
    if (!request) return request.error();
    cpu_bounded = cpu_bounded && *cpu_limit > 0;
    memory_bounded = memory_bounded && *memory_limit > 0;
    cpu += *cpu_limit;
    memory += *memory_limit / 1000;
    cpu_request += *request > 0 ? *request : *cpu_limit;
  }
  if (cpu_bounded) out.cpu_millis = to_unsigned(cpu);
  if (memory_bounded) out.memory_bytes = static_cast<std::uint64_t>(memory);
  out.cpu_request_millis = to_unsigned(cpu_request);
  return out;
}

netns::RestartPolicy restart_policy(const api::Object& pod) {
  auto text = api::text_at(pod.body, "spec.restartPolicy");
  if (text == "Never") return netns::RestartPolicy::never;
  if (text == "OnFailure") return netns::RestartPolicy::on_failure;
  return netns::RestartPolicy::always;
}

base::Result<netns::Sandbox> make_sandbox(const api::Object& pod, const std::vector<base::Ip>& addresses,
                                          const ServiceNames& services, const SandboxContext& context, PodWait& wait) {
  netns::Sandbox box;
  box.uid = pod.uid;
  box.ns = pod.key.ns;
  box.name = pod.key.name;
  box.hostname = api::text_at(pod.body, "spec.hostname");
  if (box.hostname.empty()) box.hostname = pod.key.name.substr(0, 63);
  box.network.netns_name = netns_name(context.netns_prefix, pod.key.ns, pod.key.name);
  box.network.addresses = addresses;
  box.network.mtu = context.mtu;
  box.network.hosts = hosts_file(pod, box.hostname, addresses, services);
  box.network.resolv_conf = resolv_conf(pod, context.node_resolv_conf, context.dns);
  auto limits = pod_limits(pod);
  if (!limits) return limits.error();
  box.limits = *limits;
  box.restart = restart_policy(pod);
  PodFacts facts{context.node_name, addresses, context.host_ips, context.node_cpu_milli, context.node_memory_bytes};
  auto volumes = pod_volumes(pod, facts, context.sources);
  if (!volumes) return volumes.error();
  box.volumes = std::move(volumes->volumes);
  box.hold_processes = !volumes->problems.empty();
  for (auto& [name, problem] : volumes->problems)
    if (!problem.message.empty()) wait.volumes[name] = std::move(problem.message);
  for (const auto& value : api::array_at(pod.body, "spec.containers")) {
    if (!value.is_object()) continue;
    const auto& spec = value.get_object();
    netns::Container container;
    container.name = api::text_at(spec, "name");
    container.root = api::text_at(spec, "image");
    std::optional<SourceProblem> problem;
    auto given = own_variables(pod, facts);
    if (!context.api_host.empty()) add_api_server(given, context.api_host, context.api_port);
    auto environment = container_environment(pod, spec, facts, context.sources, std::move(given), problem);
    if (!environment) return environment.error();
    if (problem && problem->message.empty()) box.hold_processes = true;  // the server was not heard: in a moment
    container.held = problem.has_value();
    if (problem && !problem->message.empty()) wait.containers[container.name] = std::move(problem->message);
    container.environment = std::move(*environment);
    container.command = container_command(spec, container.environment);
    container.working_directory = api::text_at(spec, "workingDir");
    // Without its variables, what a path is made from is not known either.
    auto mounts = problem ? base::Result<std::vector<netns::VolumeMount>>(std::vector<netns::VolumeMount>())
                          : volume_mounts(spec, container.environment);
    if (!mounts) return mounts.error();
    container.mounts = std::move(*mounts);
    box.containers.push_back(std::move(container));
  }
  if (is_being_deleted(pod))
    box.stop_with_grace = std::chrono::seconds(api::int_at(pod.body, "metadata.deletionGracePeriodSeconds", 30));
  return box;
}

}  // namespace

std::string netns_name(const std::string& prefix, const std::string& ns, const std::string& pod) {
  if (!prefix.empty() && ns == "default") return prefix + pod;
  return prefix + ns + "." + pod;
}

bool is_terminal(const api::Object& pod) {
  auto phase = api::text_at(pod.body, "status.phase");
  return phase == "Succeeded" || phase == "Failed";
}

bool is_being_deleted(const api::Object& pod) { return !api::text_at(pod.body, "metadata.deletionTimestamp").empty(); }

std::string unsupported(const api::Object& pod) {
  for (auto field : {"hostNetwork", "hostPID", "hostIPC"})
    if (api::bool_at(pod.body, std::string("spec.") + field))
      return fmt::format("spec.{} is not supported: pods of trama have namespaces of their own", field);
  if (!api::array_at(pod.body, "spec.initContainers").empty()) return "spec.initContainers are not supported";
  if (!api::array_at(pod.body, "spec.ephemeralContainers").empty()) return "spec.ephemeralContainers are not supported";
  for (auto field : {"runAsUser", "runAsGroup", "runAsNonRoot"})
    if (api::at(pod.body, std::string("spec.securityContext.") + field))
      return fmt::format("spec.securityContext.{} is not supported", field);
  if (auto why = unsupported_volumes(pod); !why.empty()) return why;
  const auto& containers = api::array_at(pod.body, "spec.containers");
  if (containers.empty()) return "spec.containers is empty";
  for (const auto& value : containers) {
    if (!value.is_object()) continue;
    const auto& container = value.get_object();
    if (auto why = unsupported_container(container); !why.empty()) return why;
    for (const auto& port : api::array_at(container, "ports"))
      if (port.is_object() && api::int_at(port.get_object(), "hostPort") != 0)
        return fmt::format("container {}: ports.hostPort is not supported; use a Service with a node port",
                           api::text_at(container, "name"));
  }
  return "";
}

SandboxOutcome compute_sandboxes(const ClusterView::Objects& pods, const ServiceNames& services,
                                 const SandboxContext& context, const AddressSource& addresses) {
  SandboxOutcome out;
  std::vector<api::ObjectPtr> by_age;
  for (const auto& [name, pod] : pods)
    if (api::text_at(pod->body, "spec.nodeName") == context.node_name) by_age.push_back(pod);
  auto age = [](const api::ObjectPtr& p) {
    return std::make_tuple(api::text_at(p->body, "metadata.creationTimestamp"), p->revision, p->uid);
  };
  std::sort(by_age.begin(), by_age.end(), [&](const auto& a, const auto& b) { return age(a) < age(b); });

  std::map<std::string, std::string> name_owner;  // of a namespace's file name -> pod
  for (const auto& pod : by_age) {
    bool exists = context.existing.contains(pod->uid);
    if (!exists && (is_terminal(*pod) || is_being_deleted(*pod))) {
      if (is_being_deleted(*pod)) out.nothing_to_stop.insert(pod->uid);
      continue;
    }
    if (auto why = unsupported(*pod); !why.empty()) {
      out.troubles[pod->uid] = {"UnsupportedField", why, true};
      continue;
    }
    auto file = netns_name(context.netns_prefix, pod->key.ns, pod->key.name);
    auto [owner, free] = name_owner.try_emplace(file, pod->key.ns + "/" + pod->key.name);
    if (!free) {
      out.troubles[pod->uid] = {"NameTaken",
                                fmt::format("the namespace name {} is that of pod {}", file, owner->second), true};
      continue;
    }
    auto ips = addresses(*pod);
    if (!ips) {
      bool full =
          ips.error().is(std::errc::address_not_available) || ips.error().is(std::errc::resource_unavailable_try_again);
      out.troubles[pod->uid] = {full ? "AddressExhausted" : "NetworkNotReady", ips.error().to_string(), false};
      continue;
    }
    PodWait wait;
    auto box = make_sandbox(*pod, *ips, services, context, wait);
    if (!box) {
      out.troubles[pod->uid] = {"UnsupportedField", box.error().to_string(), true};
      continue;
    }
    if (!(wait == PodWait{})) out.waits.emplace(pod->uid, std::move(wait));
    out.desired.sandboxes.emplace(pod->uid, std::move(*box));
  }
  return out;
}

}  // namespace trama::agent
