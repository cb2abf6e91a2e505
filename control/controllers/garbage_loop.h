// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/loops/loop.h"

namespace trama::control {

// Deletes what nobody owns any more: dependents whose owners are all gone (background), dependents of owners that wait
// for them (foreground), pods whose node was deleted. Lets dependents go when the owner is deleted with "orphan".
class GarbageLoop {
 public:
  // `node_gone` is how long a pod waits for its node to be registered again.
  GarbageLoop(async::asio::any_io_executor ex, store::Store& store, milliseconds node_gone);
  Loop& loop() { return loop_; }

 private:
  void seen(const store::Event& e);
  void index(const api::Object& o);
  void forget(const api::Key& key);
  awaitable<base::Result<>> handle(std::string key);
  awaitable<base::Result<>> settle_owner(std::string uid);
  awaitable<base::Result<>> settle_node(std::string name);

  store::Store& store_;
  milliseconds node_gone_;
  std::map<std::string, std::set<api::Key>> dependents_;  // by the owner's uid
  std::map<api::Key, std::vector<std::string>> owners_;
  std::map<std::string, api::Key> leaving_;  // owners with foreground or orphan finalizers, by uid
  Loop loop_;
};

// Empties namespaces that are being deleted, then deletes them.
class NamespaceLoop {
 public:
  NamespaceLoop(async::asio::any_io_executor ex, store::Store& store);
  Loop& loop() { return loop_; }

 private:
  awaitable<base::Result<>> handle(std::string name);
  store::Store& store_;
  Loop loop_;
};

}  // namespace trama::control
