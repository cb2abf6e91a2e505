// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/backup.h"

#include <unistd.h>

#include "control/store/store_file.h"
#include "control/store/store_lock.h"

namespace trama::store {

using base::Error;
using base::Result;

namespace {

// Moves the present store aside, so that nothing of it can be taken for a part of the next one.
Result<std::string> move_aside(const std::string& path) {
  if (!exists(path)) return std::string();
  // A write-ahead log that is left from a crash belongs into its database; it goes along if that is not possible.
  if (auto db = Database::open(path, Database::Mode::write)) (void)db->run("PRAGMA wal_checkpoint(TRUNCATE)");
  std::string aside = path + ".replaced";
  for (int n = 2; exists(aside) || exists(aside + "-wal"); ++n) aside = fmt::format("{}.replaced.{}", path, n);
  if (exists(path + "-wal") && ::rename((path + "-wal").c_str(), (aside + "-wal").c_str()) != 0)
    return Error::from_errno(errno, "rename " + path + "-wal");
  ::unlink((path + "-shm").c_str());
  // The old store stays in its place until the new one takes it: there is no moment without one.
  if (::link(path.c_str(), aside.c_str()) != 0) return Error::from_errno(errno, "link " + aside);
  if (auto synced = sync_directory_of(path); !synced) return std::move(synced).error();
  return aside;
}

}  // namespace

Result<BackupReport> backup_store(const std::string& path, const std::string& file, bool salvage) {
  if (exists(file)) return Error::text(file + " exists already; a backup overwrites nothing", std::errc::file_exists);
  // Nobody has it open: then what a crash left is looked at as a controller would. Otherwise one has done so.
  std::string wal_damaged;
  auto lock = exists(path) ? StoreLock::take(path) : base::Result<StoreLock>();
  if (lock) {
    auto wal = check_wal(path);
    if (!wal) return std::move(wal).error();
    wal_damaged = *wal;
  }
  auto contents = read_store(path);
  if (!contents) return std::move(contents).error();
  if (!wal_damaged.empty()) contents->damage.push_back(wal_damaged + ": what was written behind it is lost");
  if (!contents->damage.empty() && !salvage) return damage_error(path, contents->damage);
  BackupReport report;
  report.objects = contents->objects.size();
  report.revision = contents->revision();
  report.left_out = contents->damage;
  if (auto written = write_new_store(file, *contents, report.revision); !written) return std::move(written).error();
  return report;
}

Result<RestoreReport> restore_store(const std::string& file, const std::string& path) {
  auto lock = StoreLock::take(path);
  if (!lock) return std::move(lock).error();
  auto contents = read_store(file);
  if (!contents) return std::move(contents).error();
  if (!contents->damage.empty()) return damage_error(file, contents->damage);
  auto known = contents->revision();
  if (auto present = read_store(path)) known = std::max(known, present->revision());
  RestoreReport report;
  report.objects = contents->objects.size();
  report.revision = known + kRestoreBump;
  auto temporary = path + ".restoring";
  ::unlink(temporary.c_str());
  if (auto written = write_store(temporary, *contents, report.revision); !written) return std::move(written).error();
  auto aside = move_aside(path);
  if (!aside) {
    ::unlink(temporary.c_str());
    return std::move(aside).error();
  }
  report.replaced = *aside;
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Error::from_errno(errno, "rename to " + path);
  if (auto synced = sync_directory_of(path); !synced) return std::move(synced).error();
  lock->mark_used();
  return report;
}

}  // namespace trama::store
