// SPDX-License-Identifier: GPL-2.0-or-later
// The ConfigMaps and Secrets that this node's pods name, each watched by its name: a node may read no others. They are
// kept in memory only.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "agent/compute/sources.h"
#include "base/async/event.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "control/client/reflector.h"

namespace trama::agent {

using async::awaitable;

class PodSources {
 public:
  // `on_change`: a lookup gives another answer than before. Called on the brain.
  PodSources(async::asio::any_io_executor brain, std::function<void()> on_change);
  ~PodSources();

  // From here on they are watched. `client` outlives stop().
  void start(client::ApiClient& client);
  awaitable<void> stop();

  // Exactly these from now on. Each costs the server one watch; of more than `kMost` the rest is not watched.
  void want(const std::set<api::Key>& keys);
  SourceLookup lookup(const api::Key& key) const;
  std::size_t watched() const { return watches_.size(); }

  static constexpr std::size_t kMost = 400;

 private:
  struct Watch;
  void begin(const api::Key& key);
  awaitable<void> bury();

  async::asio::any_io_executor brain_;
  std::function<void()> on_change_;
  std::shared_ptr<spdlog::logger> log_;
  client::ApiClient* client_ = nullptr;
  std::set<api::Key> wanted_;
  std::map<api::Key, std::unique_ptr<Watch>> watches_;
  std::list<std::unique_ptr<Watch>> leaving_;
  async::Event leave_;
  async::TaskGroup tasks_;
  bool said_too_many_ = false;
};

}  // namespace trama::agent
