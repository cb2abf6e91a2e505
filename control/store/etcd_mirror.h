// SPDX-License-Identifier: GPL-2.0-or-later
// The cache of what is in etcd: loads it, follows it by one watch, loads it again when the watch can not go on.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/async/signal.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "control/etcd/gateway.h"
#include "control/store/cache.h"
#include "control/store/etcd_attempt.h"
#include "control/store/etcd_store.h"

namespace trama::store {

class EtcdMirror {
 public:
  EtcdMirror(async::asio::any_io_executor ex, etcd::Gateway& gateway, const EtcdOptions& options, StoreOptions store,
             std::string session);

  // Everything, as of now or a little earlier; what was written since comes by the watch.
  awaitable<base::Result<>> load();
  void start(async::TaskGroup& group);

  Cache& cache() { return cache_; }
  const Cache& cache() const { return cache_; }
  const EtcdPosition& position() const { return at_; }
  const EtcdLayout& layout() const { return layout_; }
  // Waits until the cache holds `mod_revision`. What takes long makes the watch suspicious: it is begun anew elsewhere.
  awaitable<bool> caught_up(std::uint64_t mod_revision, std::chrono::milliseconds limit);
  // The store's newest revision, asked from a majority of etcd's members; callers that come together share a question.
  awaitable<base::Result<std::uint64_t>> newest(std::chrono::milliseconds limit);
  async::Signal& moved() { return moved_; }

  // Transactions of this controller whose fate is not known yet, and the mod_revision of those that were seen.
  void expect(std::uint64_t marker) { expected_.insert(marker); }
  void forget(std::uint64_t marker) { expected_.erase(marker), seen_.erase(marker); }
  std::uint64_t seen(std::uint64_t marker) const;
  // How often everything was loaded anew: then markers may have been missed.
  std::uint64_t loads() const { return loads_; }
  std::uint64_t watches() const { return watches_; }
  // The first thing under the prefix that was no object; "" = none. It is not shown.
  const std::string& not_understood() const { return not_understood_; }

 private:
  awaitable<std::uint64_t> oldest(std::uint64_t wanted);
  awaitable<base::Result<>> load_at(std::uint64_t revision, bool anew);
  awaitable<base::Result<EtcdMeta>> read_meta();
  awaitable<void> follow();
  awaitable<bool> follow_one();  // false: it ended at once
  awaitable<base::Result<>> take(etcd::WatchAnswer answer);
  void take_commit(std::vector<etcd::WatchEvent> events, std::uint64_t mod_revision);
  void bookkeep(const etcd::WatchEvent& e);
  awaitable<void> ask();
  awaitable<void> pulse();
  void suspect();

  etcd::Gateway& gateway_;
  EtcdOptions options_;
  EtcdLayout layout_;
  std::string session_;
  Cache cache_;
  EtcdPosition at_;
  async::Signal moved_, asked_signal_, answered_signal_;
  std::set<std::uint64_t> expected_;
  std::map<std::uint64_t, std::uint64_t> seen_;
  etcd::LineStream* stream_ = nullptr;    // while there is a watch
  std::chrono::milliseconds suspicious_;  // silence that a watch is begun anew for
  std::uint64_t asked_ = 0, answered_ = 0, newest_ = 0, loads_ = 0, watches_ = 0;
  std::string not_understood_;
  std::shared_ptr<spdlog::logger> log_;
  base::Streak streak_;
};

}  // namespace trama::store
