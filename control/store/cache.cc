// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/cache.h"

namespace trama::store {

using api::Key;
using api::ObjectPtr;

ObjectPtr Cache::get(const Key& key) const {
  auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

std::vector<ObjectPtr> Cache::list(const std::string& resource, const std::string& ns) const {
  std::vector<ObjectPtr> out;
  for (auto it = objects_.lower_bound(Key{resource, ns, ""}); it != objects_.end(); ++it) {
    if (it->first.resource != resource || (!ns.empty() && it->first.ns != ns)) break;
    out.push_back(it->second);
  }
  return out;
}

void Cache::begin(Objects objects, std::uint64_t revision, std::vector<Event> history, std::uint64_t floor) {
  objects_ = std::move(objects);
  revision_ = revision;
  hub_.begin(std::move(history), floor, revision);
}

void Cache::begin_anew(Objects objects, std::uint64_t revision) {
  objects_ = std::move(objects);
  revision_ = revision;
  hub_.begin_anew(revision);
  for (const auto& [key, object] : objects_) tell({Event::Type::added, object->revision, object, nullptr});
}

void Cache::apply(const Key& key, ObjectPtr object, std::uint64_t revision) {
  Event e;
  e.revision = revision;
  e.previous = get(key);
  if (object) {
    e.type = e.previous ? Event::Type::modified : Event::Type::added;
    e.object = object;
    objects_[key] = std::move(object);
  } else {
    if (!e.previous) return;
    e.type = Event::Type::deleted;
    e.object = api::make_object(key, e.previous->body, revision);
    objects_.erase(key);
  }
  tell(e);
  hub_.publish(e);
}

void Cache::tell(const Event& e) const {
  auto [first, last] = observers_.equal_range(e.object->key.resource);
  for (auto it = first; it != last; ++it) it->second(e);
}

}  // namespace trama::store
