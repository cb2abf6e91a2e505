// SPDX-License-Identifier: GPL-2.0-or-later
// A file that only takes room: given up when the disk is full, so that what shrinks the store can still be written.
#pragma once

#include <cstdint>
#include <string>

namespace trama::store {

class Ballast {
 public:
  Ballast(std::string path, std::int64_t bytes) : path_(std::move(path)), bytes_(bytes) {}
  // True when the room is set aside, now or already. `spare` bytes must stay free beside it.
  bool take(std::int64_t spare);
  void release();
  std::int64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  std::int64_t bytes_;
};

}  // namespace trama::store
