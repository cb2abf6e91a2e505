// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <memory>

#include "control/store/log.h"
#include "control/store/options.h"
#include "control/store/store.h"

namespace trama::store {

// Loads the log and serves from memory; the log is written on a thread of the store's own.
base::Result<std::unique_ptr<Store>> open_store(std::unique_ptr<Log> log, async::asio::any_io_executor ex,
                                                StoreOptions options = {});
base::Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path, async::asio::any_io_executor ex,
                                                       StoreOptions options = {}, SqliteOptions sqlite = {});

}  // namespace trama::store
