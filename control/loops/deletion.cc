// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/deletion.h"

#include "control/store/writes.h"

namespace trama::control {

api::ObjectPtr begin_delete(store::Transaction& tx, const api::Key& key, Time now) {
  const auto* kind = api::kind_of_resource(key.resource);
  if (kind == nullptr) return nullptr;
  api::DeleteOptions options;
  auto removed = store::remove(tx, *kind, key, options, now);
  return removed ? *removed : nullptr;
}

api::ObjectPtr force_delete(store::Transaction& tx, const api::Key& key, Time now) {
  auto have = tx.get(key);
  if (!have) return nullptr;
  if (api::array_at(have->body, "metadata.finalizers").empty()) {
    tx.erase(key);
    return have;
  }
  auto body = have->body;
  auto& metadata = api::make_object_at(body, "metadata");
  if (!is_terminating(body)) metadata["deletionTimestamp"] = base::format_seconds(now);
  metadata["deletionGracePeriodSeconds"] = 0;
  auto& status = api::make_object_at(body, "status");
  if (auto phase = api::text_at(status, "phase"); phase != "Succeeded" && phase != "Failed") status["phase"] = "Failed";
  if (body == have->body) return have;
  return tx.put(key, std::move(body));
}

api::ObjectPtr put_or_finish(store::Transaction& tx, const api::Key& key, json::object body) {
  if (!api::is_removable(body)) return tx.put(key, std::move(body));
  auto have = tx.get(key);
  tx.erase(key);
  return have;
}

}  // namespace trama::control
