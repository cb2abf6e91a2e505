// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/table_cells.h"

#include <algorithm>
#include <cctype>
#include <map>

#include <fmt/format.h>

#include "base/short_duration.h"
#include "control/api/table.h"

namespace trama::api::cells {
namespace {

std::string or_none(std::string s) { return s.empty() ? "<none>" : s; }

std::string join(const std::vector<std::string>& parts, std::string_view with = ",") {
  std::string out;
  for (const auto& p : parts) out += out.empty() ? p : std::string(with) + p;
  return out;
}

std::vector<std::string> texts(const json::array& list, std::string_view field = "") {
  std::vector<std::string> out;
  for (const auto& v : list) {
    if (field.empty() && v.is_string()) out.emplace_back(v.get_string());
    if (!field.empty() && v.is_object()) out.push_back(text_at(v.get_object(), field));
  }
  return out;
}

std::string condition(const json::object& body, std::string_view type) {
  for (const auto& c : array_at(body, "status.conditions"))
    if (c.is_object() && text_at(c.get_object(), "type") == type) return text_at(c.get_object(), "status");
  return "";
}

std::string selector_text(const json::object& labels) {
  std::vector<std::string> parts;
  for (const auto& [k, v] : labels)
    if (v.is_string()) parts.push_back(fmt::format("{}={}", std::string_view(k), std::string_view(v.get_string())));
  return or_none(join(parts));
}

// Upstream's printer: the reason of the container that explains the pod best, not just the phase.
std::string pod_status(const json::object& body, std::int64_t& restarts, int& ready) {
  auto reason = text_at(body, "status.reason", text_at(body, "status.phase"));
  bool initializing = false;
  const auto& init = array_at(body, "status.initContainerStatuses");
  for (std::size_t i = 0; i < init.size() && !initializing; ++i) {
    if (!init[i].is_object()) continue;
    const auto& s = init[i].get_object();
    restarts += int_at(s, "restartCount");
    if (at(s, "state.terminated") && int_at(s, "state.terminated.exitCode") == 0) continue;
    initializing = true;
    auto why = text_at(s, "state.terminated.reason", text_at(s, "state.waiting.reason"));
    reason = !why.empty() && why != "PodInitializing"
                 ? "Init:" + why
                 : fmt::format("Init:{}/{}", i, array_at(body, "spec.initContainers").size());
  }
  if (!initializing) {
    bool running = false;
    const auto& list = array_at(body, "status.containerStatuses");
    for (std::size_t i = list.size(); i-- > 0;) {
      if (!list[i].is_object()) continue;
      const auto& s = list[i].get_object();
      restarts += int_at(s, "restartCount");
      auto waiting = text_at(s, "state.waiting.reason"), ended = text_at(s, "state.terminated.reason");
      if (!waiting.empty()) {
        reason = waiting;
      } else if (!ended.empty()) {
        reason = ended;
      } else if (at(s, "state.terminated")) {
        auto signal = int_at(s, "state.terminated.signal");
        reason = signal ? fmt::format("Signal:{}", signal)
                        : fmt::format("ExitCode:{}", int_at(s, "state.terminated.exitCode"));
      } else if (bool_at(s, "ready") && at(s, "state.running")) {
        running = true;
        ++ready;
      }
    }
    if (reason == "Completed" && running) reason = condition(body, "Ready") == "True" ? "Running" : "NotReady";
  }
  if (at(body, "metadata.deletionTimestamp"))
    reason = text_at(body, "status.reason") == "NodeLost" ? "Unknown" : "Terminating";
  return reason;
}

std::vector<std::string> images(const json::object& body, std::string_view field) {
  return texts(array_at(body, "spec.template.spec.containers"), field);
}

std::string job_status(const json::object& body) {
  for (const char* end : {"Complete", "Failed"})
    if (condition(body, end) == "True") return end;
  if (at(body, "metadata.deletionTimestamp")) return "Terminating";
  for (const char* state : {"Suspended", "FailureTarget", "SuccessCriteriaMet"})
    if (condition(body, state) == "True") return state;
  return "Running";
}

}  // namespace

std::string age_of(const Context& c, std::string_view path) {
  auto t = parse_time(text_at(c.body, path));
  return t ? base::short_duration(std::chrono::seconds(std::max<std::int64_t>(0, c.now - t))) : "<unknown>";
}

std::string label_selector_text(const json::object& selector) {
  std::map<std::string, std::vector<std::string>> parts;  // by key, as upstream sorts them
  for (const auto& [key, value] : strings_at(selector, "matchLabels"))
    parts[key].push_back(fmt::format("{}={}", key, value));
  for (const auto& v : array_at(selector, "matchExpressions")) {
    if (!v.is_object()) continue;
    const auto& e = v.get_object();
    auto key = text_at(e, "key"), op = text_at(e, "operator");
    auto values = texts(array_at(e, "values"));
    std::sort(values.begin(), values.end());
    parts[key].push_back(op == "Exists" ? key
                         : op == "DoesNotExist"
                             ? "!" + key
                             : fmt::format("{} {} ({})", key, op == "In" ? "in" : "notin", join(values)));
  }
  std::vector<std::string> all;
  for (const auto& [key, list] : parts) all.insert(all.end(), list.begin(), list.end());
  return or_none(join(all));
}

Cells pod(const Context& c) {
  std::int64_t restarts = 0;
  int ready = 0;
  auto status = pod_status(c.body, restarts, ready);
  auto ips = join(texts(array_at(c.body, "status.podIPs"), "ip"));
  if (ips.empty()) ips = text_at(c.body, "status.podIP");
  return {c.object.key.name,
          fmt::format("{}/{}", ready, array_at(c.body, "spec.containers").size()),
          status,
          std::to_string(restarts),
          age_of(c),
          or_none(ips),
          or_none(text_at(c.body, "spec.nodeName")),
          or_none(text_at(c.body, "status.nominatedNodeName")),
          "<none>"};
}

Cells service(const Context& c) {
  auto type = text_at(c.body, "spec.type");
  std::vector<std::string> ports;
  for (const auto& v : array_at(c.body, "spec.ports")) {
    if (!v.is_object()) continue;
    const auto& p = v.get_object();
    auto node_port = int_at(p, "nodePort");
    ports.push_back(node_port ? fmt::format("{}:{}/{}", int_at(p, "port"), node_port, text_at(p, "protocol", "TCP"))
                              : fmt::format("{}/{}", int_at(p, "port"), text_at(p, "protocol", "TCP")));
  }
  auto external = join(texts(array_at(c.body, "spec.externalIPs")));
  if (type == "LoadBalancer") {
    auto ingress = join(texts(array_at(c.body, "status.loadBalancer.ingress"), "ip"));
    external = ingress.empty() && external.empty()
                   ? "<pending>"
                   : join({ingress, external}, ingress.empty() || external.empty() ? "" : ",");
  }
  if (type == "ExternalName") external = text_at(c.body, "spec.externalName");
  return {c.object.key.name,    type,      or_none(text_at(c.body, "spec.clusterIP")),       or_none(external),
          or_none(join(ports)), age_of(c), selector_text(object_at(c.body, "spec.selector"))};
}

Cells node(const Context& c) {
  auto ready = condition(c.body, "Ready");
  std::string status = ready == "True"    ? "Ready"
                       : ready == "False" ? "NotReady"
                       : ready.empty()    ? "Unknown"
                                          : "NotReady";
  if (bool_at(c.body, "spec.unschedulable")) status += ",SchedulingDisabled";
  std::vector<std::string> roles;
  for (const auto& [key, value] : c.object.labels)
    if (key.rfind("node-role.kubernetes.io/", 0) == 0) roles.push_back(key.substr(24));
  auto address = [&](std::string_view type) -> std::string {
    for (const auto& a : array_at(c.body, "status.addresses"))
      if (a.is_object() && text_at(a.get_object(), "type") == type) return text_at(a.get_object(), "address");
    return "<none>";
  };
  auto info = [&](const char* name) { return text_at(c.body, std::string("status.nodeInfo.") + name, "<unknown>"); };
  return {c.object.key.name,      status,
          or_none(join(roles)),   age_of(c),
          info("kubeletVersion"), address("InternalIP"),
          address("ExternalIP"),  info("osImage"),
          info("kernelVersion"),  info("containerRuntimeVersion")};
}

Cells deployment(const Context& c) {
  return {c.object.key.name,
          fmt::format("{}/{}", int_at(c.body, "status.readyReplicas"), int_at(c.body, "spec.replicas", 1)),
          int_at(c.body, "status.updatedReplicas"),
          int_at(c.body, "status.availableReplicas"),
          age_of(c),
          join(images(c.body, "name")),
          join(images(c.body, "image")),
          selector_text(object_at(c.body, "spec.selector.matchLabels"))};
}

Cells replicaset(const Context& c) {
  return {c.object.key.name,
          int_at(c.body, "spec.replicas", 1),
          int_at(c.body, "status.replicas"),
          int_at(c.body, "status.readyReplicas"),
          age_of(c),
          join(images(c.body, "name")),
          join(images(c.body, "image")),
          selector_text(object_at(c.body, "spec.selector.matchLabels"))};
}

Cells daemonset(const Context& c) {
  return {c.object.key.name,
          int_at(c.body, "status.desiredNumberScheduled"),
          int_at(c.body, "status.currentNumberScheduled"),
          int_at(c.body, "status.numberReady"),
          int_at(c.body, "status.updatedNumberScheduled"),
          int_at(c.body, "status.numberAvailable"),
          selector_text(object_at(c.body, "spec.template.spec.nodeSelector")),
          age_of(c),
          join(images(c.body, "name")),
          join(images(c.body, "image")),
          label_selector_text(object_at(c.body, "spec.selector"))};
}

Cells job(const Context& c) {
  auto done = int_at(c.body, "status.succeeded"), parallelism = int_at(c.body, "spec.parallelism");
  auto completions = at(c.body, "spec.completions") ? fmt::format("{}/{}", done, int_at(c.body, "spec.completions"))
                     : parallelism > 1              ? fmt::format("{}/1 of {}", done, parallelism)
                                                    : fmt::format("{}/1", done);
  std::string duration;
  if (auto start = parse_time(text_at(c.body, "status.startTime"))) {
    auto end = parse_time(text_at(c.body, "status.completionTime"));
    duration = base::short_duration(std::chrono::seconds(std::max<std::int64_t>(0, (end ? end : c.now) - start)));
  }
  return {c.object.key.name,
          job_status(c.body),
          completions,
          duration,
          age_of(c),
          join(images(c.body, "name")),
          join(images(c.body, "image")),
          label_selector_text(object_at(c.body, "spec.selector"))};
}

Cells slice(const Context& c) {
  std::vector<std::string> ports, addresses;
  for (const auto& p : array_at(c.body, "ports"))
    if (p.is_object())
      ports.push_back(at(p.get_object(), "port") ? std::to_string(int_at(p.get_object(), "port")) : "*");
  std::size_t more = 0;
  for (const auto& e : array_at(c.body, "endpoints"))
    for (const auto& a : texts(e.is_object() ? array_at(e.get_object(), "addresses") : json::array())) {
      if (addresses.size() < 3)
        addresses.push_back(a);
      else
        ++more;
    }
  auto shown = addresses.empty() ? "<unset>" : join(addresses);
  if (more) shown += fmt::format(" + {} more...", more);
  return {c.object.key.name, text_at(c.body, "addressType"), ports.empty() ? "<unset>" : join(ports), shown, age_of(c)};
}

Cells event(const Context& c) {
  auto kind = text_at(c.body, "involvedObject.kind");
  for (auto& ch : kind) ch = static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
  auto last = text_at(c.body, "lastTimestamp");
  auto source = text_at(c.body, "source.component", text_at(c.body, "reportingComponent"));
  auto when = !last.empty()                           ? age_of(c, "lastTimestamp")
              : !text_at(c.body, "eventTime").empty() ? age_of(c, "eventTime")
                                                      : age_of(c);
  return {when,
          text_at(c.body, "type"),
          text_at(c.body, "reason"),
          fmt::format("{}/{}", kind, text_at(c.body, "involvedObject.name")),
          text_at(c.body, "involvedObject.fieldPath"),
          source,
          text_at(c.body, "message"),
          text_at(c.body, "firstTimestamp").empty() ? when : age_of(c, "firstTimestamp"),
          int_at(c.body, "count", 1),
          c.object.key.name};
}

Cells csr(const Context& c) {
  auto has = [&](std::string_view type) { return condition(c.body, type) == "True"; };
  std::string state = has("Denied") ? "Denied" : has("Failed") ? "Failed" : has("Approved") ? "Approved" : "Pending";
  if (!text_at(c.body, "status.certificate").empty()) state += ",Issued";
  return {c.object.key.name, age_of(c), text_at(c.body, "spec.signerName"), text_at(c.body, "spec.username"),
          "<none>",          state};
}

Cells endpoints(const Context& c) {
  std::vector<std::string> shown;
  std::size_t all = 0;
  auto add = [&](const std::string& text) {
    if (++all <= 3) shown.push_back(text);
  };
  const auto& subsets = array_at(c.body, "subsets");
  for (const auto& v : subsets) {
    if (!v.is_object()) continue;
    auto ips = texts(array_at(v.get_object(), "addresses"), "ip");
    const auto& ports = array_at(v.get_object(), "ports");
    if (ports.empty())
      for (const auto& ip : ips) add(ip);
    for (const auto& p : ports)
      for (const auto& ip : ips)
        add(fmt::format("{}:{}", ip.find(':') == std::string::npos ? ip : "[" + ip + "]",
                        p.is_object() ? int_at(p.get_object(), "port") : 0));
  }
  auto text = subsets.empty() ? "<none>" : join(shown);
  if (all > 3) text += fmt::format(" + {} more...", all - 3);
  return {c.object.key.name, text, age_of(c)};
}

Cells controller_revision(const Context& c) {
  std::string owner = "<none>";
  for (const auto& v : array_at(c.body, "metadata.ownerReferences")) {
    if (!v.is_object() || !bool_at(v.get_object(), "controller")) continue;
    auto kind = text_at(v.get_object(), "kind"), group = text_at(v.get_object(), "apiVersion");
    for (auto& ch : kind) ch = static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
    auto slash = group.find('/');
    owner = fmt::format("{}{}/{}", kind, slash == std::string::npos ? "" : "." + group.substr(0, slash),
                        text_at(v.get_object(), "name"));
  }
  return {c.object.key.name, owner, int_at(c.body, "revision"), age_of(c)};
}

}  // namespace trama::api::cells
