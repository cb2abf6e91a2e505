// SPDX-License-Identifier: GPL-2.0-or-later
// Which pods are bound to which node. What a node may read or ask for hangs on its own pods and is asked with each of
// its requests: looking at every pod of the namespace instead would make a big cluster's start quadratic.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/store/store.h"

namespace trama::server {

class NodePods {
 public:
  // Knows what `store` holds and follows it from here on. The store keeps it, too.
  static std::shared_ptr<const NodePods> of(store::Store& store);

  // Names in `ns`. After a store began anew there may be some that are gone: whoever decides looks at the pod.
  const std::set<std::string>& on(const std::string& node, const std::string& ns) const;

 private:
  using Place = std::pair<std::string, std::string>;  // node, namespace
  void see(const store::Event& e);
  void put(const api::Object& pod);
  void remove(const api::Key& pod);

  std::map<Place, std::set<std::string>> pods_;
  std::map<api::Key, std::string> nodes_;  // of each bound pod
};

}  // namespace trama::server
