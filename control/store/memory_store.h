// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <memory>

#include "control/store/log.h"
#include "control/store/store.h"

namespace trama::store {

struct StoreOptions {
  std::size_t history = 8192;                    // events kept per resource for watches that resume
  std::size_t watch_backlog = 8192;              // events a watcher may be behind before it is cut off
  std::chrono::milliseconds write_behind{3000};  // age at which leases and events reach the log on their own
};

// Loads the log and serves from memory; the log is written on a thread of the store's own.
base::Result<std::unique_ptr<Store>> open_store(std::unique_ptr<Log> log, async::asio::any_io_executor ex,
                                                StoreOptions options = {});
base::Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path, async::asio::any_io_executor ex,
                                                       StoreOptions options = {});

// Node leases and Events: heartbeats and hints, whose last seconds may be lost in a crash.
bool is_write_behind(const api::Key& key);

}  // namespace trama::store
