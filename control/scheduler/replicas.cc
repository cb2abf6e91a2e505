// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/replicas.h"

#include "control/loops/meta.h"

namespace trama::control {

namespace {

// The selector of the ReplicaSet or Job that controls the pod; null when there is none.
api::ObjectPtr owner_of(const api::Object& pod, const store::Store& store) {
  const auto* owner = controller_of(pod.body);
  if (owner == nullptr) return nullptr;
  auto kind = api::text_at(*owner, "kind");
  if (kind != "ReplicaSet" && kind != "Job") return nullptr;
  auto found = store.get({kind == "Job" ? "jobs" : "replicasets", pod.key.ns, api::text_at(*owner, "name")});
  return found && found->uid == api::text_at(*owner, "uid") ? found : nullptr;
}

}  // namespace

void Replicas::service_seen(const store::Event& e) {
  const auto& key = e.object->key;
  auto selector = api::strings_at(e.object->body, "spec.selector");
  if (e.type == store::Event::Type::deleted || selector.empty()) {
    index_.remove(key.ns, key.name);
    services_.erase({key.ns, key.name});
    return;
  }
  Labels first{*selector.begin()};
  index_.put(key.ns, key.name, first);
  services_[{key.ns, key.name}] = std::move(selector);
}

void Replicas::forget_services() {
  index_.clear();
  services_.clear();
}

std::optional<PodSelector> Replicas::of(const api::Object& pod, const store::Store& store) const {
  LabelSelector all;
  std::string text;
  for (const auto& label : pod.labels)
    for (const auto& name : index_.with(pod.key.ns, label)) {
      const auto& selector = services_.at({pod.key.ns, name});
      auto wanted = LabelSelector::equalities(selector);
      if (!wanted.matches(pod.labels)) continue;
      all.add(wanted);
      for (const auto& [k, v] : selector) text.append(k).append("=").append(v).append(",");
    }
  if (auto owner = owner_of(pod, store)) {
    const auto& selector = api::object_at(owner->body, "spec.selector");
    all.add(LabelSelector::of(selector));
    text += json::serialize(selector);
  }
  if (text.empty()) return std::nullopt;
  return pods_in(pod.key.ns, std::move(all), text);
}

}  // namespace trama::control
