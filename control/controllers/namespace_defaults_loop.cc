// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/namespace_defaults_loop.h"

#include "control/controllers/bootstrap.h"
#include "control/controllers/pod_account.h"
#include "control/loops/meta.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

constexpr const char* kAbout = "kubernetes.io/description";

api::Key map_of(const std::string& ns) { return {"configmaps", ns, kCaConfigMap.name}; }

// The data that it has to have; empty = the cluster has not said yet.
json::object wanted_data(const api::ObjectPtr& cluster) {
  auto authorities = cluster ? authorities_of(cluster->body) : pki::Authorities();
  json::object out;
  if (!authorities.pems.empty()) out["ca.crt"] = authorities.bundle();
  return out;
}

// Puts it there, unless it is as it should be, or is the cluster's own.
api::ObjectPtr ensure_authorities(store::Transaction& tx, const std::string& ns, Time now) {
  auto key = map_of(ns);
  auto have = tx.get(key);
  auto data = wanted_data(tx.get(kCaConfigMap));
  bool same = have && api::object_at(have->body, "data") == data && !have->body.contains("binaryData");
  if (key == kCaConfigMap || data.empty() || same || (have && is_terminating(have->body))) return have;
  auto body = have ? have->body : new_object("v1", "ConfigMap", key, now);
  api::make_object_at(body, "metadata.annotations")[kAbout] =
      "The CAs that vouch for the API server, for the pods of this namespace. The controller keeps it so.";
  body["data"] = std::move(data);
  body.erase("binaryData");
  return tx.put(key, std::move(body));
}

}  // namespace

NamespaceDefaultsLoop::NamespaceDefaultsLoop(async::asio::any_io_executor ex, store::Store& store)
    : store_(store),
      loop_(std::move(ex), store, {.name = "namespacedefaults"},
            {{"namespaces",
              [this](const store::Event& e) {
                if (e.type != Type::deleted && !is_terminating(e.object->body)) loop_.enqueue(e.object->key.name);
              }},
             {"serviceaccounts",
              [this](const store::Event& e) {
                if (e.type == Type::deleted && e.object->key.name == kDefaultAccount) loop_.enqueue(e.object->key.ns);
              }},
             {"configmaps", [this](const store::Event& e) { map_seen(e); }}},
            [this](std::string name) { return handle(std::move(name)); }) {}

void NamespaceDefaultsLoop::map_seen(const store::Event& e) {
  const auto& key = e.object->key;
  if (key.name != kCaConfigMap.name) return;
  if (key != kCaConfigMap) return loop_.enqueue(key.ns);
  for (const auto& ns : store_.list("namespaces")) loop_.enqueue(ns->key.name);
}

awaitable<Result<>> NamespaceDefaultsLoop::handle(std::string name) {
  api::Key space{"namespaces", "", name};
  auto ns = store_.get(space);
  if (!ns || is_terminating(ns->body)) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto have = tx.get(space);
    if (!have || is_terminating(have->body)) return ns;
    ensure_default_account(tx, name, now);
    ensure_authorities(tx, name, now);
    return have;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

}  // namespace trama::control
