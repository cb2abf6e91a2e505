// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/cluster_view.h"

#include <algorithm>
#include <utility>

#include "agent/compute/topology.h"

namespace trama::agent {
namespace {

std::string name_of(const api::Object& object) {
  return object.key.ns.empty() ? object.key.name : object.key.ns + "/" + object.key.name;
}

bool same_version(const api::ObjectPtr& a, const api::ObjectPtr& b) {
  return a && b && a->revision == b->revision && a->uid == b->uid;
}

// All that matters here of a Node. What changes most is its conditions, and many nodes together change them all day.
bool stands_the_same(const api::Object& before, const api::Object& after) {
  auto same = [&](const char* path) {
    auto *a = api::at(before.body, path), *b = api::at(after.body, path);
    return (!a && !b) || (a && b && *a == *b);
  };
  if (node_is_starting(before) != node_is_starting(after)) return false;
  return same("metadata.uid") && same("metadata.labels") && same("metadata.annotations") &&
         same("metadata.creationTimestamp") && same("spec") && same("status.addresses");
}

const json::value* addresses_of(const api::Object& service) { return api::at(service.body, "spec.clusterIPs"); }

}  // namespace

const char* to_string(Kind kind) {
  switch (kind) {
    case Kind::services: return "services";
    case Kind::slices: return "endpointslices";
    case Kind::nodes: return "nodes";
    case Kind::pods: return "pods";
  }
  return "?";
}

ServiceKey service_of_slice(const api::Object& slice) {
  auto it = slice.labels.find("kubernetes.io/service-name");
  return {slice.key.ns, it == slice.labels.end() ? "" : it->second};
}

void ClusterView::load(Kind kind, std::vector<api::ObjectPtr> objects, std::uint64_t revision) {
  for (auto& object : objects) {
    auto name = name_of(*object);
    set(kind, name, std::move(object));
  }
  of(kind).known = true;
  of(kind).revision = revision;
}

std::size_t ClusterView::list(Kind kind, const std::vector<api::ObjectPtr>& all, std::uint64_t revision) {
  auto& have = of(kind);
  std::set<std::string> listed;
  for (const auto& object : all) listed.insert(name_of(*object));
  std::vector<std::string> missing;
  bool all_suspected = true;
  for (const auto& [name, object] : have.objects) {
    if (listed.contains(name)) continue;
    missing.push_back(name);
    all_suspected = all_suspected && have.suspects.contains(name);
  }
  bool shrunk = !have.objects.empty() && (all.empty() || all.size() * 2 < have.objects.size());
  for (const auto& object : all) set(kind, name_of(*object), object);
  if (shrunk && !all_suspected) {
    have.suspects = std::set<std::string>(missing.begin(), missing.end());
  } else {
    for (const auto& name : missing) set(kind, name, nullptr);
    have.suspects.clear();
  }
  have.known = have.synced = true;
  have.revision = revision;
  return have.suspects.size();
}

void ClusterView::confirm(Kind kind, const std::vector<api::ObjectPtr>& all) {
  auto suspects = std::exchange(of(kind).suspects, {});
  for (const auto& object : all) suspects.erase(name_of(*object));
  for (const auto& name : suspects) set(kind, name, nullptr);
}

void ClusterView::put(Kind kind, const api::ObjectPtr& object) {
  auto name = name_of(*object);
  of(kind).suspects.erase(name);
  of(kind).revision = std::max(of(kind).revision, object->revision);
  set(kind, name, object);
}

void ClusterView::remove(Kind kind, const api::ObjectPtr& object) {
  auto name = name_of(*object);
  of(kind).suspects.erase(name);
  of(kind).revision = std::max(of(kind).revision, object->revision);
  set(kind, name, nullptr);
}

void ClusterView::set(Kind kind, const std::string& name, api::ObjectPtr object) {
  auto& objects = of(kind).objects;
  auto it = objects.find(name);
  api::ObjectPtr before = it == objects.end() ? nullptr : it->second;
  if (same_version(before, object) || (!before && !object)) return;
  if (kind == Kind::slices) {
    if (before) {
      auto owner = slices_by_service_.find(service_of_slice(*before));
      owner->second.erase(name);
      if (owner->second.empty()) slices_by_service_.erase(owner);
    }
    if (object) slices_by_service_[service_of_slice(*object)][name] = object;
  }
  note(kind, before.get(), object.get());
  ++of(kind).edits;
  if (!object)
    objects.erase(it);
  else if (it != objects.end())
    it->second = std::move(object);
  else
    objects.emplace(name, std::move(object));
}

void ClusterView::note(Kind kind, const api::Object* before, const api::Object* after) {
  switch (kind) {
    case Kind::nodes: dirty_.nodes |= !before || !after || !stands_the_same(*before, *after); break;
    case Kind::pods: dirty_.pods = true; break;
    case Kind::services: {
      const auto& object = after ? *after : *before;
      dirty_.services.insert({object.key.ns, object.key.name});
      auto* old_ips = before ? addresses_of(*before) : nullptr;
      auto* new_ips = after ? addresses_of(*after) : nullptr;
      bool same = before && after && ((!old_ips && !new_ips) || (old_ips && new_ips && *old_ips == *new_ips));
      if (!same) dirty_.service_names = true;
      break;
    }
    case Kind::slices:
      for (const auto* slice : {before, after}) {
        if (!slice) continue;
        auto key = service_of_slice(*slice);
        if (!key.name.empty()) dirty_.services.insert(std::move(key));
      }
      break;
  }
}

api::ObjectPtr ClusterView::service(const ServiceKey& key) const {
  auto it = services().find(key.to_string());
  return it == services().end() ? nullptr : it->second;
}

api::ObjectPtr ClusterView::node(const std::string& name) const {
  auto it = nodes().find(name);
  return it == nodes().end() ? nullptr : it->second;
}

api::ObjectPtr ClusterView::pod(const std::string& ns, const std::string& name) const {
  auto it = pods().find(ns + "/" + name);
  return it == pods().end() ? nullptr : it->second;
}

std::vector<api::ObjectPtr> ClusterView::slices_of(const ServiceKey& key) const {
  std::vector<api::ObjectPtr> out;
  auto it = slices_by_service_.find(key);
  if (it == slices_by_service_.end()) return out;
  for (const auto& [name, slice] : it->second) out.push_back(slice);
  return out;
}

bool ClusterView::all_known() const {
  return std::all_of(collections_.begin(), collections_.end(), [](const Collection& c) { return c.known; });
}

ClusterView::Dirty ClusterView::take_dirty() { return std::exchange(dirty_, {}); }

}  // namespace trama::agent
