// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/daemon_set_plan.h"

#include <algorithm>
#include <charconv>

#include "control/api/decode.h"
#include "control/controllers/owned_pods.h"
#include "control/controllers/replica_set_plan.h"

namespace trama::control {

namespace {

constexpr const char* kRequired = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";

// Of one node, in the order of upstream: placed ones first, then by age.
using Daemons = std::vector<api::ObjectPtr>;
using OnNodes = std::map<std::string, Daemons>;

bool stands_before(const api::ObjectPtr& a, const api::ObjectPtr& b) {
  auto rank = [](const api::Object& pod) {
    return std::tuple(api::text_at(pod.body, "spec.nodeName").empty(),
                      api::text_at(pod.body, "metadata.creationTimestamp"), pod.key.name);
  };
  return rank(*a) < rank(*b);
}

struct Fit {
  bool start = false, stay = false;
};

// Which nodes the set is for, decided by the pod it would make there.
class Eligibility {
 public:
  explicit Eligibility(const api::Object& set)
      : node_(api::text_at(set.body, "spec.template.spec.nodeName")),
        affinity_(node_affinity_of(api::object_at(set.body, "spec.template.spec"))),
        tolerations_(api::decode_pod(*pod_for("", set)).tolerations) {}

  Fit of(const DaemonNode& node) const {
    if (!node_.empty() && node_ != node.name) return {};
    if (!allows(affinity_, node.name, node.labels)) return {};
    Fit fit{true, true};
    for (const auto& t : node.taints) {
      if ((t.effect != "NoSchedule" && t.effect != "NoExecute") || any_tolerates(tolerations_, t)) continue;
      fit.start = false;
      if (t.effect == "NoExecute") fit.stay = false;
    }
    return fit;
  }

 private:
  static api::ObjectPtr pod_for(const std::string& node, const api::Object& set) {
    auto body = daemon_pod(set, node, "");
    body["metadata"].as_object()["name"] = "any";
    return api::make_object({"pods", set.key.ns, "any"}, std::move(body), 0);
  }
  std::string node_;
  NodeAffinity affinity_;
  std::vector<api::Toleration> tolerations_;
};

std::int64_t amount(const json::value* v, std::int64_t otherwise, std::int64_t whole) {
  if (v == nullptr) return otherwise;
  if (v->is_int64()) return v->get_int64();
  if (!v->is_string()) return otherwise;
  std::int64_t n = 0;
  std::string_view text = v->get_string();
  std::from_chars(text.data(), text.data() + text.size(), n);
  return text.ends_with("%") ? (n * whole + 99) / 100 : n;
}

// One look at the world.
struct Look {
  const api::Object& set;
  const std::string& hash;
  const std::map<std::string, Time>& held;
  Time now;
  DaemonSetPlan& plan;
  std::int64_t min_ready = api::int_at(set.body, "spec.minReadySeconds");
  std::int64_t desired = 0, surge = 0, unavailable = 0;
  OnNodes on_nodes = {};

  void look_at(Time when) { plan.look_again = plan.look_again ? std::min(*plan.look_again, when) : when; }
  bool is_current(const api::Object& pod) const {
    auto it = pod.labels.find(std::string(kRevisionHash));
    return it != pod.labels.end() && it->second == hash;
  }
  bool available(const api::Object& pod) {
    if (is_pod_available(pod.body, min_ready, now)) return true;
    if (const auto* ready = condition(pod.body, "Ready"); ready != nullptr && api::text_at(*ready, "status") == "True")
      if (auto since = base::parse_timestamp(api::text_at(*ready, "lastTransitionTime")))
        look_at(*since + std::chrono::seconds(min_ready));
    return false;
  }
};

void read_strategy(Look& l) {
  const auto& body = l.set.body;
  if (api::text_at(body, "spec.updateStrategy.type", "RollingUpdate") != "RollingUpdate") return;
  l.surge = amount(api::at(body, "spec.updateStrategy.rollingUpdate.maxSurge"), 0, l.desired);
  l.unavailable = amount(api::at(body, "spec.updateStrategy.rollingUpdate.maxUnavailable"), 1, l.desired);
  if (l.surge == 0 && l.unavailable == 0) l.unavailable = 1;
}

// Several live pods on one node. Without surge the oldest stays. With it two may be there: a ready one of old, and the
// new one that is about to replace it.
void prune_node(Look& l, const Daemons& live) {
  if (live.size() <= 1) return;
  if (l.surge == 0) {
    l.plan.remove.insert(l.plan.remove.end(), live.begin() + 1, live.end());
    return;
  }
  api::ObjectPtr oldest_new, oldest_old;
  for (const auto& pod : live) {
    auto& slot = l.is_current(*pod) ? oldest_new : oldest_old;
    if (!slot) slot = pod;
  }
  if (oldest_new && oldest_old) {
    if (is_pod_ready(oldest_new->body))
      oldest_old = nullptr;
    else if (!is_pod_ready(oldest_old->body))
      oldest_old = nullptr;
  }
  for (const auto& pod : live)
    if (pod != oldest_new && pod != oldest_old) l.plan.remove.push_back(pod);
}

void settle_node(Look& l, const std::string& node, Fit fit, const Daemons& daemons) {
  if (fit.start && daemons.empty()) {
    l.plan.create.push_back(node);
    return;
  }
  Daemons live;
  for (const auto& pod : daemons) {
    if (is_terminating(pod->body)) continue;
    if (!fit.stay) {
      l.plan.remove.push_back(pod);
      continue;
    }
    auto phase = api::text_at(pod->body, "status.phase");
    if (phase != "Failed" && phase != "Succeeded") {
      live.push_back(pod);
      continue;
    }
    bool failed = phase == "Failed";
    if (auto until = l.held.find(node); failed && until != l.held.end() && until->second > l.now) {
      l.look_at(until->second);
      continue;
    }
    l.plan.remove.push_back(pod);
    l.plan.ended.push_back({pod, node, failed});
  }
  if (fit.stay) prune_node(l, live);
}

// The pod of the wanted template and the one of another on a node; false when there are more than that.
bool pair_of(const Look& l, const Daemons& daemons, api::ObjectPtr& fresh, api::ObjectPtr& old) {
  for (const auto& pod : daemons) {
    if (is_terminating(pod->body)) continue;
    auto& slot = l.is_current(*pod) ? fresh : old;
    if (slot) return false;
    slot = pod;
  }
  return true;
}

void roll_by_deleting(Look& l) {
  std::int64_t gone = 0;
  Daemons anyway, candidates;
  for (const auto& [node, daemons] : l.on_nodes) {
    api::ObjectPtr fresh, old;
    if (!pair_of(l, daemons, fresh, old) || (fresh != nullptr) == (old != nullptr))
      ++gone;  // on its way already
    else if (fresh)
      gone += l.available(*fresh) ? 0 : 1;
    else if (!l.available(*old))
      ++gone, anyway.push_back(old);
    else
      candidates.push_back(old);
  }
  auto room = std::clamp<std::int64_t>(l.unavailable - gone, 0, static_cast<std::int64_t>(candidates.size()));
  l.plan.remove.insert(l.plan.remove.end(), anyway.begin(), anyway.end());
  l.plan.remove.insert(l.plan.remove.end(), candidates.begin(), candidates.begin() + room);
}

void roll_by_surging(Look& l) {
  std::int64_t surging = 0;
  std::vector<std::string> anyway, candidates;
  for (const auto& [node, daemons] : l.on_nodes) {
    api::ObjectPtr fresh, old;
    if (!pair_of(l, daemons, fresh, old)) {
      ++surging;
    } else if (!old) {
      continue;
    } else if (!fresh) {
      (l.available(*old) ? candidates : anyway).push_back(node);
    } else if (!l.available(*fresh)) {
      ++surging;
    } else {
      l.plan.remove.push_back(old);
    }
  }
  auto room = std::clamp<std::int64_t>(l.surge - surging, 0, static_cast<std::int64_t>(candidates.size()));
  l.plan.create = std::move(anyway);
  l.plan.create.insert(l.plan.create.end(), candidates.begin(), candidates.begin() + room);
}

struct Count {
  std::int64_t current = 0, misplaced = 0, ready = 0, updated = 0, available = 0;
};

void count_node(Look& l, Fit fit, const Daemons& daemons, Count& c) {
  if (daemons.empty()) return;
  if (!fit.start) {
    ++c.misplaced;
    return;
  }
  ++c.current;
  const auto& pod = *daemons.front();
  if (is_pod_ready(pod.body)) {
    ++c.ready;
    if (l.available(pod)) ++c.available;
  }
  if (l.is_current(pod)) ++c.updated;
}

void put_status(Look& l, const Count& c) {
  auto& status = l.plan.status;
  status = api::object_at(l.set.body, "status");
  auto optional = [&](const char* field, std::int64_t n) {
    if (n == 0)
      status.erase(field);
    else
      status[field] = n;
  };
  status["currentNumberScheduled"] = c.current;
  status["numberMisscheduled"] = c.misplaced;
  status["desiredNumberScheduled"] = l.desired;
  status["numberReady"] = c.ready;
  optional("observedGeneration", api::int_at(l.set.body, "metadata.generation"));
  optional("updatedNumberScheduled", c.updated);
  optional("numberAvailable", c.available);
  optional("numberUnavailable", l.desired - c.available);
}

// Ours by now: what matches and belongs to the set, and what it takes in.
OnNodes claim(Look& l, const std::vector<api::ObjectPtr>& pods) {
  OnNodes out;
  auto selector = LabelSelector::of(api::object_at(l.set.body, "spec.selector"));
  for (const auto& pod : pods) {
    auto claim = claim_on(l.set, selector, *pod);
    if (claim == Claim::release) l.plan.release.push_back(pod);
    if (claim == Claim::adopt) l.plan.adopt.push_back(pod);
    if (claim == Claim::none || claim == Claim::release) continue;
    out[node_of_daemon(pod->body)].push_back(pod);
  }
  for (auto& [node, daemons] : out) std::sort(daemons.begin(), daemons.end(), stands_before);
  return out;
}

}  // namespace

DaemonNode daemon_node_of(const api::Object& node) {
  return {node.key.name, node.labels, api::decode_node(node).taints};
}

std::string node_of_daemon(const json::object& pod) {
  if (auto placed = api::text_at(pod, "spec.nodeName"); !placed.empty()) return placed;
  for (const auto& t : api::array_at(api::object_at(pod, "spec"), std::string(kRequired) + ".nodeSelectorTerms"))
    if (const auto* term = t.if_object())
      for (const auto& f : api::array_at(*term, "matchFields"))
        if (const auto* field = f.if_object(); field != nullptr && api::text_at(*field, "key") == "metadata.name" &&
                                               api::array_at(*field, "values").size() == 1)
          return std::string(api::array_at(*field, "values")[0].as_string());
  return "";
}

json::object daemon_pod(const api::Object& set, const std::string& node, const std::string& hash) {
  auto body = pod_from_template(set);
  api::make_object_at(body, "metadata.labels")[kRevisionHash] = hash;
  auto& spec = body["spec"].as_object();
  json::object field, term;
  field["key"] = "metadata.name";
  field["operator"] = "In";
  json::array names, fields, terms;
  names.emplace_back(node);
  field["values"] = std::move(names);
  fields.push_back(std::move(field));
  term["matchFields"] = std::move(fields);
  terms.push_back(std::move(term));
  // The set's own terms have had their say: they chose the node.
  api::make_object_at(spec, kRequired)["nodeSelectorTerms"] = std::move(terms);

  json::array tolerations = api::array_at(spec, "tolerations");
  auto tolerate = [&](std::string_view condition, std::string_view effect) {
    json::object t;
    t["key"] = "node.kubernetes.io/" + std::string(condition);
    t["operator"] = "Exists";
    t["effect"] = effect;
    if (std::find(tolerations.begin(), tolerations.end(), json::value(t)) == tolerations.end())
      tolerations.push_back(std::move(t));
  };
  for (const char* gone : {"not-ready", "unreachable"}) tolerate(gone, "NoExecute");
  for (const char* state : {"disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"})
    tolerate(state, "NoSchedule");
  if (api::bool_at(spec, "hostNetwork")) tolerate("network-unavailable", "NoSchedule");
  spec["tolerations"] = std::move(tolerations);
  return body;
}

DaemonSetPlan plan_daemon_set(const api::Object& set, const std::string& hash, const std::vector<DaemonNode>& nodes,
                              const std::vector<api::ObjectPtr>& pods, const std::map<std::string, Time>& held,
                              Time now) {
  DaemonSetPlan plan;
  Look l{set, hash, held, now, plan};
  Eligibility eligible(set);
  std::map<std::string, Fit> fits;
  for (const auto& node : nodes) {
    fits[node.name] = eligible.of(node);
    l.desired += fits[node.name].start ? 1 : 0;
  }
  read_strategy(l);
  l.on_nodes = claim(l, pods);
  Count count;
  static const Daemons none;
  for (const auto& [node, fit] : fits) {
    auto it = l.on_nodes.find(node);
    const auto& daemons = it == l.on_nodes.end() ? none : it->second;
    count_node(l, fit, daemons, count);
    if (!is_terminating(set.body)) settle_node(l, node, fit, daemons);
  }
  put_status(l, count);
  if (is_terminating(set.body)) return plan;
  // Pods that were never placed and whose node has gone wait for nobody.
  for (const auto& [node, daemons] : l.on_nodes)
    for (const auto& pod : daemons)
      if (!node.empty() && !fits.contains(node) && !is_terminating(pod->body) &&
          api::text_at(pod->body, "spec.nodeName").empty())
        plan.remove.push_back(pod);
  // One step at a time: a new template is rolled out over nodes that have what they should have.
  bool rolling = api::text_at(set.body, "spec.updateStrategy.type", "RollingUpdate") == "RollingUpdate";
  if (rolling && plan.create.empty() && plan.remove.empty()) l.surge > 0 ? roll_by_surging(l) : roll_by_deleting(l);
  if (plan.create.size() > kPodBurst) plan.create.resize(kPodBurst);
  if (plan.remove.size() > kPodBurst) plan.remove.resize(kPodBurst);
  return plan;
}

}  // namespace trama::control
