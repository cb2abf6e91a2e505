// SPDX-License-Identifier: GPL-2.0-or-later
// Conditions of a status, as pods and nodes have them. Pure.
#pragma once

#include <string>

#include <boost/json.hpp>

namespace trama::agent {

struct Condition {
  std::string type;
  bool holds = false;
  std::string reason, message;
  std::string heartbeat_field;  // "lastProbeTime" (null), "lastHeartbeatTime" (time of the last change)
};

// Replaces the condition of this type in `conditions`, or adds it. lastTransitionTime moves only when the status does;
// when nothing but times would change, the condition is left alone.
void set_condition(boost::json::array& conditions, const Condition& want, const std::string& now);

}  // namespace trama::agent
