// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/node_lifecycle_plan.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include <fmt/format.h>

namespace trama::control {

using std::chrono::milliseconds;

namespace {

enum class Health { ready, not_ready, unreachable };

json::object taint(std::string_view key, std::string_view effect, Time now) {
  json::object t;
  t["key"] = key;
  t["effect"] = effect;
  t["timeAdded"] = base::format_seconds(now);
  return t;
}

bool is_ours(const json::object& t) {
  auto key = api::text_at(t, "key");
  return key == kUnreachableTaint || key == kNotReadyTaint;
}

bool any_ours(const json::array& taints) {
  return std::any_of(taints.begin(), taints.end(),
                     [](const auto& v) { return v.is_object() && is_ours(v.get_object()); });
}

bool any_evicts(const json::array& taints) {
  return std::any_of(taints.begin(), taints.end(), [](const auto& v) {
    return v.is_object() && api::text_at(v.get_object(), "effect") == "NoExecute";
  });
}

// Exactly the taints that the health calls for; those of others stay, and ours keep the time when they were added.
// Nothing when that is what there is.
std::optional<json::array> mended_taints(const json::array& has, Health health, Time now) {
  std::vector<std::string_view> wanted;  // effects
  auto key = health == Health::unreachable ? kUnreachableTaint : kNotReadyTaint;
  if (health != Health::ready) wanted = {"NoSchedule", "NoExecute"};
  json::array out;
  bool changed = false;
  for (const auto& v : has) {
    const auto* t = v.if_object();
    if (t == nullptr || !is_ours(*t)) {
      out.push_back(v);
      continue;
    }
    auto same = std::find(wanted.begin(), wanted.end(), api::text_at(*t, "effect"));
    if (same == wanted.end() || api::text_at(*t, "key") != key) {
      changed = true;
      continue;
    }
    out.push_back(v);
    wanted.erase(same);
  }
  for (const auto& effect : wanted) out.push_back(taint(key, effect, now));
  if (!changed && wanted.empty()) return std::nullopt;
  return out;
}

void put_taints(json::object& node, json::array taints) {
  auto& spec = api::make_object_at(node, "spec");
  if (taints.empty())
    spec.erase("taints");
  else
    spec["taints"] = std::move(taints);
}

bool set_unknown(json::object& node, Time now) {
  // Only conditions that the node itself once reported; Ready in any case.
  std::set<std::string> types = {"Ready"};
  for (const auto& c : api::array_at(node, "status.conditions"))
    if (const auto* o = c.if_object()) types.insert(api::text_at(*o, "type"));
  bool changed = false;
  for (const auto& type : types)
    if (condition_status(node, type) != "Unknown" || type == "Ready")
      changed |=
          set_condition(node, type, "Unknown", "NodeStatusUnknown", "Node agent stopped posting node status.", now);
  return changed;
}

bool tolerates(const json::object& toleration, const json::object& t) {
  auto effect = api::text_at(toleration, "effect");
  if (!effect.empty() && effect != api::text_at(t, "effect")) return false;
  auto key = api::text_at(toleration, "key");
  auto op = api::text_at(toleration, "operator", "Equal");
  if (key.empty()) return op == "Exists";
  if (key != api::text_at(t, "key")) return false;
  return op == "Exists" || api::text_at(toleration, "value") == api::text_at(t, "value");
}

}  // namespace

std::optional<milliseconds> toleration_of(const json::object& pod, const json::array& taints, milliseconds otherwise) {
  std::optional<milliseconds> shortest;
  for (const auto& v : taints) {
    const auto* t = v.if_object();
    if (t == nullptr || api::text_at(*t, "effect") != "NoExecute") continue;
    bool tolerated = false;
    std::optional<milliseconds> time;
    for (const auto& tv : api::array_at(pod, "spec.tolerations")) {
      const auto* toleration = tv.if_object();
      if (toleration == nullptr || !tolerates(*toleration, *t)) continue;
      tolerated = true;
      const auto* seconds = api::at(*toleration, "tolerationSeconds");
      if (seconds == nullptr || !seconds->is_number()) continue;
      auto limit = std::max(milliseconds(0), milliseconds(1000 * seconds->to_number<std::int64_t>()));
      time = time ? std::min(*time, limit) : limit;
    }
    if (tolerated && !time) continue;  // for ever
    if (!tolerated) time = is_ours(*t) ? otherwise : milliseconds(0);
    shortest = shortest ? std::min(*shortest, *time) : *time;
  }
  return shortest;
}

LifecyclePlan plan_lifecycle(const LifecycleWorld& world, const LifecycleOptions& options) {
  LifecyclePlan plan;
  auto look_again = [&plan](milliseconds in) {
    in = std::max(in, milliseconds(1));
    plan.look_again = plan.look_again.count() == 0 ? in : std::min(plan.look_again, in);
  };
  std::map<std::string, Health> health;
  std::map<std::string, json::array> taints;
  std::size_t unready = 0;
  for (const auto& node : world.nodes) {
    const auto& name = node->key.name;
    auto silent = world.silence.find(name);
    auto quiet = silent == world.silence.end() ? milliseconds(0) : silent->second;
    const auto& has = api::array_at(node->body, "spec.taints");
    if (quiet <= options.grace && condition_status(node->body, "Ready") == "True" && !any_ours(has)) {
      // Nearly all nodes, nearly always: nothing is copied.
      look_again(options.grace - quiet + milliseconds(1));
      if (any_evicts(has)) {
        health[name] = Health::ready;
        taints[name] = has;
      }
      continue;
    }
    LifecyclePlan::Write w;
    w.have = node;
    bool changed = false;
    Health h = Health::ready;
    if (quiet > options.grace) {
      h = Health::unreachable;
      w.body = node->body;
      changed = set_unknown(w.body, world.now);
      w.why = fmt::format("node {} has been silent for {:.1f} s", name, static_cast<double>(quiet.count()) / 1000);
    } else {
      look_again(options.grace - quiet + milliseconds(1));
      auto ready = condition_status(node->body, "Ready");
      // Ready=Unknown is our own word: it stays until the node itself says something else.
      h = ready == "True" ? Health::ready : ready == "Unknown" ? Health::unreachable : Health::not_ready;
      w.why = fmt::format("node {} says Ready={}", name, ready.empty() ? "nothing" : ready);
    }
    auto mended = mended_taints(has, h, world.now);
    if (mended && !changed) w.body = node->body;
    if (h != Health::ready) ++unready;
    health[name] = h;
    taints[name] = mended ? *mended : has;
    if (mended) put_taints(w.body, std::move(*mended));
    if (changed || mended) plan.nodes.push_back(std::move(w));
  }
  bool all = !world.nodes.empty() && unready == world.nodes.size();
  bool most =
      unready > 2 && static_cast<double>(unready) >= options.unhealthy_share * static_cast<double>(world.nodes.size());
  plan.evictions_held = (all || most) && unready > 0;

  for (const auto& pod : world.pods) {
    auto node = api::text_at(pod->body, "spec.nodeName");
    auto h = health.find(node);
    if (h == health.end()) continue;
    if (h->second == Health::unreachable && is_pod_ready(pod->body)) {
      LifecyclePlan::Write w;
      w.have = pod;
      w.body = pod->body;
      w.why = fmt::format("its node {} is unreachable", node);
      set_condition(w.body, "Ready", "False", "NodeUnreachable", w.why, world.now);
      plan.not_ready.push_back(std::move(w));
    }
    if (is_terminating(pod->body)) continue;
    auto patience = toleration_of(pod->body, taints[node], options.eviction_toleration);
    if (!patience) continue;
    auto since = world.now;
    for (const auto& v : taints[node])
      if (const auto* t = v.if_object(); t != nullptr && api::text_at(*t, "effect") == "NoExecute")
        if (auto added = base::parse_timestamp(api::text_at(*t, "timeAdded"))) since = std::min(since, *added);
    auto left = *patience - std::chrono::duration_cast<milliseconds>(world.now - since);
    if (left > milliseconds(0)) {
      look_again(left);
      continue;
    }
    LifecyclePlan::Eviction e;
    e.pod = pod;
    e.node = node;
    e.why = fmt::format("node {} has a NoExecute taint that the pod does not tolerate any longer", node);
    plan.evictions.push_back(std::move(e));
  }
  if (plan.evictions_held) {
    // Taints that somebody set by hand are an order, not a symptom.
    std::erase_if(plan.evictions, [&](const LifecyclePlan::Eviction& e) {
      const auto& list = taints[e.node];
      return std::none_of(list.begin(), list.end(), [&](const json::value& v) {
        const auto* t = v.if_object();
        if (t == nullptr || is_ours(*t) || api::text_at(*t, "effect") != "NoExecute") return false;
        json::array alone;
        alone.push_back(v);
        auto patience = toleration_of(e.pod->body, alone, options.eviction_toleration);
        return patience && *patience == milliseconds(0);
      });
    });
  }
  return plan;
}

}  // namespace trama::control
