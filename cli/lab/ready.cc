// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/lab/ready.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <thread>

#include "cli/condition.h"
#include "cli/fetch.h"
#include "cli/interrupt.h"
#include "control/api/object.h"

namespace trama::cli {

using api::array_at;
using api::int_at;
using api::object_at;
using api::text_at;
using base::Error;
using base::Result;

namespace {

std::string path(std::string_view resource) { return path_of(*api::kind_of_resource(resource), ""); }

bool finished(const json::object& pod) { return text_at(pod, "status.phase") == "Succeeded"; }
bool leaving(const json::object& o) { return !text_at(o, "metadata.deletionTimestamp").empty(); }

bool has_replicas(const json::object& workload) {
  auto wanted = int_at(workload, "spec.replicas", 1);
  return int_at(workload, "status.observedGeneration") >= int_at(workload, "metadata.generation") &&
         int_at(workload, "status.replicas") == wanted && int_at(workload, "status.readyReplicas") == wanted;
}

bool runs_everywhere(const json::object& daemon_set) {
  auto wanted = int_at(daemon_set, "status.desiredNumberScheduled");
  return int_at(daemon_set, "status.observedGeneration") >= int_at(daemon_set, "metadata.generation") &&
         int_at(daemon_set, "status.updatedNumberScheduled") == wanted &&
         int_at(daemon_set, "status.numberReady") == wanted;
}

// A pod that failed for a Job: whether another one follows is the Job's affair.
bool spent(const json::object& pod) {
  if (text_at(pod, "status.phase") != "Failed") return false;
  for (const auto& r : array_at(pod, "metadata.ownerReferences"))
    if (const auto* o = r.if_object(); o && text_at(*o, "kind") == "Job") return true;
  return false;
}

// What is short of what it should be, in words; "" when nothing is.
std::string shortage(const std::string& key, const json::object& o) {
  auto kind = text_at(o, "kind");
  if (kind == "DaemonSet")
    return runs_everywhere(o) ? ""
                              : fmt::format("DaemonSet {}: {} of {} ready", key, int_at(o, "status.numberReady"),
                                            int_at(o, "status.desiredNumberScheduled"));
  return has_replicas(o) ? ""
                         : fmt::format("{} {}: {} of {} ready", kind, key, int_at(o, "status.readyReplicas"),
                                       int_at(o, "spec.replicas", 1));
}

// "web-1 is waiting (CrashLoopBackOff: …)"
std::string complaint(const json::object& pod) {
  auto name = text_at(pod, "metadata.name");
  for (const auto& s : array_at(pod, "status.containerStatuses"))
    if (const auto* o = s.if_object())
      for (auto state : {"waiting", "terminated"})
        if (const auto& why = object_at(*o, fmt::format("state.{}", state)); !why.empty())
          return fmt::format("{} is {} ({}{})", name, state, text_at(why, "reason", "no reason given"),
                             text_at(why, "message").empty() ? "" : ": " + text_at(why, "message"));
  for (const auto& c : array_at(pod, "status.conditions"))
    if (const auto* o = c.if_object(); o && text_at(*o, "status") == "False" && !text_at(*o, "message").empty())
      return fmt::format("{}: {}", name, text_at(*o, "message"));
  return fmt::format("{} is {}", name, text_at(pod, "status.phase", "not known yet"));
}

Error late(std::string what, const std::vector<std::string>& complaints) {
  std::string text = std::move(what);
  for (const auto& c : complaints) text += "\n    " + c;
  return Error::text(text, std::errc::timed_out);
}

}  // namespace

Result<> wait_nodes(Api& api, const std::vector<std::string>& names, const OnProgress& tell, Deadline deadline) {
  Progress seen;
  auto check = [&](const ObjectSet& now, const json::object*) {
    Progress p;
    p.wanted = names.size();
    for (const auto& name : names) {
      auto it = now.find(name);
      if (it == now.end() || !condition_is(it->second, "Ready")) continue;
      ++p.done;
      p.names += (p.names.empty() ? "" : " ") + name;
    }
    seen = p;
    tell(p);
    return p.done == p.wanted;
  };
  auto r = watch_until(api, path("nodes"), "", check, deadline);
  if (!r && r.error().is(std::errc::timed_out))
    return late(fmt::format("only {} of {} nodes became ready ({})", seen.done, seen.wanted,
                            seen.names.empty() ? "none" : seen.names),
                {});
  return r;
}

Result<> wait_pods(Api& api, const OnProgress& tell, Deadline deadline) {
  std::vector<std::string> unready;
  for (auto resource : {"deployments", "replicasets", "daemonsets"}) {
    auto check = [&](const ObjectSet& now, const json::object*) {
      unready.clear();
      for (const auto& [key, o] : now)
        if (auto text = shortage(key, o); !text.empty()) unready.push_back(std::move(text));
      return unready.empty();
    };
    auto r = watch_until(api, path(resource), "", check, deadline);
    if (r) continue;
    if (!r.error().is(std::errc::timed_out)) return r;
    if (auto pods = list_items(api, path("pods")))
      for (const auto& p : *pods)
        if (!condition_is(p, "Ready") && !finished(p)) unready.push_back(complaint(p));
    return late("not every replica became ready", unready);
  }
  auto check = [&](const ObjectSet& now, const json::object*) {
    Progress p;
    unready.clear();
    for (const auto& [key, pod] : now) {
      if (leaving(pod) || spent(pod)) continue;
      ++p.wanted;
      if (condition_is(pod, "Ready") || finished(pod))
        ++p.done;
      else
        unready.push_back(complaint(pod));
    }
    tell(p);
    return p.done == p.wanted;
  };
  auto r = watch_until(api, path("pods"), "", check, deadline);
  if (!r && r.error().is(std::errc::timed_out)) return late("not every pod became ready", unready);
  return r;
}

bool endpoints_settled(const std::vector<json::object>& services, const std::vector<json::object>& pods,
                       const std::vector<json::object>& slices) {
  for (const auto& service : services) {
    const auto& selector = object_at(service, "spec.selector");
    if (selector.empty()) continue;  // its endpoints are somebody else's affair
    auto ns = text_at(service, "metadata.namespace");
    std::set<std::string> wanted, there;
    for (const auto& pod : pods) {
      if (text_at(pod, "metadata.namespace") != ns || leaving(pod) || !condition_is(pod, "Ready")) continue;
      const auto& labels = object_at(pod, "metadata.labels");
      bool selected = std::all_of(selector.begin(), selector.end(), [&](const auto& want) {
        const auto* have = labels.if_contains(want.key());
        return have && *have == want.value();
      });
      if (selected) wanted.insert(text_at(pod, "status.podIP"));
    }
    for (const auto& slice : slices) {
      const auto* owner = object_at(slice, "metadata.labels").if_contains("kubernetes.io/service-name");
      if (!owner || !owner->is_string() || owner->get_string() != text_at(service, "metadata.name") ||
          text_at(slice, "metadata.namespace") != ns || text_at(slice, "addressType", "IPv4") != "IPv4")
        continue;
      for (const auto& e : array_at(slice, "endpoints"))
        if (const auto* o = e.if_object(); o && api::bool_at(*o, "conditions.ready", true))
          for (const auto& a : array_at(*o, "addresses"))
            if (a.is_string()) there.insert(std::string(a.get_string()));
    }
    if (wanted != there) return false;
  }
  return true;
}

namespace {

std::uint64_t revision_of(const json::object& o) {
  auto text = text_at(o, "metadata.resourceVersion");
  std::uint64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

}  // namespace

Result<> wait_services(Api& api, const std::vector<std::string>& nodes, const OnProgress& tell, Deadline deadline) {
  auto services = list_items(api, path("services"));
  if (!services) return std::move(services).error();
  auto pods = list_items(api, path("pods"));
  if (!pods) return std::move(pods).error();
  // Each of the two has a revision of its own in the agents' status: a kind that nobody changes stays where it is.
  std::uint64_t of_services = 0, of_slices = 0;
  for (const auto& s : *services) of_services = std::max(of_services, revision_of(s));
  auto settled = [&](const ObjectSet& now, const json::object*) {
    std::vector<json::object> slices;
    for (const auto& [key, o] : now) slices.push_back(o);
    if (!endpoints_settled(*services, *pods, slices)) return false;
    for (const auto& s : slices) of_slices = std::max(of_slices, revision_of(s));
    return true;
  };
  auto r = watch_until(api, path("endpointslices"), "", settled, deadline);
  if (!r && r.error().is(std::errc::timed_out))
    return late("the endpoints of a Service do not match its ready pods", {});
  if (!r) return r;

  std::set<std::string> behind(nodes.begin(), nodes.end());
  std::vector<std::string> reasons;
  while (!behind.empty()) {
    std::vector<std::string> asked(behind.begin(), behind.end());
    std::vector<Call> calls;
    for (const auto& n : asked) {
      Call c;
      c.path = fmt::format("/api/v1/nodes/{}/proxy/status", n);
      calls.push_back(std::move(c));
    }
    auto answers = api.call_all(std::move(calls));
    reasons.clear();
    for (std::size_t i = 0; i < asked.size(); ++i) {
      auto status = object_of(std::move(answers[i]));
      if (!status) {
        if (status.error().is(std::errc::operation_canceled)) return std::move(status).error();
        reasons.push_back(fmt::format("{}: {}", asked[i], status.error().to_string()));
        continue;
      }
      auto services_at = static_cast<std::uint64_t>(int_at(*status, "serviceRevision"));
      auto slices_at = static_cast<std::uint64_t>(int_at(*status, "endpointSliceRevision"));
      if (services_at >= of_services && slices_at >= of_slices)
        behind.erase(asked[i]);
      else
        reasons.push_back(fmt::format("{}: Services programmed up to revision {} of {}, their endpoints {} of {}",
                                      asked[i], services_at, of_services, slices_at, of_slices));
    }
    Progress p;
    p.wanted = nodes.size();
    p.done = p.wanted - behind.size();
    tell(p);
    if (behind.empty()) break;
    if (interrupted()) return Error::text("interrupted", std::errc::operation_canceled);
    if (std::chrono::steady_clock::now() > deadline) return late("not every node has programmed the Services", reasons);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // between two questions, not instead of one
  }
  return {};
}

}  // namespace trama::cli
