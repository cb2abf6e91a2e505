// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/namespace.h"

#include <cstdlib>

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/log.h"

namespace trama::netns {

using base::Error;
using base::Result;
using base::UniqueFd;

namespace {
constexpr const char* kOwnNamespace = "/proc/thread-self/ns/net";

UniqueFd open_read_only(const std::string& path) { return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); }
}  // namespace

Result<NamespaceId> namespace_id(int fd) {
  struct statfs fs {};
  struct stat st {};
  if (::fstatfs(fd, &fs) < 0 || ::fstat(fd, &st) < 0) return Error::from_errno(errno, "examine a namespace");
  if (fs.f_type != NSFS_MAGIC || ::ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
    return Error::from_errno(EINVAL, "not a network namespace");
  return NamespaceId{st.st_ino};
}

Result<std::pair<UniqueFd, NamespaceId>> open_namespace(const std::string& path) {
  auto fd = open_read_only(path);
  if (!fd) return Error::from_errno(errno, "open " + path);
  auto id = namespace_id(fd.get());
  if (!id) return std::move(id).error().in(path);
  return std::pair{std::move(fd), *id};
}

Result<Home> Home::open() {
  Home home;
  home.fd_ = open_read_only(kOwnNamespace);
  if (!home.fd_) return Error::from_errno(errno, fmt::format("open {}", kOwnNamespace));
  auto id = namespace_id(home.fd_.get());
  if (!id) return std::move(id).error();
  home.id_ = *id;
  return home;
}

void Home::go_back() const {
  if (::setns(fd_.get(), CLONE_NEWNET) == 0) {
    auto here = open_read_only(kOwnNamespace);
    auto id = here ? namespace_id(here.get()) : Result<NamespaceId>(Error::from_errno(errno, kOwnNamespace));
    if (id && *id == id_) return;
  }
  base::logger("netns")->critical("cannot return to the node's own network namespace; giving up before harm is done");
  std::abort();
}

Result<NewNamespace> Home::make(const std::vector<std::pair<std::string, std::string>>& switches) const {
  if (::unshare(CLONE_NEWNET) < 0) return Error::from_errno(errno, "make a network namespace");
  auto work = [&]() -> Result<NewNamespace> {
    auto fd = open_read_only(kOwnNamespace);
    if (!fd) return Error::from_errno(errno, fmt::format("open {}", kOwnNamespace));
    auto id = namespace_id(fd.get());
    if (!id) return std::move(id).error();
    for (const auto& [path, value] : switches) {
      auto r = base::write_knob("/proc/sys/" + path, value);
      if (!r && !r.error().is(std::errc::no_such_file_or_directory)) return std::move(r).error();
    }
    auto client = netlink::Client::open(NETLINK_ROUTE);
    if (!client) return std::move(client).error();
    return NewNamespace{std::move(fd), *id, std::move(*client)};
  };
  auto made = work();
  go_back();
  return made;
}

Result<> Home::inside(int fd, const std::function<Result<>()>& job) const {
  if (::setns(fd, CLONE_NEWNET) < 0) return Error::from_errno(errno, "enter a network namespace");
  auto r = job();
  go_back();
  return r;
}

Result<netlink::Client> Home::client_inside(int fd) const {
  Result<netlink::Client> client;
  auto r = inside(fd, [&]() -> Result<> {
    client = netlink::Client::open(NETLINK_ROUTE);
    return {};
  });
  if (!r) return std::move(r).error();
  return client;
}

Result<> prepare_pin_directory(const std::string& directory) {
  if (auto r = base::make_directories(directory); !r) return r;
  UniqueFd lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return Error::from_errno(errno, "open " + directory);
  if (::flock(lock.get(), LOCK_EX) < 0) return Error::from_errno(errno, "lock " + directory);
  auto share = [&] { return ::mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) == 0; };
  if (share()) return {};
  // EINVAL: not a mount point yet.
  if (errno != EINVAL) return Error::from_errno(errno, "share the mount " + directory);
  if (::mount(directory.c_str(), directory.c_str(), "none", MS_BIND | MS_REC, nullptr) < 0)
    return Error::from_errno(errno, fmt::format("make {} a mount point", directory));
  if (!share()) return Error::from_errno(errno, "share the mount " + directory);
  return {};
}

Result<> pin(int fd, NamespaceId id, const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file && errno != EEXIST) return Error::from_errno(errno, "create " + path);
  if (!file) {
    auto there = open_namespace(path);
    if (there && there->second == id) return {};
    if (there || !there.error().is(std::errc::invalid_argument))
      return Error::text(
          fmt::format("{} is a namespace that is not ours; remove it (ip netns del) or rename the pod", path),
          std::errc::file_exists);
  }
  if (::mount(fmt::format("/proc/self/fd/{}", fd).c_str(), path.c_str(), "none", MS_BIND, nullptr) < 0) {
    Error failed = Error::from_errno(errno, fmt::format("mount the namespace at {}", path));
    (void)::unlink(path.c_str());
    return failed;
  }
  return {};
}

Result<> unpin(NamespaceId id, const std::string& path) {
  for (;;) {
    auto there = open_namespace(path);
    if (!there) {
      if (there.error().is(std::errc::no_such_file_or_directory)) return {};
      if (!there.error().is(std::errc::invalid_argument)) return std::move(there).error();
      break;  // a plain file: what is left of a pin
    }
    if (there->second != id) return {};
    if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0) return Error::from_errno(errno, "unmount " + path);
  }
  struct stat st {};
  // Only the empty file that pin() makes; anything with content is somebody's.
  if (::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 && ::unlink(path.c_str()) < 0 &&
      errno != ENOENT)
    return Error::from_errno(errno, "remove " + path);
  return {};
}

}  // namespace trama::netns
