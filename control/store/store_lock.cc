// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/store_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace trama::store {

using base::Error;

base::Result<StoreLock> StoreLock::take(const std::string& store_path) {
  auto path = store_path + ".lock";
  StoreLock lock;
  lock.fd_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.fd_) return Error::from_errno(errno, "open " + path);
  if (::flock(lock.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Error::from_errno(errno, "lock " + path);
    return Error::text(store_path + ": another controller uses it", std::errc::device_or_resource_busy);
  }
  struct stat file {};
  lock.used_ = ::fstat(lock.fd_.get(), &file) == 0 && file.st_size > 0;
  return lock;
}

void StoreLock::mark_used() {
  static constexpr std::string_view kText = "there has been a store here\n";
  if (used_ || ::pwrite(fd_.get(), kText.data(), kText.size(), 0) < 0) return;  // on a full disk: another time
  (void)::fsync(fd_.get());
  used_ = true;
}

}  // namespace trama::store
