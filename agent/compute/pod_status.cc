// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/pod_status.h"

#include <algorithm>

#include "agent/compute/conditions.h"

namespace trama::agent {
namespace {

using netns::ContainerPhase;
using netns::ContainerState;
using netns::ContainerStatus;

json::object state_json(const ContainerState& state, const std::string& container_id) {
  json::object detail, out;
  switch (state.phase) {
    case ContainerPhase::waiting:
      detail["reason"] = state.reason.empty() ? "ContainerCreating" : state.reason;
      if (!state.message.empty()) detail["message"] = state.message;
      out["waiting"] = std::move(detail);
      break;
    case ContainerPhase::running:
      detail["startedAt"] = whole_seconds(state.started_at);
      out["running"] = std::move(detail);
      break;
    case ContainerPhase::terminated:
      detail["containerID"] = container_id;
      detail["exitCode"] = state.exit_code;
      if (state.signal != 0) detail["signal"] = state.signal;
      detail["reason"] = !state.reason.empty() ? state.reason : state.exit_code == 0 ? "Completed" : "Error";
      if (!state.message.empty()) detail["message"] = state.message;
      if (!state.started_at.empty()) detail["startedAt"] = whole_seconds(state.started_at);
      if (!state.finished_at.empty()) detail["finishedAt"] = whole_seconds(state.finished_at);
      out["terminated"] = std::move(detail);
      break;
  }
  return out;
}

const ContainerStatus* find(const std::vector<ContainerStatus>& statuses, const std::string& name) {
  auto it = std::find_if(statuses.begin(), statuses.end(), [&](const auto& s) { return s.state.name == name; });
  return it == statuses.end() ? nullptr : &*it;
}

struct ContainerView {
  json::array statuses;
  std::vector<std::string> unready;
};

ContainerView container_statuses(const api::Object& pod, const PodFindings& findings) {
  ContainerView out;
  for (const auto& value : api::array_at(pod.body, "spec.containers")) {
    if (!value.is_object()) continue;
    auto name = api::text_at(value.get_object(), "name");
    auto id = fmt::format("trama://{}/{}", pod.uid, name);
    ContainerStatus nothing;
    nothing.state.name = name;
    if (findings.trouble) {
      nothing.state.reason = findings.trouble->reason;
      nothing.state.message = findings.trouble->message;
    } else if (auto it = findings.config_errors.find(name); it != findings.config_errors.end()) {
      nothing.state.reason = netns::kHeldReason;
      nothing.state.message = it->second;
    }
    auto* found = find(findings.containers, name);
    auto status = found ? *found : nothing;
    // The pod's init does not know what is missing.
    if (netns::is_held(status.state) && status.state.message.empty()) status.state.message = nothing.state.message;
    bool running = status.state.phase == ContainerPhase::running;
    auto verdict = findings.ready.find(name);
    bool ready = running && (verdict == findings.ready.end() || verdict->second);
    if (!ready) out.unready.push_back(name);
    json::object item;
    item["name"] = name;
    item["state"] = state_json(status.state, id);
    item["lastState"] = status.last ? state_json(*status.last, id) : json::object();
    item["ready"] = ready;
    item["started"] = running;
    item["restartCount"] = status.state.restarts;
    item["image"] = api::text_at(value.get_object(), "image");
    item["imageID"] = "";
    if (found && (running || status.state.phase == ContainerPhase::terminated || status.last)) item["containerID"] = id;
    out.statuses.push_back(std::move(item));
  }
  return out;
}

json::array ip_list(const std::vector<base::Ip>& ips) {
  json::array out;
  for (const auto& ip : ips) {
    json::object item;
    item["ip"] = ip.to_string();
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace

std::string whole_seconds(const std::string& time) {
  auto dot = time.find('.');
  if (dot == std::string::npos) return time;
  auto end = time.find_first_not_of("0123456789", dot + 1);
  return time.substr(0, dot) + (end == std::string::npos ? "" : time.substr(end));
}

std::string pod_phase(const std::string& restart_policy, std::size_t containers,
                      const std::vector<ContainerStatus>& statuses) {
  std::size_t waiting = containers - std::min(containers, statuses.size()), running = 0, stopped = 0, succeeded = 0;
  for (const auto& status : statuses) {
    if (status.state.phase == ContainerPhase::running) {
      ++running;
      continue;
    }
    const ContainerState* ended = status.state.phase == ContainerPhase::terminated ? &status.state
                                  : status.last                                    ? &*status.last
                                                                                   : nullptr;
    if (!ended) {
      ++waiting;
      continue;
    }
    ++stopped;
    if (ended->exit_code == 0 && ended->signal == 0) ++succeeded;
  }
  if (waiting > 0) return "Pending";
  if (running > 0) return "Running";
  if (stopped == 0) return "Pending";
  if (restart_policy == "Never") return stopped == succeeded ? "Succeeded" : "Failed";
  if (restart_policy == "OnFailure" && stopped == succeeded) return "Succeeded";
  return "Running";
}

bool is_pod_ready(const json::object& status) {
  for (const auto& value : api::array_at(status, "conditions"))
    if (value.is_object() && api::text_at(value.get_object(), "type") == "Ready")
      return api::text_at(value.get_object(), "status") == "True";
  return false;
}

json::object compute_pod_status(const api::Object& pod, const PodFindings& findings) {
  json::object status = api::object_at(pod.body, "status");
  auto restart = api::text_at(pod.body, "spec.restartPolicy", "Always");
  auto count = api::array_at(pod.body, "spec.containers").size();
  auto before = api::text_at(status, "phase");
  auto phase = pod_phase(restart, count, findings.containers);
  // An ended pod stays ended, and one whose containers are not known any more is not pending again.
  if (before == "Succeeded" || before == "Failed") phase = before;
  if (phase == "Pending" && before == "Running" && !findings.containers.empty()) phase = before;
  status["phase"] = phase;
  if (!findings.host_ips.empty()) {
    status["hostIP"] = findings.host_ips.front().to_string();
    status["hostIPs"] = ip_list(findings.host_ips);
  }
  if (!findings.pod_ips.empty()) {
    status["podIP"] = findings.pod_ips.front().to_string();
    status["podIPs"] = ip_list(findings.pod_ips);
  }
  if (api::text_at(status, "startTime").empty()) status["startTime"] = findings.now;

  auto containers = container_statuses(pod, findings);
  status["containerStatuses"] = std::move(containers.statuses);
  bool done = phase == "Succeeded" || phase == "Failed";
  Condition ready{"Ready", containers.unready.empty() && !done, "", "", "lastProbeTime"};
  if (done) {
    ready.reason = phase == "Succeeded" ? "PodCompleted" : "PodFailed";
  } else if (!ready.holds) {
    ready.reason = "ContainersNotReady";
    ready.message = fmt::format("containers with unready status: [{}]", fmt::join(containers.unready, " "));
  }
  auto containers_ready = ready;
  containers_ready.type = "ContainersReady";
  json::array conditions = api::array_at(status, "conditions");
  auto set = [&](const char* type, bool holds, const std::string& reason) {
    Condition condition{type, holds, reason, "", "lastProbeTime"};
    set_condition(conditions, condition, findings.now);
  };
  set("PodReadyToStartContainers", !findings.pod_ips.empty(), "");
  set("Initialized", true, phase == "Succeeded" ? "PodCompleted" : "");
  set_condition(conditions, ready, findings.now);
  set_condition(conditions, containers_ready, findings.now);
  bool scheduled = std::any_of(conditions.begin(), conditions.end(), [](const json::value& c) {
    return c.is_object() && api::text_at(c.get_object(), "type") == "PodScheduled";
  });
  if (!scheduled) set("PodScheduled", true, "");
  status["conditions"] = std::move(conditions);

  status.erase("reason");
  status.erase("message");
  if (findings.trouble) {
    status["reason"] = findings.trouble->reason;
    status["message"] = findings.trouble->message;
  }
  return status;
}

}  // namespace trama::agent
