// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>

namespace trama::store {

struct StoreOptions {
  std::size_t history = 8192;                 // events kept per resource for watches that resume
  std::size_t history_bytes = 64 << 20;       // and their size; the newest event stays whatever it weighs
  std::size_t watch_backlog = 8192;           // events a watcher may be behind before it is cut off
  std::size_t watch_backlog_bytes = 1 << 20;  // and their size
  // Of a store with a log:
  std::chrono::milliseconds write_behind{3000};   // age at which leases and events reach the log on their own
  std::chrono::milliseconds look_for_room{1000};  // how often a full disk is looked at again
};

}  // namespace trama::store
