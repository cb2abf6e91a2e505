// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/file_watch.h"

#include <cerrno>

#include <sys/inotify.h>

namespace trama::netns {

base::Result<FileWatch> FileWatch::open() {
  base::UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) return base::Error::from_errno(errno, "watch the sandboxes' files");
  return FileWatch(std::move(fd));
}

void FileWatch::watch(const std::set<std::string>& directories) {
  for (auto it = watches_.begin(); it != watches_.end();) {
    if (directories.contains(it->first)) {
      ++it;
      continue;
    }
    (void)::inotify_rm_watch(fd_.get(), it->second);
    it = watches_.erase(it);
  }
  for (const auto& directory : directories) {
    // Adding again gives the same descriptor while the directory is the same, and a new one when it was remade.
    int w = ::inotify_add_watch(
        fd_.get(), directory.c_str(),
        IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR);
    if (w >= 0)
      watches_[directory] = w;
    else
      watches_.erase(directory);
  }
}

bool FileWatch::drain() {
  alignas(inotify_event) char buffer[4096];
  bool any = false;
  while (::read(fd_.get(), buffer, sizeof buffer) > 0) any = true;
  return any;
}

}  // namespace trama::netns
