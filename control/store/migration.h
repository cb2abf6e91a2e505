// SPDX-License-Identifier: GPL-2.0-or-later
// From one store into another, by a file that `backup` could have made: SQLite to etcd, etcd to SQLite, or etcd to
// etcd.
#pragma once

#include <string>

#include "base/async/event.h"
#include "control/store/backup.h"
#include "control/store/etcd_store.h"

namespace trama::store {

// What is under the prefix at one revision, in a new file, which is read again and compared. Controllers may run.
// file_exists when there is a file already, no_such_file_or_directory when there is nothing in etcd.
async::awaitable<base::Result<BackupReport>> export_etcd(EtcdOptions options, std::string file);

struct ImportReport {
  std::size_t objects = 0;
  std::uint64_t revision = 0;  // where revisions go on: above all that was known
};
// The file, verified row by row, into etcd; then read back and compared. device_or_resource_busy when there is anything
// under the prefix. While it runs, and after one that failed half-way, no controller starts there.
async::awaitable<base::Result<ImportReport>> import_etcd(std::string file, EtcdOptions options);
// The same into a SQLite store: device_or_resource_busy when a controller uses it or anything is in it.
base::Result<ImportReport> import_sqlite(const std::string& file, const std::string& path);

}  // namespace trama::store
