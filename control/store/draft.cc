// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/draft.h"

#include <algorithm>

namespace trama::store {

using api::Key;
using api::ObjectPtr;

ObjectPtr Draft::get(const Key& key) const {
  if (auto it = own_.find(key); it != own_.end()) return it->second;
  if (auto it = batch_.find(key); it != batch_.end()) return it->second;
  auto it = committed_.find(key);
  return it == committed_.end() ? nullptr : it->second;
}

std::vector<ObjectPtr> Draft::list(const std::string& resource, const std::string& ns) const {
  Objects merged;
  auto take = [&](const Objects& from) {
    for (auto it = from.lower_bound(Key{resource, ns, ""}); it != from.end(); ++it) {
      if (it->first.resource != resource || (!ns.empty() && it->first.ns != ns)) break;
      merged[it->first] = it->second;
    }
  };
  take(committed_), take(batch_), take(own_);
  std::vector<ObjectPtr> out;
  for (auto& [key, object] : merged)
    if (object) out.push_back(std::move(object));
  return out;
}

ObjectPtr Draft::put(const Key& key, api::json::object body) {
  auto previous = get(key);
  auto object = api::make_object(key, std::move(body), ++counter_);
  changes_.push_back(Change{key, object->revision, object, std::move(previous)});
  own_[key] = object;
  return object;
}

void Draft::erase(const Key& key) {
  changes_.push_back(Change{key, ++counter_, nullptr, get(key)});
  own_[key] = nullptr;
}

void Draft::keep() {
  all_kept_shrink_ = all_kept_shrink_ && shrinks();
  for (auto& [key, object] : own_) batch_[key] = std::move(object);
  own_.clear();
  kept_.insert(kept_.end(), changes_.begin(), changes_.end());
  changes_.clear();
}

void Draft::drop() {
  own_.clear();
  changes_.clear();
}

bool Draft::shrinks() const {
  return std::all_of(changes_.begin(), changes_.end(), [](const Change& c) {
    if (!c.object || is_write_behind(c.key) || api::at(c.object->body, "metadata.deletionTimestamp")) return true;
    return c.previous && c.object->text().size() <= c.previous->text().size();
  });
}

}  // namespace trama::store
