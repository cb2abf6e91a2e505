// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "control/loops/loop.h"

namespace trama::control {

// Keeps in every namespace what its pods speak to the API server with: the ServiceAccount `default`, and the ConfigMap
// kube-root-ca.crt, a copy of the cluster's (kCaConfigMap). What somebody deletes or changes comes back.
class NamespaceDefaultsLoop {
 public:
  NamespaceDefaultsLoop(async::asio::any_io_executor ex, store::Store& store);
  Loop& loop() { return loop_; }

 private:
  void map_seen(const store::Event& e);
  awaitable<base::Result<>> handle(std::string name);

  store::Store& store_;
  Loop loop_;
};

}  // namespace trama::control
