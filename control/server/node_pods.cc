// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/node_pods.h"

namespace trama::server {

std::shared_ptr<const NodePods> NodePods::of(store::Store& store) {
  auto made = std::make_shared<NodePods>();
  for (const auto& pod : store.list("pods")) made->put(*pod);
  store.observe("pods", [made](const store::Event& e) { made->see(e); });
  return made;
}

const std::set<std::string>& NodePods::on(const std::string& node, const std::string& ns) const {
  static const std::set<std::string> kNone;
  auto it = pods_.find({node, ns});
  return it == pods_.end() ? kNone : it->second;
}

void NodePods::see(const store::Event& e) {
  if (e.type == store::Event::Type::deleted)
    remove(e.object->key);
  else
    put(*e.object);
}

void NodePods::put(const api::Object& pod) {
  auto node = api::text_at(pod.body, "spec.nodeName");
  auto it = nodes_.find(pod.key);
  if (it != nodes_.end() && it->second == node) return;
  remove(pod.key);
  if (node.empty()) return;
  pods_[{node, pod.key.ns}].insert(pod.key.name);
  nodes_.emplace(pod.key, std::move(node));
}

void NodePods::remove(const api::Key& pod) {
  auto it = nodes_.find(pod);
  if (it == nodes_.end()) return;
  auto place = pods_.find({it->second, pod.ns});
  place->second.erase(pod.name);
  if (place->second.empty()) pods_.erase(place);
  nodes_.erase(it);
}

}  // namespace trama::server
