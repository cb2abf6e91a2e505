// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::netns {

// Notices that files below some directories are made, changed or removed. inotify, without a reactor: fd() is readable
// when something happened.
class FileWatch {
 public:
  static base::Result<FileWatch> open();
  int fd() const { return fd_.get(); }
  // From now on these directories. One that does not exist is tried again by the next call.
  void watch(const std::set<std::string>& directories);
  // Takes what is pending; true when there was something. Never blocks.
  bool drain();

 private:
  explicit FileWatch(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
  std::map<std::string, int> watches_;
};

}  // namespace trama::netns
