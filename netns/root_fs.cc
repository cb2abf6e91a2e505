// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/root_fs.h"

#include <algorithm>
#include <set>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/unique_fd.h"
#include "netns/volume_files.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

namespace {
// Parts of the host's root that may be mounts of their own and belong to the operating system. All other mounts (disks,
// network file systems, other programs' run time state) stay out of pods.
const std::vector<std::string> kSystemMounts{"/usr",  "/usr/local", "/etc",       "/opt",     "/srv",
                                             "/var",  "/var/lib",   "/var/cache", "/var/www", "/bin",
                                             "/sbin", "/lib",       "/lib64",     "/nix",     "/nix/store"};

struct Piece {
  UniqueFd tree;
  std::string place;
  bool directory = true;
};

// A detached copy of the mount at `path`, without what is mounted below it.
Result<UniqueFd> clone_mount(const std::string& path) {
  UniqueFd fd(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "bind " + path);
  return fd;
}

Result<> attach(const UniqueFd& tree, const std::string& place) {
  if (::move_mount(tree.get(), "", AT_FDCWD, place.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return Error::from_errno(errno, "attach mount at " + place);
  return {};
}

Result<> touch(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return Error::from_errno(errno, "create " + path);
  return {};
}

// "/" becomes the directory the caller stands in.
Result<> switch_root() {
  if (::syscall(SYS_pivot_root, ".", ".") == 0) {
    if (::umount2(".", MNT_DETACH) < 0) return Error::from_errno(errno, "leave the old root");
  } else if (errno == EINVAL) {  // the present root is the initramfs, which cannot be pivoted away
    if (::mount(".", "/", nullptr, MS_MOVE, nullptr) < 0 || ::chroot(".") < 0)
      return Error::from_errno(errno, "move the root");
  } else {
    return Error::from_errno(errno, "pivot_root");
  }
  if (::chdir("/") < 0) return Error::from_errno(errno, "chdir /");
  return {};
}

// In memory that is never written to a disk, where the kernel can promise that.
Result<> mount_memory(const std::string& place, const std::string& options) {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV;
  if (::mount("trama", place.c_str(), "tmpfs", kFlags, (options + ",noswap").c_str()) == 0) return {};
  if (errno != EINVAL || ::mount("trama", place.c_str(), "tmpfs", kFlags, options.c_str()) < 0)
    return Error::from_errno(errno, "mount " + place);
  return {};
}

Result<> make_volumes(const std::map<std::string, VolumeShape>& volumes, const std::string& place) {
  if (volumes.empty()) return {};
  if (::mkdir(place.c_str(), 0755) < 0) return Error::from_errno(errno, "mkdir " + place);
  if (auto r = mount_memory(place, "mode=0755,size=50%"); !r) return r;
  if (auto r = base::make_directories(fmt::format("{}/{}", place, kDigests), 0700); !r) return r;
  for (const auto& [name, shape] : volumes) {
    auto directory = fmt::format("{}/{}", place, name);
    if (::mkdir(directory.c_str(), 0755) < 0 || ::chmod(directory.c_str(), 0755) < 0)
      return Error::from_errno(errno, "mkdir " + directory);
    if (!shape.scratch) continue;
    auto size = shape.size_bytes ? fmt::format("{}", shape.size_bytes) : std::string("50%");
    if (::mount("trama", directory.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, ("mode=0777,size=" + size).c_str()) < 0)
      return Error::from_errno(errno, "mount " + directory);
  }
  return {};
}
}  // namespace

std::vector<std::string> system_mounts_below(const std::string& root) {
  std::vector<std::string> out;
  for (const std::string& path : kSystemMounts) {
    struct statx s {};
    if (::statx(AT_FDCWD, (root + path).c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &s) == 0 &&
        (s.stx_attributes & STATX_ATTR_MOUNT_ROOT))
      out.push_back(path);
  }
  return out;
}

std::vector<std::string> mounts_among(std::string_view mountinfo, const std::vector<std::string>& candidates) {
  std::set<std::string_view> points;
  while (!mountinfo.empty()) {
    std::string_view line = mountinfo.substr(0, mountinfo.find('\n'));
    mountinfo.remove_prefix(std::min(line.size() + 1, mountinfo.size()));
    for (int skip = 0; skip < 4 && line.find(' ') != std::string_view::npos; ++skip)
      line.remove_prefix(line.find(' ') + 1);
    points.insert(line.substr(0, line.find(' ')));
  }
  std::vector<std::string> out;
  for (const std::string& c : candidates)
    if (points.contains(c)) out.push_back(c);
  return out;
}

Result<> enter_base(const PodLaunch& launch) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
    return Error::from_errno(errno, errno == EINVAL
                                        ? "make mounts private (in a chroot? pods need a root that is a mount)"
                                        : "make mounts private");
  std::vector<Piece> pieces;
  auto add = [&](const std::string& path, std::string place, bool directory) -> Result<> {
    auto tree = clone_mount(path);
    if (!tree) return std::move(tree).error();
    pieces.push_back({std::move(*tree), std::move(place), directory});
    return {};
  };
  if (auto r = add(launch.directory, kBasePod, true); !r) return r;
  bool host = std::any_of(launch.spec.containers.begin(), launch.spec.containers.end(),
                          [](const ContainerSpec& c) { return c.image == "host"; });
  if (host) {
    if (auto r = add("/", "/host", true); !r) return r;
    auto mountinfo = base::read_file("/proc/self/mountinfo", 64 << 20);
    if (!mountinfo) return std::move(mountinfo).error();
    for (const std::string& m : mounts_among(*mountinfo, kSystemMounts))
      if (auto r = add(m, "/host" + m, true); !r) return r;
    if (!launch.executable.empty())
      (void)add(launch.executable, "/files/trama", false);  // replaced by an upgrade: fine
  }
  for (std::size_t i = 0; i < launch.spec.containers.size(); ++i) {
    const std::string& image = launch.spec.containers[i].image;
    if (image == "host") continue;
    // A missing directory is this container's own failure, reported when it starts.
    (void)add(image.substr(image.find('/')), fmt::format("/images/{}", i), true);
  }
  if (!launch.spec.hosts_path.empty())
    if (auto r = add(launch.spec.hosts_path, "/files/hosts", false); !r) return r;
  if (!launch.spec.resolv_conf_path.empty())
    if (auto r = add(launch.spec.resolv_conf_path, "/files/resolv.conf", false); !r) return r;

  const char* base = launch.directory.c_str();  // any directory will do: it is covered in this namespace only
  if (::mount("trama", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k,nr_inodes=512") < 0 ||
      ::chdir(base) < 0)
    return Error::from_errno(errno, "mount the pod's base");
  for (const char* directory : {"host", "images", "files", "root"})
    if (::mkdir(directory, 0755) < 0) return Error::from_errno(errno, fmt::format("mkdir {}", directory));
  for (const Piece& p : pieces) {
    std::string place = "." + p.place;
    if (!p.place.starts_with("/host/"))
      if (auto r = p.directory ? base::make_directories(place) : touch(place); !r) return r;
    if (auto r = attach(p.tree, place); !r) return r;
  }
  if (auto r = make_volumes(launch.spec.volumes, fmt::format(".{}", kBaseVolumes)); !r) return r;
  return switch_root();
}

}  // namespace trama::netns
