// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/event_recorder.h"

#include <algorithm>

#include "base/digest.h"
#include "base/log.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

namespace {

constexpr std::size_t kWaiting = 1'000;
constexpr std::size_t kRecent = 4'096;
constexpr std::size_t kBatch = 64;
constexpr double kAtOnce = 25, kPerSecond = 1.0 / 300;

Time last_seen(const api::Object& event) {
  for (const char* path : {"series.lastObservedTime", "lastTimestamp", "eventTime", "metadata.creationTimestamp"})
    if (auto t = base::parse_timestamp(api::text_at(event.body, path))) return *t;
  return Time();
}

}  // namespace

bool EventThrottle::allows(const std::string& who, Clock::time_point now) {
  auto passed = [now](const Speaker& s) { return std::chrono::duration<double>(now - s.filled).count(); };
  if (speakers_.size() >= kRecent) {
    // Those who have hardly spoken are as good as new; the others only when they alone are too many.
    std::erase_if(speakers_,
                  [&](const auto& s) { return s.second.tokens + passed(s.second) * kPerSecond >= kAtOnce - 2; });
    if (speakers_.size() >= kRecent) speakers_.clear();
  }
  auto [it, fresh] = speakers_.try_emplace(who, Speaker{kAtOnce, now});
  auto& s = it->second;
  s.tokens = std::min(kAtOnce, s.tokens + passed(s) * kPerSecond);
  s.filled = now;
  if (s.tokens < 1) return false;
  s.tokens -= 1;
  return true;
}

void EventRecorder::record(const api::Object& about, const std::string& type, const std::string& reason,
                           const std::string& message, const std::string& component) {
  if (waiting_.size() >= kWaiting || !throttle_.allows(component + "|" + about.uid, EventThrottle::Clock::now())) {
    ++dropped_;
    return;
  }
  Note n;
  n.involved["kind"] = api::text_at(about.body, "kind");
  n.involved["namespace"] = about.key.ns;
  n.involved["name"] = about.key.name;
  n.involved["uid"] = about.uid;
  n.involved["apiVersion"] = api::text_at(about.body, "apiVersion");
  n.involved["resourceVersion"] = std::to_string(about.revision);
  n.ns = about.key.ns.empty() ? "default" : about.key.ns;
  n.name = about.key.name;
  n.type = type;
  n.reason = reason;
  n.message = message;
  n.component = component;
  waiting_.push_back(std::move(n));
  wake_.set();
}

awaitable<void> EventRecorder::run() {
  for (;;) {
    co_await wake_.wait();
    co_await write_all();
  }
}

api::Key EventRecorder::key_of(const Note& n) {
  auto identity =
      fmt::format("{}|{}|{}|{}|{}|{}", n.ns, api::text_at(n.involved, "uid"), n.type, n.reason, n.message, n.component);
  if (recent_.size() > kRecent) recent_.clear();
  auto& known = recent_[identity];
  if (known.empty()) known = fmt::format("{}.{}", n.name.substr(0, 200), base::random_hex(8));
  return {"events", n.ns, known};
}

api::ObjectPtr EventRecorder::put(store::Transaction& tx, const api::Key& key, const Note& n, Time now) {
  if (auto have = tx.get(key)) {
    auto body = have->body;
    body["count"] = api::int_at(body, "count", 1) + 1;
    body["lastTimestamp"] = base::format_seconds(now);
    return tx.put(key, std::move(body));
  }
  auto body = new_object("v1", "Event", key, now);
  body["involvedObject"] = n.involved;
  body["reason"] = n.reason;
  body["message"] = n.message;
  body["type"] = n.type;
  body["count"] = 1;
  body["firstTimestamp"] = base::format_seconds(now);
  body["lastTimestamp"] = base::format_seconds(now);
  body["eventTime"] = nullptr;
  json::object source;
  source["component"] = n.component;
  body["source"] = std::move(source);
  body["reportingComponent"] = n.component;
  body["reportingInstance"] = "";
  return tx.put(key, std::move(body));
}

// Many in one write: what loops do for a thousand pods is a thousand Events.
awaitable<void> EventRecorder::write_all() {
  while (!waiting_.empty()) {
    std::vector<std::pair<api::Key, Note>> batch;
    while (!waiting_.empty() && batch.size() < kBatch) {
      auto key = key_of(waiting_.front());
      batch.emplace_back(std::move(key), std::move(waiting_.front()));
      waiting_.pop_front();
    }
    auto now = std::chrono::system_clock::now();
    store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      api::ObjectPtr last;
      for (const auto& [key, note] : batch) last = put(tx, key, note, now);
      return last;
    };
    auto done = co_await write(store_, std::move(decide));
    if (!done) {
      dropped_ += batch.size();
      base::logger("events")->debug("events were not written: {}", done.error().to_string());
    }
  }
}

std::vector<api::Key> stale_events(const std::vector<api::ObjectPtr>& events, Time now, std::chrono::milliseconds ttl,
                                   std::size_t cap) {
  std::vector<std::pair<Time, const api::Object*>> by_age;
  for (const auto& e : events) by_age.emplace_back(last_seen(*e), e.get());
  std::stable_sort(by_age.begin(), by_age.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<api::Key> stale;
  for (std::size_t i = 0; i < by_age.size(); ++i)
    if (i >= cap || by_age[i].first + ttl < now) stale.push_back(by_age[i].second->key);
  return stale;
}

awaitable<void> sweep_events(store::Store& store, std::chrono::milliseconds ttl, std::size_t cap) {
  for (;;) {
    auto pause = std::clamp(ttl / 20, milliseconds(1'000), milliseconds(60'000));
    co_await async::sleep_for(pause);
    auto stale = stale_events(store.list("events"), std::chrono::system_clock::now(), ttl, cap);
    if (stale.empty()) continue;
    store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      api::ObjectPtr last;
      for (const auto& key : stale) {
        auto have = tx.get(key);
        if (!have) continue;
        last = have;
        tx.erase(key);
      }
      if (!last) return api::Status::not_found(stale.front());
      return last;
    };
    co_await store.write(std::move(decide));
  }
}

}  // namespace trama::control
