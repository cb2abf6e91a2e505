// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/garbage_loop.h"

#include <algorithm>

#include "control/api/kinds.h"
#include "control/loops/deletion.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

constexpr std::string_view kForeground = "foregroundDeletion";
constexpr std::string_view kOrphan = "orphan";
constexpr std::size_t kBatch = 500;

std::vector<std::string> owner_uids(const json::object& body) {
  std::vector<std::string> uids;
  for (const auto& r : api::array_at(body, "metadata.ownerReferences"))
    if (const auto* o = r.if_object()) uids.push_back(api::text_at(*o, "uid"));
  return uids;
}

// The object that a reference means, as far as it exists with that uid. Unknown kinds count as existing.
// `world` is a store or a transaction.
template <class World>
bool owner_exists(const World& world, const json::object& ref, const std::string& ns) {
  const auto* kind = api::kind_of_manifest(api::text_at(ref, "apiVersion"), api::text_at(ref, "kind"));
  if (kind == nullptr) return true;
  api::Key key;
  key.resource = kind->resource;
  if (kind->namespaced) key.ns = ns;
  key.name = api::text_at(ref, "name");
  auto owner = world.get(key);
  return owner && owner->uid == api::text_at(ref, "uid");
}

json::array without_owner(const json::object& body, const std::string& uid) {
  json::array kept;
  for (const auto& r : api::array_at(body, "metadata.ownerReferences"))
    if (!r.is_object() || api::text_at(r.get_object(), "uid") != uid) kept.push_back(r);
  return kept;
}

bool blocks(const json::object& body, const std::string& uid) {
  for (const auto& r : api::array_at(body, "metadata.ownerReferences"))
    if (const auto* o = r.if_object())
      if (api::text_at(*o, "uid") == uid && api::bool_at(*o, "blockOwnerDeletion")) return true;
  return false;
}

std::vector<Source> all_kinds(std::function<void(const store::Event&)> seen,
                              std::function<void(const std::string&)> reset) {
  std::vector<Source> sources;
  for (const auto& k : api::kinds()) {
    if (!k.served_as.empty() || k.resource == "events") continue;
    std::string resource(k.resource);
    sources.push_back({resource, seen, [reset, resource] { reset(resource); }});
  }
  return sources;
}

}  // namespace

GarbageLoop::GarbageLoop(async::asio::any_io_executor ex, store::Store& store, milliseconds node_gone)
    : store_(store),
      node_gone_(node_gone),
      loop_(std::move(ex), store, {.name = "garbage"},
            all_kinds([this](const store::Event& e) { seen(e); },
                      [this](const std::string& resource) {
                        std::vector<api::Key> keys;
                        for (const auto& [key, unused] : owners_)
                          if (key.resource == resource) keys.push_back(key);
                        for (const auto& key : keys) forget(key);
                      }),
            [this](std::string key) { return handle(std::move(key)); }) {}

void GarbageLoop::seen(const store::Event& e) {
  const auto& o = *e.object;
  bool gone = e.type == Type::deleted;
  if (gone) {
    forget(o.key);
    leaving_.erase(o.uid);
    if (dependents_.contains(o.uid)) loop_.enqueue("uid/" + o.uid);
    // Owners that wait in the foreground look again.
    for (const auto& uid : owner_uids(o.body))
      if (leaving_.contains(uid)) loop_.enqueue("uid/" + uid);
    if (o.key.resource == "nodes") loop_.enqueue_after("node/" + o.key.name, node_gone_);
    return;
  }
  if (!e.previous || api::array_at(e.previous->body, "metadata.ownerReferences") !=
                         api::array_at(o.body, "metadata.ownerReferences")) {
    forget(o.key);
    index(o);
  }
  if (has_finalizer(o.body, kForeground) || has_finalizer(o.body, kOrphan)) {
    if (is_terminating(o.body)) {
      leaving_[o.uid] = o.key;
      loop_.enqueue("uid/" + o.uid);
    }
  }
  if (o.key.resource == "pods") {
    auto node = api::text_at(o.body, "spec.nodeName");
    bool placed = !e.previous || api::text_at(e.previous->body, "spec.nodeName") != node;
    api::Key node_key;
    node_key.resource = "nodes";
    node_key.name = node;
    if (!node.empty() && placed && !store_.get(node_key)) loop_.enqueue_after("node/" + node, node_gone_);
  }
}

void GarbageLoop::index(const api::Object& o) {
  auto uids = owner_uids(o.body);
  if (uids.empty()) return;
  for (const auto& uid : uids) {
    dependents_[uid].insert(o.key);
    loop_.enqueue("uid/" + uid);  // it may have gone before we heard of the reference
  }
  owners_[o.key] = std::move(uids);
}

void GarbageLoop::forget(const api::Key& key) {
  auto it = owners_.find(key);
  if (it == owners_.end()) return;
  for (const auto& uid : it->second) {
    auto d = dependents_.find(uid);
    if (d == dependents_.end()) continue;
    d->second.erase(key);
    if (d->second.empty()) dependents_.erase(d);
  }
  owners_.erase(it);
}

awaitable<Result<>> GarbageLoop::handle(std::string key) {
  if (key.starts_with("node/")) co_return co_await settle_node(key.substr(5));
  co_return co_await settle_owner(key.substr(4));
}

awaitable<Result<>> GarbageLoop::settle_owner(std::string uid) {
  std::vector<api::Key> keys;
  if (auto it = dependents_.find(uid); it != dependents_.end())
    keys.assign(it->second.begin(),
                std::next(it->second.begin(), static_cast<std::ptrdiff_t>(std::min(kBatch, it->second.size()))));
  bool more = dependents_.contains(uid) && dependents_[uid].size() > kBatch;
  auto leaving = leaving_.find(uid);
  bool waits = leaving != leaving_.end();
  api::Key owner_key = waits ? leaving->second : api::Key();
  if (keys.empty() && !waits) co_return Result<>();
  // Most references are to owners that exist: found out without a transaction.
  bool stale = std::any_of(keys.begin(), keys.end(), [&](const api::Key& key) {
    auto o = store_.get(key);
    if (!o) return false;
    const auto& refs = api::array_at(o->body, "metadata.ownerReferences");
    return std::any_of(refs.begin(), refs.end(), [&](const json::value& r) {
      const auto* ref = r.if_object();
      return ref != nullptr && api::text_at(*ref, "uid") == uid && !owner_exists(store_, *ref, key.ns);
    });
  });
  if (!stale && !waits) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  bool wrote = false;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    wrote = false;
    auto owner = waits ? tx.get(owner_key) : nullptr;
    if (owner && owner->uid != uid) owner = nullptr;
    bool orphan = owner && has_finalizer(owner->body, kOrphan);
    bool foreground = owner && has_finalizer(owner->body, kForeground);
    bool blocked = false;
    api::ObjectPtr last = owner;
    for (const auto& key : keys) {
      auto o = tx.get(key);
      if (!o) continue;
      const auto& refs = api::array_at(o->body, "metadata.ownerReferences");
      if (orphan) {
        auto body = o->body;
        api::make_object_at(body, "metadata")["ownerReferences"] = without_owner(body, uid);
        last = tx.put(key, std::move(body));
        wrote = true;
        continue;
      }
      bool others = std::any_of(refs.begin(), refs.end(), [&](const json::value& r) {
        const auto* ref = r.if_object();
        return ref != nullptr && api::text_at(*ref, "uid") != uid && owner_exists(tx, *ref, key.ns);
      });
      bool this_one = std::any_of(refs.begin(), refs.end(), [&](const json::value& r) {
        const auto* ref = r.if_object();
        return ref != nullptr && api::text_at(*ref, "uid") == uid && owner_exists(tx, *ref, key.ns);
      });
      if (this_one && !foreground) continue;
      if (foreground && blocks(o->body, uid)) blocked = true;
      if (others) {
        if (foreground) continue;
        auto body = o->body;
        api::make_object_at(body, "metadata")["ownerReferences"] = without_owner(body, uid);
        last = tx.put(key, std::move(body));
        wrote = true;
      } else if (!is_terminating(o->body)) {
        last = begin_delete(tx, key, now);
        wrote = true;
      }
    }
    if (owner && !more && (orphan || (foreground && !blocked))) {
      auto body = owner->body;
      remove_finalizer(body, orphan ? kOrphan : kForeground);
      last = put_or_finish(tx, owner_key, std::move(body));
      wrote = true;
    }
    if (!last) return api::Status::not_found(keys.empty() ? owner_key : keys.front());
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done && !done.error().is(std::errc::no_such_file_or_directory)) co_return std::move(done).error();
  if (more && wrote) loop_.enqueue("uid/" + uid);
  co_return Result<>();
}

awaitable<Result<>> GarbageLoop::settle_node(std::string name) {
  api::Key node;
  node.resource = "nodes";
  node.name = name;
  if (store_.get(node)) co_return Result<>();
  std::vector<api::Key> stranded;
  for (const auto& pod : store_.list("pods"))
    if (api::text_at(pod->body, "spec.nodeName") == name) stranded.push_back(pod->key);
  if (stranded.empty()) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    if (tx.get(node)) return api::Status::conflict(node, "it is back");
    api::ObjectPtr last;
    for (const auto& key : stranded)
      if (auto o = force_delete(tx, key, now)) last = o;
    if (!last) return api::Status::not_found(stranded.front());
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done && !done.error().is(std::errc::no_such_file_or_directory)) co_return std::move(done).error();
  base::logger("garbage")->info("node {} is gone for good: {} of its pods were deleted", name, stranded.size());
  co_return Result<>();
}

NamespaceLoop::NamespaceLoop(async::asio::any_io_executor ex, store::Store& store)
    : store_(store),
      loop_(std::move(ex), store, {.name = "namespace", .workers = 2},
            {{"namespaces",
              [this](const store::Event& e) {
                if (e.type != Type::deleted && is_terminating(e.object->body)) loop_.enqueue(e.object->key.name);
              }}},
            [this](std::string name) { return handle(std::move(name)); }) {}

awaitable<Result<>> NamespaceLoop::handle(std::string name) {
  api::Key key;
  key.resource = "namespaces";
  key.name = name;
  auto ns = store_.get(key);
  if (!ns || !is_terminating(ns->body)) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  std::vector<api::Key> waiting;
  std::size_t left = 0;
  for (const auto& k : api::kinds()) {
    if (!k.namespaced || !k.served_as.empty()) continue;
    for (const auto& o : store_.list(std::string(k.resource), name)) {
      ++left;
      if (!is_terminating(o->body) && waiting.size() < kBatch) waiting.push_back(o->key);
    }
  }
  if (left > 0 && waiting.empty()) {  // what is left waits for agents or for finalizers
    loop_.enqueue_after(name, milliseconds(200));
    co_return Result<>();
  }
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto have = tx.get(key);
    if (!have || have->uid != ns->uid) return api::Status::conflict(key, "it has changed");
    for (const auto& w : waiting) begin_delete(tx, w, now);
    if (left > 0) return have;
    for (const auto& k : api::kinds())
      if (k.namespaced && k.served_as.empty() && !tx.list(std::string(k.resource), name).empty())
        return api::Status::conflict(key, "something was created in it");
    auto body = have->body;
    api::make_object_at(body, "spec").erase("finalizers");
    if (api::array_at(body, "metadata.finalizers").empty())
      tx.erase(key);
    else
      return tx.put(key, std::move(body));
    return have;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  if (left > 0) loop_.enqueue_after(name, milliseconds(10));
  co_return Result<>();
}

}  // namespace trama::control
