// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/unique_fd.h"

namespace trama::store {

bool Ballast::take(std::int64_t spare) {
  if (bytes_ == 0) return true;
  struct stat have {};
  if (::stat(path_.c_str(), &have) == 0 && have.st_size == bytes_ && have.st_blocks * 512 >= bytes_) return true;
  auto slash = path_.rfind('/');
  struct statvfs disk {};
  if (::statvfs(slash == std::string::npos ? "." : path_.substr(0, slash + 1).c_str(), &disk) != 0) return false;
  if (disk.f_bavail * disk.f_frsize < static_cast<std::uint64_t>(bytes_ + spare)) return false;
  base::UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return false;
  if (::posix_fallocate(fd.get(), 0, bytes_) == 0) return true;
  ::unlink(path_.c_str());
  return false;
}

void Ballast::release() { ::unlink(path_.c_str()); }

}  // namespace trama::store
