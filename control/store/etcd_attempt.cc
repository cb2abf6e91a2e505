// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/etcd_attempt.h"

#include <algorithm>

namespace trama::store {

using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;

namespace {

constexpr std::size_t kSingleGuards = 16;  // more are compared all at once

}  // namespace

ObjectPtr EtcdAttempt::get(const Key& key) const {
  if (auto it = writes_.find(key); it != writes_.end()) return it->second.object;
  reads_.insert(key);
  return cache_.get(key);
}

std::vector<ObjectPtr> EtcdAttempt::list(const std::string& resource, const std::string& ns) const {
  lists_.emplace(resource, ns);
  Objects merged;
  for (auto& o : cache_.list(resource, ns)) merged[o->key] = std::move(o);
  for (const auto& [key, write] : writes_)
    if (key.resource == resource && (ns.empty() || key.ns == ns)) merged[key] = write.object;
  std::vector<ObjectPtr> out;
  for (auto& [key, object] : merged)
    if (object) out.push_back(std::move(object));
  return out;
}

// What is overwritten without a look is compared as well: the answer is the same, and nothing is lost silently.
ObjectPtr EtcdAttempt::put(const Key& key, api::json::object body) {
  reads_.insert(key);
  std::erase(order_, key);
  order_.push_back(key);
  auto object = api::make_object(key, std::move(body), at_.commit(at_.applied + 1) + order_.size() - 1);
  writes_[key].object = object;
  return object;
}

void EtcdAttempt::erase(const Key& key) {
  reads_.insert(key);
  std::erase(order_, key);
  writes_.erase(key);
  if (!cache_.get(key)) return;  // etcd makes no event of it, and the places of the others count events
  order_.push_back(key);
  writes_[key].object = nullptr;
}

std::set<std::string> EtcdAttempt::written(const EtcdLayout& layout) const {
  std::set<std::string> out;
  for (const auto& [key, write] : writes_) out.insert(layout.object(key));
  for (const auto& name : guards_) out.insert(layout.guard(name));
  return out;
}

bool EtcdAttempt::looks_at(const std::set<std::string>& keys, const EtcdLayout& layout) const {
  if (keys.empty()) return false;
  for (const auto& key : reads_)
    if (keys.contains(layout.object(key))) return true;
  for (const auto& name : guards_)
    if (keys.contains(layout.guard(name))) return true;
  for (const auto& [resource, ns] : lists_) {
    auto front = layout.objects(resource, ns);
    auto it = keys.lower_bound(front);
    if (it != keys.end() && it->starts_with(front)) return true;
  }
  return false;
}

// Single keys as long as there is room; of a resource of which too many were looked at, all of it is compared at once.
void EtcdAttempt::compare(etcd::Txn& txn, const EtcdLayout& layout) const {
  auto lists = lists_;
  std::map<std::string, std::size_t> singles;  // by resource
  for (const auto& key : reads_)
    if (!lists.contains({key.resource, ""})) ++singles[key.resource];
  auto cost = [&] {
    std::set<std::string> resources;
    for (const auto& [resource, ns] : lists) resources.insert(resource);
    std::size_t n = 1 + std::min(guards_.size(), kSingleGuards) + lists.size() + resources.size();
    for (const auto& [resource, count] : singles) n += count;
    return n;
  };
  while (!singles.empty() && cost() > etcd::Txn::kMostCompares) {
    auto most = std::max_element(singles.begin(), singles.end(), [](auto& x, auto& y) { return x.second < y.second; });
    std::erase_if(lists, [&](const auto& l) { return l.first == most->first; });
    lists.emplace(most->first, "");
    singles.erase(most);
  }
  for (const auto& key : reads_) {
    if (lists.contains({key.resource, ""})) continue;
    auto have = cache_.get(key);
    auto mod = have ? have->revision / kRevisionsPerCommit - at_.base : 0;
    txn.expect_revision(layout.object(key), mod);
  }
  // Of a list: nothing in it is newer than the cache, and nothing of that resource has been removed since.
  std::set<std::string> resources;
  for (const auto& [resource, ns] : lists) {
    if (!ns.empty() && lists.contains({resource, ""})) continue;
    auto front = layout.objects(resource, ns);
    txn.expect_older(front, etcd::prefix_end(front), at_.applied + 1);
    if (resources.insert(resource).second) txn.expect_older(layout.gone(resource), "", at_.applied + 1);
  }
}

Answer<etcd::Txn> EtcdAttempt::transaction(const EtcdLayout& layout, const std::string& session,
                                           const std::string& marker) const {
  etcd::Txn txn;
  txn.expect_revision(layout.session(session), at_.session);
  compare(txn, layout);
  std::set<std::string> guards, gone;
  for (const auto& name : guards_) guards.insert(layout.guard(name));
  if (guards.size() > kSingleGuards) {
    auto front = layout.guards();
    txn.expect_older(front, etcd::prefix_end(front), at_.applied + 1);
  }
  for (const auto& key : guards) {
    if (guards.size() > kSingleGuards) break;
    auto known = at_.guards.find(key);
    txn.expect_revision(key, known == at_.guards.end() ? 0 : known->second);
  }
  for (std::size_t place = 0; place < order_.size(); ++place) {  // first: their place among the events is their place
    const auto& key = order_[place];
    const auto& object = writes_.at(key).object;
    if (object)
      txn.put(layout.object(key), encode_object(key, object->body, place));
    else
      txn.erase(layout.object(key)), gone.insert(key.resource);
  }
  for (const auto& key : guards) txn.put(key, "");
  for (const auto& resource : gone) txn.put(layout.gone(resource), "");
  txn.put(layout.head(), session + "/" + marker);
  txn.otherwise_read(layout.head());
  if (txn.operations() > etcd::Txn::kMostOps || txn.compares() > etcd::Txn::kMostCompares) {
    Status s;
    s.code = 413;
    s.reason = "RequestEntityTooLarge";
    s.message = fmt::format("a transaction of {} writes is more than etcd takes at once ({})", txn.operations(),
                            etcd::Txn::kMostOps);
    return s;
  }
  return txn;
}

ObjectPtr EtcdAttempt::committed(const ObjectPtr& put, std::uint64_t mod_revision) const {
  if (!put) return put;
  auto it = writes_.find(put->key);
  if (it == writes_.end() || it->second.object != put) return put;
  auto place = static_cast<std::uint64_t>(std::find(order_.begin(), order_.end(), put->key) - order_.begin());
  return api::make_object(put->key, put->body, at_.commit(mod_revision) + place);
}

}  // namespace trama::store
