// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/pod_sources.h"

#include "control/client/paths.h"

namespace trama::agent {

using State = SourceLookup::State;

struct PodSources::Watch {
  explicit Watch(async::asio::any_io_executor ex) : tasks(std::move(ex)) {}
  SourceLookup seen;
  std::unique_ptr<client::Reflector> reflector;
  async::TaskGroup tasks;
};

PodSources::PodSources(async::asio::any_io_executor brain, std::function<void()> on_change)
    : brain_(brain), on_change_(std::move(on_change)), log_(base::logger("sources")), leave_(brain), tasks_(brain) {}

PodSources::~PodSources() = default;

void PodSources::start(client::ApiClient& client) {
  client_ = &client;
  tasks_.spawn("end watches", bury());
  for (const auto& key : wanted_) begin(key);
}

awaitable<void> PodSources::stop() {
  co_await tasks_.stop();
  for (auto& [key, watch] : watches_) co_await watch->tasks.stop();
  for (auto& watch : leaving_) co_await watch->tasks.stop();
  watches_.clear();
  leaving_.clear();
}

void PodSources::want(const std::set<api::Key>& keys) {
  if (keys == wanted_) return;
  wanted_ = keys;
  if (!client_) return;
  for (auto it = watches_.begin(); it != watches_.end();) {
    if (keys.contains(it->first)) {
      ++it;
      continue;
    }
    leaving_.push_back(std::move(it->second));
    it = watches_.erase(it);
    leave_.set();
  }
  for (const auto& key : keys)
    if (!watches_.contains(key)) begin(key);
}

void PodSources::begin(const api::Key& key) {
  if (watches_.size() >= kMost) {
    if (!std::exchange(said_too_many_, true))
      log_->error("the pods of this node name more than {} ConfigMaps and Secrets; some wait until others are gone",
                  kMost);
    return;
  }
  auto& watch = *(watches_[key] = std::make_unique<Watch>(brain_));
  client::ReflectorOptions options;
  options.resource = key.resource;
  options.path = client::collection_path(key.resource, key.ns);
  options.field_selector = "metadata.name=" + key.name;
  auto set = [this, &watch](SourceLookup now) {
    bool same = now.state == watch.seen.state &&
                (!now.object || (watch.seen.object && now.object->revision == watch.seen.object->revision));
    watch.seen = std::move(now);
    if (!same) on_change_();
  };
  client::ReflectorHandlers handlers;
  handlers.synced = [set](std::vector<api::ObjectPtr> all, std::uint64_t) {
    set(all.empty() ? SourceLookup{State::missing, nullptr} : SourceLookup{State::found, all.front()});
  };
  handlers.changed = [set](client::Change change, api::ObjectPtr object) {
    set(change == client::Change::deleted ? SourceLookup{State::missing, nullptr}
                                          : SourceLookup{State::found, std::move(object)});
  };
  watch.reflector = std::make_unique<client::Reflector>(*client_, std::move(options), std::move(handlers));
  watch.tasks.spawn("watch " + key.to_string(), watch.reflector->run());
}

awaitable<void> PodSources::bury() {
  for (;;) {
    co_await leave_.wait();
    while (!leaving_.empty()) {
      co_await leaving_.front()->tasks.stop();
      leaving_.pop_front();
    }
    // There is room again for those that had none.
    for (const auto& key : wanted_)
      if (!watches_.contains(key)) begin(key);
  }
}

SourceLookup PodSources::lookup(const api::Key& key) const {
  auto it = watches_.find(key);
  return it == watches_.end() ? SourceLookup() : it->second->seen;
}

}  // namespace trama::agent
