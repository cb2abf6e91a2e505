// SPDX-License-Identifier: GPL-2.0-or-later
// Copies of a store: made while a controller runs or not, put in its place only while none does.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace trama::store {

// How far above everything that is known a restored store's revisions begin. What was given out after the backup was
// made is not known; a revision that meant two things would make watchers miss changes silently. A controller that
// writes 1,000 times a second needs eleven days for as many.
inline constexpr std::uint64_t kRestoreBump = 1'000'000'000;

struct BackupReport {
  std::size_t objects = 0;
  std::uint64_t revision = 0;         // nothing above it had been given out
  std::vector<std::string> left_out;  // what was damaged; only with `salvage`
};
// One consistent state of the store at `path`, verified row by row, in a new file (mode 0600: it holds Secrets), which
// is durable on return. A damaged store is refused; with `salvage` its whole objects are taken and the rest is named.
// file_exists when there is a file already, no_such_file_or_directory when there is no store.
base::Result<BackupReport> backup_store(const std::string& path, const std::string& file, bool salvage);

struct RestoreReport {
  std::size_t objects = 0;
  std::uint64_t revision = 0;  // where revisions go on
  std::string replaced;        // where the store went that was there before; "" = there was none
};
// Puts the backup in the place of the store at `path`. Watchers that come back list again. device_or_resource_busy
// while a controller uses the store; the backup is verified before anything is changed.
base::Result<RestoreReport> restore_store(const std::string& file, const std::string& path);

}  // namespace trama::store
