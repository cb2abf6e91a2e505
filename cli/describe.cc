// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/describe.h"

#include <algorithm>
#include <set>

#include "cli/age.h"
#include "cli/describe_volumes.h"
#include "cli/table.h"
#include "cli/yaml/emit.h"
#include "control/api/object.h"

namespace trama::cli {

namespace json = boost::json;
using api::array_at;
using api::int_at;
using api::object_at;
using api::text_at;

namespace {

constexpr std::size_t kLabelWidth = 22;

class Page {
 public:
  void line(std::string_view label, std::string_view value) {
    auto head = std::string(label) + ":";
    head.append(head.size() < kLabelWidth ? kLabelWidth - head.size() : 1, ' ');
    text_ += head + (value.empty() ? "<none>" : std::string(value)) + "\n";
  }
  void text(std::string_view label, const json::object& o, std::string_view path) { line(label, text_at(o, path)); }
  void heading(std::string_view title) { text_ += std::string(title) + ":\n"; }
  // One "key=value" a line, aligned under each other.
  void map(std::string_view label, const json::object& values, std::string_view hidden = "") {
    bool first = true;
    for (const auto& [key, value] : values) {
      if (!hidden.empty() && key == hidden) continue;
      auto entry = fmt::format("{}={}", std::string_view(key),
                               value.is_string() ? std::string(value.get_string()) : json::serialize(value));
      if (first)
        line(label, entry);
      else
        text_ += std::string(kLabelWidth, ' ') + entry + "\n";
      first = false;
    }
    if (first) line(label, "");
  }
  // One a line, aligned under each other.
  void list(std::string_view label, const std::vector<std::string>& values) {
    if (values.empty()) return line(label, "");
    line(label, values.front());
    for (std::size_t i = 1; i < values.size(); ++i) text_ += std::string(kLabelWidth, ' ') + values[i] + "\n";
  }
  void indented(const std::string& block, std::size_t by = 2) {
    std::size_t at = 0;
    while (at < block.size()) {
      auto end = std::min(block.find('\n', at), block.size());
      if (end > at) text_.append(by, ' ').append(block, at, end - at);
      text_ += '\n';
      at = end + 1;
    }
  }
  // A block that begins with its title; without one the title alone.
  void section(std::string_view label, const std::string& block) {
    if (block.empty())
      line(label, "");
    else
      indented(block, 0);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string words(const json::array& list) {
  std::string out;
  for (const auto& w : list)
    out += (out.empty() ? "" : " ") + (w.is_string() ? std::string(w.get_string()) : json::serialize(w));
  return out;
}

void conditions(Page& page, const json::object& o) {
  Table t;
  t.header = {"Type", "Status", "Since", "Reason", "Message"};
  for (const auto& v : array_at(o, "status.conditions"))
    if (const auto* c = v.if_object())
      t.rows.push_back({text_at(*c, "type"), text_at(*c, "status"), age_of(text_at(*c, "lastTransitionTime")),
                        text_at(*c, "reason"), text_at(*c, "message")});
  if (t.rows.empty()) return;
  page.heading("Conditions");
  page.indented(t.to_text());
}

std::string state_text(const json::object& status) {
  const auto& state = object_at(status, "state");
  for (const auto& [name, value] : state) {
    const auto* o = value.if_object();
    if (!o) continue;
    auto reason = text_at(*o, "reason");
    auto message = text_at(*o, "message");
    std::string text(name);
    if (name == "terminated") text += fmt::format(" with code {}", int_at(*o, "exitCode"));
    if (!reason.empty()) text += " (" + reason + (message.empty() ? "" : ": " + message) + ")";
    if (name == "running") text += " for " + age_of(text_at(*o, "startedAt"));
    return text;
  }
  return "unknown";
}

std::string probe_text(const json::object& p) {
  std::string what = "?";
  if (p.contains("httpGet")) {
    const auto* port = api::at(p, "httpGet.port");
    what = fmt::format("http-get :{}{}",
                       port ? (port->is_string() ? std::string(port->get_string()) : json::serialize(*port)) : "?",
                       text_at(p, "httpGet.path", "/"));
  } else if (p.contains("tcpSocket")) {
    what = fmt::format("tcp-socket :{}", int_at(p, "tcpSocket.port"));
  } else if (p.contains("exec")) {
    what = "exec " + words(array_at(p, "exec.command"));
  }
  return fmt::format("{} every {}s, timeout {}s, failure after {}", what, int_at(p, "periodSeconds", 10),
                     int_at(p, "timeoutSeconds", 1), int_at(p, "failureThreshold", 3));
}

void container(Page& page, const json::object& spec, const json::array& statuses, const json::object& pod) {
  auto name = text_at(spec, "name");
  const json::object none;
  const auto* status = &none;
  for (const auto& s : statuses)
    if (const auto* o = s.if_object(); o && text_at(*o, "name") == name) status = o;
  Page inner;
  inner.line("Image", text_at(spec, "image"));
  auto command = words(array_at(spec, "command"));
  auto args = words(array_at(spec, "args"));
  inner.line("Command", command + (command.empty() || args.empty() ? "" : " ") + args);
  inner.line("State", state_text(*status));
  inner.line("Ready", api::bool_at(*status, "ready") ? "yes" : "no");
  inner.line("Restarts", std::to_string(int_at(*status, "restartCount")));
  if (!object_at(*status, "lastState").empty()) {
    json::object last;
    last["state"] = object_at(*status, "lastState");
    inner.line("Last state", state_text(last));
  }
  for (const auto& p : array_at(spec, "ports"))
    if (const auto* o = p.if_object())
      inner.line("Port", fmt::format("{} {}/{}", text_at(*o, "name", "-"), int_at(*o, "containerPort"),
                                     text_at(*o, "protocol", "TCP")));
  for (auto kind : {"limits", "requests"})
    if (const auto& r = object_at(spec, fmt::format("resources.{}", kind)); !r.empty()) inner.map(kind, r);
  for (auto probe : {"startupProbe", "readinessProbe", "livenessProbe"})
    if (const auto& p = object_at(spec, probe); !p.empty()) inner.line(probe, probe_text(p));
  if (auto from = environment_from_text(spec); !from.empty()) inner.indented(from, 0);
  inner.section("Environment", environment_text(spec, pod));
  inner.section("Mounts", mounts_text(spec));
  page.indented(name + ":\n");
  page.indented(inner.take(), 4);
}

void describe_pod(Page& page, const json::object& o) {
  page.text("Service Account", o, "spec.serviceAccountName");
  page.text("Node", o, "spec.nodeName");
  page.line("Started", age_of(text_at(o, "status.startTime")));
  page.line("Status", text_at(o, "status.phase") +
                          (text_at(o, "status.reason").empty() ? "" : " (" + text_at(o, "status.reason") + ")"));
  if (auto m = text_at(o, "status.message"); !m.empty()) page.line("Message", m);
  page.text("IP", o, "status.podIP");
  page.text("Node IP", o, "status.hostIP");
  for (const auto& r : array_at(o, "metadata.ownerReferences"))
    if (const auto* owner = r.if_object())
      page.line("Controlled by", fmt::format("{}/{}", text_at(*owner, "kind"), text_at(*owner, "name")));
  if (const auto& inits = array_at(o, "spec.initContainers"); !inits.empty()) {
    page.heading("Init Containers");
    for (const auto& c : inits)
      if (const auto* spec = c.if_object()) container(page, *spec, array_at(o, "status.initContainerStatuses"), o);
  }
  page.heading("Containers");
  for (const auto& c : array_at(o, "spec.containers"))
    if (const auto* spec = c.if_object()) container(page, *spec, array_at(o, "status.containerStatuses"), o);
}

// Below the conditions, as kubectl has it.
void describe_pod_rest(Page& page, const json::object& o) {
  page.section("Volumes", volumes_text(o));
  page.text("QoS Class", o, "status.qosClass");
  page.map("Node-Selectors", object_at(o, "spec.nodeSelector"));
  page.list("Tolerations", toleration_lines(o));
}

void describe_service(Page& page, const json::object& o, const std::vector<json::object>& slices) {
  page.text("Type", o, "spec.type");
  page.line("IPs", words(array_at(o, "spec.clusterIPs")));
  page.map("Selector", object_at(o, "spec.selector"));
  page.text("Session affinity", o, "spec.sessionAffinity");
  page.text("External traffic", o, "spec.externalTrafficPolicy");
  page.text("Internal traffic", o, "spec.internalTrafficPolicy");
  if (const auto& ips = array_at(o, "spec.externalIPs"); !ips.empty()) page.line("External IPs", words(ips));
  for (const auto& v : array_at(o, "spec.ports")) {
    const auto* p = v.if_object();
    if (!p) continue;
    const auto* target = api::at(*p, "targetPort");
    auto name = text_at(*p, "name");
    page.line("Port",
              fmt::format(
                  "{}{}/{} -> {}{}", name.empty() ? "" : name + " ", int_at(*p, "port"), text_at(*p, "protocol", "TCP"),
                  target ? (target->is_string() ? std::string(target->get_string()) : json::serialize(*target)) : "?",
                  int_at(*p, "nodePort") ? fmt::format("  node port {}", int_at(*p, "nodePort")) : ""));
  }
  Table t;
  t.header = {"Address", "Ports", "Pod", "Node", "Ready", "Serving"};
  for (const auto& s : slices) {
    std::string ports;
    for (const auto& p : array_at(s, "ports"))
      if (const auto* port = p.if_object()) ports += (ports.empty() ? "" : ",") + std::to_string(int_at(*port, "port"));
    for (const auto& e : array_at(s, "endpoints"))
      if (const auto* endpoint = e.if_object())
        t.rows.push_back({words(array_at(*endpoint, "addresses")), ports, text_at(*endpoint, "targetRef.name"),
                          text_at(*endpoint, "nodeName"),
                          api::bool_at(*endpoint, "conditions.ready", true) ? "yes" : "no",
                          api::bool_at(*endpoint, "conditions.serving", true) ? "yes" : "no"});
  }
  if (t.rows.empty()) return page.line("Endpoints", "none: no ready pod matches the selector");
  page.heading("Endpoints");
  page.indented(t.to_text());
}

void describe_node(Page& page, const json::object& o, const std::vector<json::object>& pods) {
  for (const auto& a : array_at(o, "status.addresses"))
    if (const auto* address = a.if_object()) page.line(text_at(*address, "type"), text_at(*address, "address"));
  page.line("Pod CIDRs", words(array_at(o, "spec.podCIDRs")));
  page.line("Unschedulable", api::bool_at(o, "spec.unschedulable") ? "yes" : "no");
  for (const auto& t : array_at(o, "spec.taints"))
    if (const auto* taint = t.if_object())
      page.line("Taint",
                fmt::format("{}={}:{}", text_at(*taint, "key"), text_at(*taint, "value"), text_at(*taint, "effect")));
  page.map("Capacity", object_at(o, "status.capacity"));
  page.text("Kernel", o, "status.nodeInfo.kernelVersion");
  page.text("Agent", o, "status.nodeInfo.kubeletVersion");
  Table t;
  t.header = {"Namespace", "Pod", "Status", "IP"};
  for (const auto& p : pods)
    t.rows.push_back({text_at(p, "metadata.namespace"), text_at(p, "metadata.name"), text_at(p, "status.phase"),
                      text_at(p, "status.podIP")});
  if (t.rows.empty()) return page.line("Pods", "");
  page.heading(fmt::format("Pods ({})", t.rows.size()));
  page.indented(t.to_text());
}

void pod_template(Page& page, const json::object& o) {
  page.heading("Containers");
  for (const auto& c : array_at(o, "spec.template.spec.containers")) {
    const auto* spec = c.if_object();
    if (!spec) continue;
    page.indented(text_at(*spec, "name") + ":\n");
    Page inner;
    inner.line("Image", text_at(*spec, "image"));
    inner.line("Command", words(array_at(*spec, "command")));
    page.indented(inner.take(), 4);
  }
}

void describe_workload(Page& page, const json::object& o) {
  page.map("Selector", object_at(o, "spec.selector.matchLabels"));
  page.line("Replicas",
            fmt::format("{} wanted, {} there, {} updated, {} ready, {} available", int_at(o, "spec.replicas", 1),
                        int_at(o, "status.replicas"), int_at(o, "status.updatedReplicas", int_at(o, "status.replicas")),
                        int_at(o, "status.readyReplicas"), int_at(o, "status.availableReplicas")));
  if (auto s = text_at(o, "spec.strategy.type"); !s.empty()) page.line("Strategy", s);
  pod_template(page, o);
}

void describe_daemon_set(Page& page, const json::object& o) {
  page.map("Selector", object_at(o, "spec.selector.matchLabels"));
  page.map("Node selector", object_at(o, "spec.template.spec.nodeSelector"));
  page.line("Nodes", fmt::format("{} wanted, {} have one, {} updated, {} ready, {} available, {} misplaced",
                                 int_at(o, "status.desiredNumberScheduled"), int_at(o, "status.currentNumberScheduled"),
                                 int_at(o, "status.updatedNumberScheduled"), int_at(o, "status.numberReady"),
                                 int_at(o, "status.numberAvailable"), int_at(o, "status.numberMisscheduled")));
  page.text("Update strategy", o, "spec.updateStrategy.type");
  pod_template(page, o);
}

void describe_job(Page& page, const json::object& o) {
  page.map("Selector", object_at(o, "spec.selector.matchLabels"));
  auto wanted = api::at(o, "spec.completions") ? std::to_string(int_at(o, "spec.completions")) : "any";
  page.line("Completions", fmt::format("{} wanted, {} at a time, {}", wanted, int_at(o, "spec.parallelism", 1),
                                       text_at(o, "spec.completionMode", "NonIndexed")));
  page.line("Pods",
            fmt::format("{} active, {} succeeded, {} failed of {} that may", int_at(o, "status.active"),
                        int_at(o, "status.succeeded"), int_at(o, "status.failed"), int_at(o, "spec.backoffLimit", 6)));
  page.text("Completed indexes", o, "status.completedIndexes");
  page.text("Started", o, "status.startTime");
  page.text("Completed", o, "status.completionTime");
  if (api::bool_at(o, "spec.suspend")) page.line("Suspended", "yes");
  pod_template(page, o);
}

void describe_generic(Page& page, const json::object& o) {
  for (const auto& [key, value] : o) {
    if (key == "apiVersion" || key == "kind" || key == "metadata") continue;
    if (value.is_object() || value.is_array()) {
      page.heading(key);
      page.indented(to_yaml(value));
    } else {
      page.line(key, value.is_string() ? std::string(value.get_string()) : json::serialize(value));
    }
  }
}

void events(Page& page, std::vector<json::object> list) {
  auto time_of = [](const json::object& e) {
    auto t = text_at(e, "lastTimestamp");
    return t.empty() ? text_at(e, "eventTime", text_at(e, "metadata.creationTimestamp")) : t;
  };
  std::stable_sort(list.begin(), list.end(), [&](const auto& a, const auto& b) { return time_of(a) < time_of(b); });
  Table t;
  t.header = {"Age", "Type", "Reason", "From", "Message"};
  for (const auto& e : list) {
    auto count = int_at(e, "count", 1);
    t.rows.push_back({age_of(time_of(e)) + (count > 1 ? fmt::format(" (x{})", count) : ""), text_at(e, "type"),
                      text_at(e, "reason"), text_at(e, "source.component", text_at(e, "reportingComponent")),
                      text_at(e, "message")});
  }
  if (t.rows.empty()) return page.line("Events", "");
  page.heading("Events");
  page.indented(t.to_text());
}

}  // namespace

std::string describe_text(const Kind& kind, const json::object& o, const Surroundings& around) {
  Page page;
  page.text("Name", o, "metadata.name");
  if (kind.namespaced) page.text("Namespace", o, "metadata.namespace");
  page.line("Age", age_of(text_at(o, "metadata.creationTimestamp")));
  if (auto t = text_at(o, "metadata.deletionTimestamp"); !t.empty()) page.line("Being deleted", "since " + age_of(t));
  page.map("Labels", object_at(o, "metadata.labels"));
  page.map("Annotations", object_at(o, "metadata.annotations"), "kubectl.kubernetes.io/last-applied-configuration");
  if (kind.resource == "pods")
    describe_pod(page, o);
  else if (kind.resource == "services")
    describe_service(page, o, around.related);
  else if (kind.resource == "nodes")
    describe_node(page, o, around.related);
  else if (kind.resource == "deployments" || kind.resource == "replicasets")
    describe_workload(page, o);
  else if (kind.resource == "daemonsets")
    describe_daemon_set(page, o);
  else if (kind.resource == "jobs")
    describe_job(page, o);
  else
    describe_generic(page, o);
  static const std::set<std::string_view> kWithConditions = {"pods", "nodes", "deployments", "replicasets", "jobs"};
  if (kWithConditions.contains(kind.resource)) conditions(page, o);
  if (kind.resource == "pods") describe_pod_rest(page, o);
  if (!around.programmed.empty()) {
    page.heading("Programmed");
    page.indented(around.programmed);
  }
  events(page, around.events);
  return page.take();
}

}  // namespace trama::cli
