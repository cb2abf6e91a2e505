// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/conditions.h"

#include "control/api/object.h"

namespace trama::agent {

void set_condition(boost::json::array& conditions, const Condition& want, const std::string& now) {
  boost::json::object item;
  item["type"] = want.type;
  item["status"] = want.holds ? "True" : "False";
  item["lastTransitionTime"] = now;
  if (want.heartbeat_field == "lastProbeTime") item["lastProbeTime"] = nullptr;
  if (want.heartbeat_field == "lastHeartbeatTime") item["lastHeartbeatTime"] = now;
  if (!want.reason.empty()) item["reason"] = want.reason;
  if (!want.message.empty()) item["message"] = want.message;
  for (auto& value : conditions) {
    if (!value.is_object() || api::text_at(value.get_object(), "type") != want.type) continue;
    auto& have = value.get_object();
    auto since = api::text_at(have, "lastTransitionTime");
    bool same_status = api::text_at(have, "status") == item["status"].get_string() && !since.empty();
    if (same_status && api::text_at(have, "reason") == want.reason && api::text_at(have, "message") == want.message)
      return;
    if (same_status) item["lastTransitionTime"] = since;
    have = std::move(item);
    return;
  }
  conditions.push_back(std::move(item));
}

}  // namespace trama::agent
