// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/owned_pods.h"

#include "control/controllers/pod_account.h"
#include "control/loops/deletion.h"
#include "control/loops/loop.h"
#include "control/store/writes.h"

namespace trama::control {

using Type = store::Event::Type;

namespace {

std::string owner_uid(const json::object& body) {
  const auto* owner = controller_of(body);
  return owner == nullptr ? "" : api::text_at(*owner, "uid");
}

std::optional<std::pair<std::string, std::string>> anchor_of(const api::Object& owner) {
  return LabelSelector::of(api::object_at(owner.body, "spec.selector")).anchor();
}

void add_finalizer(json::object& body, std::string_view finalizer) {
  if (has_finalizer(body, finalizer)) return;
  json::array list = api::array_at(body, "metadata.finalizers");
  list.emplace_back(finalizer);
  api::make_object_at(body, "metadata")["finalizers"] = std::move(list);
}

}  // namespace

void OwnedPods::owner_seen(const store::Event& e) {
  const auto& key = e.object->key;
  auto anchor = anchor_of(*e.object);
  if (e.type == Type::deleted || !anchor)
    owners_.remove(key.ns, key.name);
  else
    owners_.put(key.ns, key.name, {*anchor});
}

std::vector<std::string> OwnedPods::pod_seen(const store::Event& e) {
  std::vector<std::string> out;
  const auto& pod = *e.object;
  auto name = queue_key(pod.key);
  if (e.previous) {
    if (auto was = owner_uid(e.previous->body); !was.empty()) {
      owned_[was].erase(name);
      if (owned_[was].empty()) owned_.erase(was);
    }
  }
  const auto* owner = controller_of(pod.body);
  if (owner != nullptr && api::text_at(*owner, "kind") == kind_) {
    if (e.type != Type::deleted) owned_[api::text_at(*owner, "uid")].insert(name);
    out.push_back(pod.key.ns + "/" + api::text_at(*owner, "name"));
  }
  if (e.type == Type::deleted)
    pods_.remove(pod.key.ns, pod.key.name);
  else
    pods_.put(pod.key.ns, pod.key.name, pod.labels);
  // An orphan, or one that was just released: whoever may want it.
  if (owner == nullptr)
    for (const auto& label : pod.labels)
      for (const auto& one : owners_.with(pod.key.ns, label)) out.push_back(pod.key.ns + "/" + one);
  return out;
}

void OwnedPods::created(const api::Object& owner, const api::Key& pod) { owned_[owner.uid].insert(queue_key(pod)); }

std::vector<api::ObjectPtr> OwnedPods::of(const api::Object& owner, const store::Store& store) const {
  std::set<std::string> names;
  if (auto it = owned_.find(owner.uid); it != owned_.end()) names = it->second;
  if (auto anchor = anchor_of(owner))
    for (const auto& n : pods_.with(owner.key.ns, *anchor)) names.insert(owner.key.ns + "/" + n);
  std::vector<api::ObjectPtr> pods;
  for (const auto& n : names)
    if (auto pod = store.get(from_queue_key("pods", n))) pods.push_back(std::move(pod));
  return pods;
}

void OwnedPods::forget_pods() {
  pods_.clear();
  owned_.clear();
}

Claim claim_on(const api::Object& owner, const LabelSelector& selector, const api::Object& pod) {
  bool match = selector.matches(pod.labels), leaving = is_terminating(owner.body);
  if (is_controlled_by(pod.body, owner.uid)) return match || leaving ? Claim::held : Claim::release;
  bool free = controller_of(pod.body) == nullptr && !is_terminating(pod.body);
  return free && match && !leaving ? Claim::adopt : Claim::none;
}

api::Answer<api::ObjectPtr> create_pod(store::Transaction& tx, const std::string& ns, const std::string& prefix,
                                       std::mt19937_64& random, json::object body, Time now) {
  api::Key key{"pods", ns, ""};
  do key.name = generated_name(prefix, random());
  while (tx.get(key));
  store::Hook account = [now](store::Transaction& t, const api::Key& k, const api::Object*,
                              json::object* pod) -> std::optional<api::Status> {
    return admit_pod_account(t, k, *pod, now);
  };
  return store::create(tx, *api::kind_of_resource("pods"), key, std::move(body), now, account);
}

std::optional<api::Status> write_claims(store::Transaction& tx, const api::Object& owner,
                                        const std::vector<api::ObjectPtr>& adopt,
                                        const std::vector<api::ObjectPtr>& release, std::string_view finalizer) {
  for (const auto& pod : adopt) {
    if (!unchanged(tx, pod->key, pod->revision)) return api::Status::conflict(pod->key, "it has changed");
    auto body = pod->body;
    json::array owners = api::array_at(body, "metadata.ownerReferences");
    owners.push_back(owner_reference(owner));
    api::make_object_at(body, "metadata")["ownerReferences"] = std::move(owners);
    if (!finalizer.empty()) add_finalizer(body, finalizer);
    tx.put(pod->key, std::move(body));
  }
  for (const auto& pod : release) {
    if (!unchanged(tx, pod->key, pod->revision)) return api::Status::conflict(pod->key, "it has changed");
    auto body = pod->body;
    json::array owners;
    for (const auto& o : api::array_at(body, "metadata.ownerReferences"))
      if (api::text_at(o.as_object(), "uid") != owner.uid) owners.push_back(o);
    api::make_object_at(body, "metadata")["ownerReferences"] = std::move(owners);
    if (!finalizer.empty()) remove_finalizer(body, finalizer);
    put_or_finish(tx, pod->key, std::move(body));
  }
  return std::nullopt;
}

void PodEvents::created(const api::Object& owner, const std::vector<api::ObjectPtr>& pods) const {
  for (const auto& pod : pods)
    events_.record(owner, "Normal", "SuccessfulCreate", "Created pod: " + pod->key.name, component_);
}

void PodEvents::deleted(const api::Object& owner, const std::vector<api::ObjectPtr>& pods) const {
  for (const auto& pod : pods)
    events_.record(owner, "Normal", "SuccessfulDelete", "Deleted pod: " + pod->key.name, component_);
}

void PodEvents::failed(const api::Object& owner, const base::Error& why) const {
  if (why.is(std::errc::resource_unavailable_try_again)) return;
  events_.record(owner, "Warning", "FailedCreate", "Error creating: " + why.to_string(), component_);
}

}  // namespace trama::control
