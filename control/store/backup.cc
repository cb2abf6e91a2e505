// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/backup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "control/store/contents.h"
#include "control/store/store_lock.h"

namespace trama::store {

using base::Error;
using base::Result;

namespace {

bool exists(const std::string& path) {
  struct stat file {};
  return ::lstat(path.c_str(), &file) == 0;
}

Result<> sync_file(const std::string& path, int flags) {
  base::UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "open " + path);
  if (::fsync(fd.get()) != 0) return Error::from_errno(errno, "fsync " + path);
  return {};
}

Result<> sync_directory_of(const std::string& path) {
  auto slash = path.rfind('/');
  return sync_file(slash == std::string::npos ? "." : path.substr(0, slash + 1), O_RDONLY | O_DIRECTORY);
}

Result<> fill(Database& db, const Contents& c, std::uint64_t revision) {
  auto begun = db.run(fmt::format("PRAGMA synchronous=FULL; BEGIN IMMEDIATE; {}; {}; {}; PRAGMA application_id={}",
                                  kMetaTable, kObjectTable, kEventTable, kApplicationId));
  if (!begun) return begun;
  auto put = db.prepare("INSERT INTO obj VALUES(?,?,?,?,?,?)");
  if (!put) return std::move(put).error();
  LogState state;
  for (const auto& [key, object] : c.objects) {
    auto crc = row_sum(key, object->revision, object->text());
    put->bind(1, key.resource), put->bind(2, key.ns), put->bind(3, key.name);
    put->bind(4, object->revision), put->bind(5, std::int64_t{crc}), put->bind_blob(6, object->text());
    if (put->step() != SQLITE_DONE) return db.failure("write " + key.to_string());
    put->reset();
    state.digest.add(object->revision, crc);
  }
  // Without history: it begins with the next write.
  state.reserved = state.floor = revision;
  auto meta = db.prepare("INSERT INTO meta VALUES(?,?)");
  if (!meta) return std::move(meta).error();
  for (const auto& [name, value] : std::map<std::string, std::string>{{"schema", "2"},
                                                                      {"clean", "1"},
                                                                      {"cluster_uid", c.cluster_uid},
                                                                      {"revision", std::to_string(revision)},
                                                                      {"state", state.to_text()}}) {
    auto stored = seal(name, value);
    meta->bind(1, name), meta->bind(2, stored);
    if (meta->step() != SQLITE_DONE) return db.failure("write the meta row " + name);
    meta->reset();
  }
  return db.run("COMMIT");
}

// A store of its own with these objects, durable, in one file. What is left of a failed one is removed.
Result<> write_store(const std::string& file, const Contents& c, std::uint64_t revision) {
  auto written = [&]() -> Result<> {
    auto db = Database::open(file, Database::Mode::write);
    if (!db) return std::move(db).error();
    return fill(*db, c, revision);
  }();
  if (written) written = sync_file(file, O_RDONLY);
  if (written) return written;
  ::unlink(file.c_str());
  ::unlink((file + "-journal").c_str());
  return written;
}

Result<Contents> read_store(const std::string& path) {
  if (!exists(path)) return Error::from_errno(ENOENT, "open " + path);
  auto db = Database::open(path, Database::Mode::read);
  if (!db) return with_advice(std::move(db).error(), path);
  if (auto begun = db->run("BEGIN"); !begun) return std::move(begun).error();  // one state, whoever writes meanwhile
  auto contents = read_contents(*db);
  if (!contents) return with_advice(std::move(contents).error(), path);
  if (contents->fresh) return Error::text(path + " is not a store of trama, or an empty one");
  return contents;
}

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
  auto temporary = file + ".new";
  ::unlink(temporary.c_str());
  if (auto written = write_store(temporary, *contents, report.revision); !written) return std::move(written).error();
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, file.c_str(), RENAME_NOREPLACE) != 0) {
    int why = errno;
    ::unlink(temporary.c_str());
    return Error::from_errno(why, "rename to " + file);
  }
  if (auto synced = sync_directory_of(file); !synced) return std::move(synced).error();
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
