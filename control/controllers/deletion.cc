// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/deletion.h"

namespace trama::control {

namespace {

// A pod on a node runs until its agent has stopped it.
bool waits_for_agent(const api::Object& o) {
  if (o.key.resource != "pods" || api::text_at(o.body, "spec.nodeName").empty()) return false;
  auto phase = api::text_at(o.body, "status.phase");
  return phase != "Succeeded" && phase != "Failed";
}

}  // namespace

api::ObjectPtr begin_delete(store::Transaction& tx, const api::Key& key, Time now) {
  auto have = tx.get(key);
  if (!have) return nullptr;
  bool waits = waits_for_agent(*have);
  auto grace = waits ? api::int_at(have->body, "spec.terminationGracePeriodSeconds", 30) : 0;
  bool held = !api::array_at(have->body, "metadata.finalizers").empty() || (waits && grace > 0);
  if (!held) {
    tx.erase(key);
    return have;
  }
  if (is_terminating(have->body)) return have;
  auto body = have->body;
  auto& metadata = api::make_object_at(body, "metadata");
  metadata["deletionTimestamp"] = timestamp(now + std::chrono::seconds(grace));
  metadata["deletionGracePeriodSeconds"] = grace;
  return tx.put(key, std::move(body));
}

api::ObjectPtr force_delete(store::Transaction& tx, const api::Key& key) {
  auto have = tx.get(key);
  if (have) tx.erase(key);
  return have;
}

api::ObjectPtr put_or_finish(store::Transaction& tx, const api::Key& key, json::object body) {
  bool finished = is_terminating(body) && api::array_at(body, "metadata.finalizers").empty() &&
                  api::int_at(body, "metadata.deletionGracePeriodSeconds") == 0;
  if (!finished) return tx.put(key, std::move(body));
  auto have = tx.get(key);
  tx.erase(key);
  return have;
}

}  // namespace trama::control
