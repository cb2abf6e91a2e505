// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/contract/store/log_model.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>
#include <unistd.h>

namespace trama::test {

using store::Event;

ScratchDirectory::ScratchDirectory() {
  std::filesystem::path root = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path();
  std::string pattern = root / "trama-store-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
  path = pattern;
}
ScratchDirectory::~ScratchDirectory() { std::filesystem::remove_all(path); }

int times(int usual, int at_length) {
  if (std::getenv("TRAMA_LONG")) return at_length;
#ifdef __SANITIZE_ADDRESS__
  return usual / 5;
#else
  return usual;
#endif
}

LogModel::Batch LogModel::next() {
  Batch out;
  next_objects_ = objects_, next_events_ = events_;
  auto writes = 1 + random_() % 4;
  for (unsigned i = 0; i < writes; ++i) {
    static const std::vector<std::pair<std::string, std::string>> kPlaces = {
        {"pods", "default"}, {"pods", "other"}, {"services", "default"}, {"leases", "kube-node-lease"}};
    auto [resource, ns] = kPlaces[random_() % kPlaces.size()];
    api::Key key{resource, ns, "o" + std::to_string(random_() % 8)};
    store::Change c{key, ++revision_, nullptr, nullptr};
    if (auto it = next_objects_.find(key); it != next_objects_.end()) c.previous = it->second;
    Event e;
    e.revision = c.revision, e.previous = c.previous;
    if (random_() % 4 || !c.previous) {
      api::json::object body;
      api::make_object_at(body, "metadata")["name"] = key.name;
      auto size = random_() % 8 ? random_() % 400 : random_() % 9000;
      body["data"] = std::string(size, static_cast<char>('a' + random_() % 26)) + std::to_string(random_());
      c.object = api::make_object(key, std::move(body), c.revision);
      next_objects_[key] = c.object;
      e.type = c.previous ? Event::Type::modified : Event::Type::added;
      e.object = c.object;
    } else {
      next_objects_.erase(key);
      e.type = Event::Type::deleted;
      e.object = api::make_object(key, c.previous->body, c.revision);
    }
    if (!store::is_write_behind(key)) next_events_.push_back(e);
    out.changes.push_back(std::move(c));
  }
  out.reserved = next_reserved_ = revision_ + 100;
  return out;
}

void LogModel::acknowledged() {
  objects_ = next_objects_, events_ = next_events_;
  reserved_ = next_reserved_;
}

void LogModel::refused() {
  next_objects_ = objects_, next_events_ = events_;
  next_reserved_ = reserved_;
}

std::string difference(const LogModel::Objects& wanted, const std::vector<api::ObjectPtr>& got) {
  LogModel::Objects have;
  for (const auto& o : got) have[o->key] = o;
  if (have.size() != got.size()) return "an object is there twice";
  for (const auto& [key, object] : wanted) {
    auto it = have.find(key);
    if (it == have.end()) return fmt::format("{} (revision {}) is gone", key.to_string(), object->revision);
    if (it->second->revision != object->revision)
      return fmt::format("{} is of revision {}, not {}", key.to_string(), it->second->revision, object->revision);
    if (it->second->text() != object->text()) return key.to_string() + " has other content";
    have.erase(it);
  }
  return have.empty() ? "" : have.begin()->first.to_string() + " should not be there";
}

std::string difference(const std::vector<Event>& wanted, const std::vector<Event>& got, std::uint64_t floor) {
  auto first = std::partition_point(wanted.begin(), wanted.end(), [&](const Event& e) { return e.revision <= floor; });
  auto from = std::partition_point(got.begin(), got.end(), [&](const Event& e) { return e.revision <= floor; });
  for (; first != wanted.end(); ++first, ++from) {
    if (from == got.end()) return fmt::format("event {} is missing", first->revision);
    bool same = first->revision == from->revision && first->type == from->type &&
                first->object->key == from->object->key && first->object->text() == from->object->text() &&
                !first->previous == !from->previous &&
                (!first->previous || first->previous->text() == from->previous->text());
    if (!same) return fmt::format("event {} is not what happened at {}", from->revision, first->revision);
  }
  return from == got.end() ? "" : fmt::format("event {} has never happened", from->revision);
}

std::string LogModel::check(const store::Loaded& loaded, bool under_way) const {
  auto one = [&](const Objects& objects, const std::vector<Event>& events, std::uint64_t reserved) {
    auto wrong = difference(objects, loaded.objects);
    if (wrong.empty()) wrong = difference(events, loaded.history, loaded.history_floor);
    if (wrong.empty() && loaded.revision < reserved)
      wrong = fmt::format("revisions go on at {}, {} was reserved", loaded.revision, reserved);
    return wrong;
  };
  auto wrong = one(objects_, events_, reserved_);
  if (wrong.empty() || !under_way) return wrong;
  auto after = one(next_objects_, next_events_, next_reserved_);
  return after.empty() ? "" : wrong + "; or, with the commit that was under way: " + after;
}

}  // namespace trama::test
