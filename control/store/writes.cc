// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/writes.h"

#include <fmt/format.h>

namespace trama::store {

using api::Answer;
using api::ObjectPtr;
using api::Status;

Answer<ObjectPtr> create(Transaction& tx, const api::Kind& kind, api::Key key, api::json::object body, api::Time now,
                         const Hook& hook) {
  if (kind.namespaced) {
    api::Key space{"namespaces", "", key.ns};
    auto ns = tx.get(space);
    if (!ns) return Status::not_found(space);
    if (api::at(ns->body, "metadata.deletionTimestamp"))
      return Status::forbidden(fmt::format(
          "{} \"{}\" is forbidden: unable to create new content in namespace {} because it is being terminated",
          kind.resource, api::text_at(body, "metadata.name"), key.ns));
  }
  auto ready = api::prepare_create(kind, key, std::move(body), now);
  if (!ready) return ready.error();
  key.name = api::text_at(*ready, "metadata.name");
  if (tx.get(key)) return Status::already_exists(key);
  if (hook)
    if (auto refused = hook(tx, key, nullptr, &*ready)) return *refused;
  return tx.put(key, std::move(*ready));
}

Answer<ObjectPtr> update(Transaction& tx, const api::Kind& kind, const api::Key& key, api::json::object body,
                         api::Part part, api::Time now, const Hook& hook) {
  auto old = tx.get(key);
  if (!old) return Status::not_found(key);
  auto ready = api::prepare_update(kind, *old, std::move(body), part, now);
  if (!ready) return ready.error();
  if (hook)
    if (auto refused = hook(tx, key, old.get(), &*ready)) return *refused;
  // Who has set a field is worth a write too.
  if (api::same_content(old->body, *ready) &&
      api::array_at(old->body, "metadata.managedFields") == api::array_at(*ready, "metadata.managedFields"))
    return old;
  if (api::is_removable(*ready)) {
    tx.erase(key);
    return api::make_object(key, std::move(*ready), old->revision);
  }
  return tx.put(key, std::move(*ready));
}

Answer<ObjectPtr> remove(Transaction& tx, const api::Kind& kind, const api::Key& key, const api::DeleteOptions& options,
                         api::Time now, const Hook& hook) {
  auto old = tx.get(key);
  if (!old) return Status::not_found(key);
  auto removal = api::prepare_delete(kind, *old, options, now);
  if (!removal) return removal.error();
  if (removal->noop) return old;
  if (hook)
    if (auto refused = hook(tx, key, old.get(), nullptr)) return *refused;
  if (!removal->now) return tx.put(key, std::move(removal->body));
  tx.erase(key);
  return old;
}

}  // namespace trama::store
