// SPDX-License-Identifier: GPL-2.0-or-later
// A store in etcd, which several controllers share.
//
// Memory is a cache of all there is under one prefix, kept by one watch. A decision runs against the cache and is
// committed as one transaction of etcd, which compares the mod_revision of everything the decision looked at; when
// somebody else has written there, the cache catches up and the decision runs again. So transactions are serializable
// over all controllers, whatever their caches show. An answer waits until the own cache shows the write.
//
// When a transaction's answer is lost, the controller writes its own session key, which every transaction of it
// compares: after that the lost one can not happen any more, and when the cache has caught up it is known whether it
// had.
#pragma once

#include <memory>
#include <string>

#include "control/etcd/gateway.h"
#include "control/store/etcd_layout.h"
#include "control/store/options.h"
#include "control/store/store.h"

namespace trama::store {

struct EtcdOptions {
  etcd::GatewayOptions gateway;
  std::string prefix = "/trama";
  std::chrono::milliseconds patience{10'000};        // of a write or a read of the newest state, before 503 or 504
  std::chrono::milliseconds pulse{1'000};            // how often it is asked whether the watch keeps up
  std::chrono::milliseconds compact_every{300'000};  // history that etcd keeps: between one and two of these
  std::uint64_t replay = 2048;                       // commits read again at the start, for watches that resume
};

// Loads everything. Fails when no member answers, when an import is unfinished, and when something under the prefix can
// not be understood.
async::awaitable<base::Result<std::unique_ptr<Store>>> open_etcd_store(EtcdOptions options, StoreOptions store);

}  // namespace trama::store
