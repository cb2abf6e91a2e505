// SPDX-License-Identifier: GPL-2.0-or-later
// A disk in memory below SQLite, which knows what was synced. It says what a power cut would have left, and fails when
// it is told to.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <sqlite3.h>

namespace trama::test {

// SQLite's default file system as long as it lives; then the one before is it again. Directories do not matter.
class MemoryDisk {
 public:
  using Image = std::map<std::string, std::string>;  // file name -> content

  explicit MemoryDisk(Image image = {});
  ~MemoryDisk();
  MemoryDisk(const MemoryDisk&) = delete;
  MemoryDisk& operator=(const MemoryDisk&) = delete;

  // What a process sees that comes after a kill -9.
  Image seen() const;
  // What is there after a power cut: all that was synced; of the writes since then any 512-byte sectors, each or none.
  Image after_power_cut(std::mt19937& random) const;

  std::function<void()> before_change;  // called before each write, truncation and sync
  bool lies = false;                    // syncs do nothing, and say that they did
  std::int64_t capacity = -1;           // bytes of all files together; SQLITE_FULL beyond; -1 = no end
  std::int64_t fails_in = -1;           // that many changes from now one fails with an I/O error
  std::int64_t changes = 0, syncs = 0;  // so far

 private:
  struct Change {
    bool truncation;
    std::size_t at;
    std::string bytes;
  };
  struct File {
    std::string content, durable;
    std::vector<Change> unsynced;
    std::vector<std::unique_ptr<char[]>> shared;  // the index of the write-ahead log
  };
  struct Handle;
  struct Methods;
  bool change();

  std::map<std::string, std::shared_ptr<File>> files_;
  std::vector<std::shared_ptr<File>> deleted_;  // but perhaps still open
  std::string name_;
  sqlite3_vfs vfs_{};
  sqlite3_vfs* before_ = nullptr;
};

}  // namespace trama::test
