// SPDX-License-Identifier: GPL-2.0-or-later
// Whose pods are whose, for the loops that own pods: ReplicaSets, DaemonSets, Jobs.
#pragma once

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "control/loops/event_recorder.h"
#include "control/loops/label_index.h"
#include "control/loops/label_selector.h"
#include "control/loops/meta.h"
#include "control/store/store.h"

namespace trama::control {

// An index over the events of pods and of their owners: no owner looks at pods that can not concern it.
class OwnedPods {
 public:
  explicit OwnedPods(std::string kind) : kind_(std::move(kind)) {}

  void owner_seen(const store::Event& e);
  // The owners ("namespace/name") that want to know of it.
  std::vector<std::string> pod_seen(const store::Event& e);
  // A pod that was just created: the watch will say so too, but the next pass may come before it.
  void created(const api::Object& owner, const api::Key& pod);
  // Pods that match the selector of the owner or are controlled by it.
  std::vector<api::ObjectPtr> of(const api::Object& owner, const store::Store& store) const;
  void forget_pods();
  void forget_owners() { owners_.clear(); }

 private:
  std::string kind_;  // "ReplicaSet"
  LabelIndex pods_;
  LabelIndex owners_;                                   // by the first label of their selectors
  std::map<std::string, std::set<std::string>> owned_;  // uid of the owner -> "namespace/name" of pods
};

// What an owner of pods has to do with one that OwnedPods::of() shows: nothing, it holds it, takes it in, or lets it
// go. An owner on its way out takes in and lets go no more. Pure.
enum class Claim { none, held, adopt, release };
Claim claim_on(const api::Object& owner, const LabelSelector& selector, const api::Object& pod);

// A pod of that body with a name that no other has: the prefix and five random characters.
api::Answer<api::ObjectPtr> create_pod(store::Transaction& tx, const std::string& ns, const std::string& prefix,
                                       std::mt19937_64& random, json::object body, Time now);

// Carries out what a plan says of pods that come to the owner and pods that leave it. A pod that is not as it was
// looked at is a Conflict. With a `finalizer` adopted pods get it and released ones lose it.
std::optional<api::Status> write_claims(store::Transaction& tx, const api::Object& owner,
                                        const std::vector<api::ObjectPtr>& adopt,
                                        const std::vector<api::ObjectPtr>& release, std::string_view finalizer = "");

// What an owner's Events say of its pods, in upstream's words.
class PodEvents {
 public:
  // `component` outlives this.
  PodEvents(EventRecorder& events, const char* component) : events_(events), component_(component) {}
  void created(const api::Object& owner, const std::vector<api::ObjectPtr>& pods) const;
  void deleted(const api::Object& owner, const std::vector<api::ObjectPtr>& pods) const;
  // A write of pods failed; that somebody else wrote first is no news.
  void failed(const api::Object& owner, const base::Error& why) const;

 private:
  EventRecorder& events_;
  const char* component_;
};

}  // namespace trama::control
