// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/store_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace trama::store {

using base::Error;
using base::Result;

namespace {

Result<> sync_file(const std::string& path, int flags) {
  base::UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "open " + path);
  if (::fsync(fd.get()) != 0) return Error::from_errno(errno, "fsync " + path);
  return {};
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

}  // namespace

bool exists(const std::string& path) {
  struct stat file {};
  return ::lstat(path.c_str(), &file) == 0;
}

Result<> sync_directory_of(const std::string& path) {
  auto slash = path.rfind('/');
  return sync_file(slash == std::string::npos ? "." : path.substr(0, slash + 1), O_RDONLY | O_DIRECTORY);
}

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

Result<> write_new_store(const std::string& file, const Contents& c, std::uint64_t revision) {
  auto temporary = file + ".new";
  ::unlink(temporary.c_str());
  if (auto written = write_store(temporary, c, revision); !written) return written;
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, file.c_str(), RENAME_NOREPLACE) != 0) {
    int why = errno;
    ::unlink(temporary.c_str());
    return Error::from_errno(why, "rename to " + file);
  }
  return sync_directory_of(file);
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

}  // namespace trama::store
