// SPDX-License-Identifier: GPL-2.0-or-later
// Which pods stand behind which Service: the index, and what of a pod a Service sees.
#pragma once

#include <string>
#include <vector>

#include "control/loops/label_index.h"
#include "control/loops/meta.h"
#include "control/store/store.h"

namespace trama::control {

// An index over the events of pods and Services: a change of one pod looks at the Services in front of it alone.
class ServicePods {
 public:
  void service_seen(const store::Event& e);
  // Services ("namespace/name") that have to look; none when they would see no difference.
  std::vector<std::string> pod_seen(const store::Event& e);
  // Those that the Service's selector matches.
  std::vector<api::ObjectPtr> of(const api::Object& service, const store::Store& store) const;
  void forget_pods() { pods_.clear(); }
  void forget_services() { services_.clear(); }

 private:
  void services_of(const api::Object& pod, const Labels& labels, std::vector<std::string>& out) const;
  LabelIndex pods_;
  LabelIndex services_;  // by the first label of their selectors
};

// When what Services see of the pod has changed: its readiness, or the pod came or went.
std::string trigger_of(const json::object& pod);

// "IPv4", "IPv6": the families of the Service, the first one first.
std::vector<std::string> families_of(const json::object& service);
// The pod's address of that family; "" when it has none.
std::string pod_address(const json::object& pod, const std::string& family);
// The number behind a target port: given as one, or the name of a container's port; 0 when the pod has no such port.
std::int64_t resolve_port(const json::object& pod, const json::object& service_port);
// The pod's name in the Service's domain; "" when it has none there.
std::string hostname_in(const json::object& service, const json::object& pod);

}  // namespace trama::control
