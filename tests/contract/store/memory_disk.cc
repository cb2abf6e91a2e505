// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/contract/store/memory_disk.h"

#include <algorithm>
#include <cstring>

namespace trama::test {
namespace {

constexpr std::size_t kSector = 512;

std::string base_name(const char* path) {
  std::string_view text(path);
  return std::string(text.substr(text.rfind('/') + 1));
}

void write_at(std::string& content, std::size_t at, std::string_view bytes) {
  if (content.size() < at + bytes.size()) content.resize(at + bytes.size());
  std::memcpy(content.data() + at, bytes.data(), bytes.size());
}

}  // namespace

struct MemoryDisk::Handle {
  sqlite3_file base;
  MemoryDisk* disk;
  File* file;
};

struct MemoryDisk::Methods {
  static Handle& of(sqlite3_file* f) { return *reinterpret_cast<Handle*>(f); }
  static MemoryDisk& disk(sqlite3_vfs* v) { return *static_cast<MemoryDisk*>(v->pAppData); }

  static int open(sqlite3_vfs* v, const char* path, sqlite3_file* f, int flags, int* out) {
    static const sqlite3_io_methods io = {2,        close,       read,       write,   truncate, sync,   size,
                                          lock,     lock,        check_lock, control, sector,   traits, shm_map,
                                          shm_lock, shm_barrier, shm_unmap,  nullptr, nullptr};
    auto& d = disk(v);
    auto name = path ? base_name(path) : "temporary-" + std::to_string(d.deleted_.size());
    auto it = d.files_.find(name);
    f->pMethods = nullptr;
    if (it == d.files_.end()) {
      if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
      it = d.files_.emplace(name, std::make_shared<File>()).first;
    }
    of(f).disk = &d, of(f).file = it->second.get();
    if (!path) {
      d.deleted_.push_back(it->second);
      d.files_.erase(it);
    }
    f->pMethods = &io;
    if (out) *out = flags;
    return SQLITE_OK;
  }
  static int remove(sqlite3_vfs* v, const char* path, int) {
    auto& d = disk(v);
    auto it = d.files_.find(base_name(path));
    if (it == d.files_.end()) return SQLITE_IOERR_DELETE_NOENT;
    d.deleted_.push_back(it->second);
    d.files_.erase(it);
    return SQLITE_OK;
  }
  static int access(sqlite3_vfs* v, const char* path, int, int* out) {
    *out = disk(v).files_.contains(base_name(path));
    return SQLITE_OK;
  }
  static int full_path(sqlite3_vfs*, const char* path, int n, char* out) {
    sqlite3_snprintf(n, out, "%s", path);
    return SQLITE_OK;
  }

  static int close(sqlite3_file*) { return SQLITE_OK; }
  static int read(sqlite3_file* f, void* into, int n, sqlite3_int64 at) {
    const auto& content = of(f).file->content;
    auto wanted = static_cast<std::size_t>(n), from = static_cast<std::size_t>(at);
    auto have = from < content.size() ? std::min(wanted, content.size() - from) : 0;
    if (have) std::memcpy(into, content.data() + from, have);
    if (have == wanted) return SQLITE_OK;
    std::memset(static_cast<char*>(into) + have, 0, wanted - have);
    return SQLITE_IOERR_SHORT_READ;
  }
  static int write(sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
    auto& [base, disk, file] = of(f);
    if (!disk->change()) return SQLITE_IOERR_WRITE;
    auto end = static_cast<std::size_t>(at + n);
    if (disk->capacity >= 0 && end > file->content.size()) {
      auto used = end - file->content.size();
      for (const auto& [name, other] : disk->files_) used += other->content.size();
      if (used > static_cast<std::size_t>(disk->capacity)) return SQLITE_FULL;
    }
    std::string bytes(static_cast<const char*>(from), static_cast<std::size_t>(n));
    write_at(file->content, static_cast<std::size_t>(at), bytes);
    file->unsynced.push_back(Change{false, static_cast<std::size_t>(at), std::move(bytes)});
    return SQLITE_OK;
  }
  static int truncate(sqlite3_file* f, sqlite3_int64 to) {
    auto& [base, disk, file] = of(f);
    if (!disk->change()) return SQLITE_IOERR_TRUNCATE;
    file->content.resize(static_cast<std::size_t>(to));
    file->unsynced.push_back(Change{true, static_cast<std::size_t>(to), ""});
    return SQLITE_OK;
  }
  static int sync(sqlite3_file* f, int) {
    auto& [base, disk, file] = of(f);
    if (!disk->change()) return SQLITE_IOERR_FSYNC;
    ++disk->syncs;
    if (disk->lies) return SQLITE_OK;
    file->durable = file->content;
    file->unsynced.clear();
    return SQLITE_OK;
  }
  static int size(sqlite3_file* f, sqlite3_int64* out) {
    *out = static_cast<sqlite3_int64>(of(f).file->content.size());
    return SQLITE_OK;
  }
  static int lock(sqlite3_file*, int) { return SQLITE_OK; }
  static int check_lock(sqlite3_file*, int* out) {
    *out = 0;
    return SQLITE_OK;
  }
  static int control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
  static int sector(sqlite3_file*) { return kSector; }
  static int traits(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }
  static int shm_map(sqlite3_file* f, int region, int size, int extend, void volatile** out) {
    auto& shared = of(f).file->shared;
    auto wanted = static_cast<std::size_t>(region) + 1;
    while (extend && shared.size() < wanted) shared.push_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));
    *out = shared.size() < wanted ? nullptr : shared[wanted - 1].get();
    return SQLITE_OK;
  }
  static int shm_lock(sqlite3_file*, int, int, int) { return SQLITE_OK; }
  static void shm_barrier(sqlite3_file*) {}
  static int shm_unmap(sqlite3_file* f, int) {
    of(f).file->shared.clear();
    return SQLITE_OK;
  }
};

MemoryDisk::MemoryDisk(Image image) {
  for (auto& [name, content] : image) {
    auto file = std::make_shared<File>();
    file->durable = content;
    file->content = std::move(content);
    files_.emplace(name, std::move(file));
  }
  static int number = 0;
  name_ = "memory-disk-" + std::to_string(++number);
  before_ = sqlite3_vfs_find(nullptr);
  vfs_ = *sqlite3_vfs_find("unix");
  vfs_.pNext = nullptr;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.szOsFile = sizeof(Handle);
  vfs_.xOpen = Methods::open;
  vfs_.xDelete = Methods::remove;
  vfs_.xAccess = Methods::access;
  vfs_.xFullPathname = Methods::full_path;
  sqlite3_vfs_register(&vfs_, 1);
}

MemoryDisk::~MemoryDisk() {
  sqlite3_vfs_unregister(&vfs_);
  sqlite3_vfs_register(before_, 1);
}

bool MemoryDisk::change() {
  if (before_change) before_change();
  ++changes;
  if (fails_in < 0) return true;
  return --fails_in >= 0;
}

MemoryDisk::Image MemoryDisk::seen() const {
  Image out;
  for (const auto& [name, file] : files_) out[name] = file->content;
  return out;
}

MemoryDisk::Image MemoryDisk::after_power_cut(std::mt19937& random) const {
  Image out;
  for (const auto& [name, file] : files_) {
    auto content = file->durable;
    // Some cuts come in the middle of things, some disks write most of what they were given, some the newest first.
    auto considered = random() % 3 ? file->unsynced.size() : random() % (file->unsynced.size() + 1);
    auto percent = std::vector<unsigned>{0, 10, 50, 90, 100}[random() % 5];
    for (std::size_t i = 0; i < considered; ++i) {
      const auto& c = file->unsynced[i];
      if (c.truncation) {
        if (random() % 100 < percent) content.resize(c.at);
        continue;
      }
      for (std::size_t done = 0; done < c.bytes.size();) {
        auto until = std::min(c.bytes.size(), ((c.at + done) / kSector + 1) * kSector - c.at);
        if (random() % 100 < percent)
          write_at(content, c.at + done, std::string_view(c.bytes).substr(done, until - done));
        done = until;
      }
    }
    out[name] = std::move(content);
  }
  return out;
}

}  // namespace trama::test
