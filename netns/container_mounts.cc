// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/container_mounts.h"

#include <algorithm>
#include <set>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "netns/volume_files.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

namespace {

UniqueFd open_below(int directory, const std::string& path, std::uint64_t flags, std::uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how)));
}

// Part by part, never through a link: a container may have put anything into its volume meanwhile.
Result<UniqueFd> make_below(UniqueFd directory, const std::string& path) {
  for (std::size_t at = 0; at < path.size();) {
    auto end = std::min(path.find('/', at), path.size());
    auto part = path.substr(at, end - at);
    at = end + 1;
    if (::mkdirat(directory.get(), part.c_str(), 0777) < 0 && errno != EEXIST)
      return Error::from_errno(errno, "mkdir " + part);
    auto next = open_below(directory.get(), part, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
    if (!next) return Error::from_errno(errno, "open " + part);
    directory = std::move(next);
  }
  return directory;
}

Result<VolumeTree> gather(const PodSpec& spec, const VolumeMount& mount) {
  auto volume = spec.volumes.find(mount.volume);
  bool scratch = volume != spec.volumes.end() && volume->second.scratch;
  auto from = fmt::format("{}/{}", kBaseVolumes, mount.volume);
  UniqueFd place(::open(from.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place) return Error::from_errno(errno, "open volume " + mount.volume);
  if (!mount.sub_path.empty()) {
    auto found = open_below(place.get(), mount.sub_path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (!found && errno == ENOENT && scratch) {
      auto made = make_below(std::move(place), mount.sub_path);
      if (!made) return std::move(made).error();
      found = std::move(*made);
    }
    if (!found) return Error::from_errno(errno, fmt::format("subPath \"{}\"", mount.sub_path));
    place = std::move(found);
  }
  struct stat s {};
  if (::fstat(place.get(), &s) < 0) return Error::from_errno(errno, "stat");
  if (!S_ISDIR(s.st_mode) && !S_ISREG(s.st_mode))
    return Error::text(fmt::format("subPath \"{}\" is neither a file nor a directory", mount.sub_path));
  VolumeTree out{UniqueFd(::open_tree(place.get(), "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)),
                 mount.path, S_ISDIR(s.st_mode)};
  if (!out.tree) return Error::from_errno(errno, "bind the volume");
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (mount.read_only || !scratch) attributes.attr_set |= MOUNT_ATTR_RDONLY;
  if (::mount_setattr(out.tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
    return Error::from_errno(errno, "set the attributes of the mount");
  return out;
}

bool is_there(const std::string& path, struct stat* s) { return ::stat(path.c_str(), s) == 0; }

// The nearest directory above `path` that is there.
std::string nearest(std::string path) {
  struct stat s {};
  do path.resize(path.rfind('/'));
  while (!path.empty() && !is_there(path, &s));
  return path.empty() ? "/" : path;
}

// A link that leads to nothing gets its target: images have /var/run -> /run, and no /run.
Result<> make_place(const std::string& path, int links = 8) {
  for (std::size_t i = 1; i <= path.size(); ++i) {
    if (i != path.size() && path[i] != '/') continue;
    auto part = path.substr(0, i);
    struct stat s {};
    if (::mkdir(part.c_str(), 0755) == 0 || (errno == EEXIST && is_there(part, &s))) continue;
    int why = errno;
    char target[4096];
    ssize_t n = ::readlink(part.c_str(), target, sizeof target);
    if (n <= 0 || links == 0) return Error::from_errno(why, "mkdir " + part);
    std::string to(target, static_cast<std::size_t>(n));
    if (auto r = make_place(to.front() == '/' ? to : part.substr(0, part.rfind('/') + 1) + to, links - 1); !r) return r;
  }
  return {};
}

}  // namespace

Result<std::vector<VolumeTree>> gather_volumes(const PodSpec& spec, const ContainerSpec& container) {
  std::vector<VolumeTree> out;
  for (const VolumeMount& mount : container.mounts) {
    auto tree = gather(spec, mount);
    if (!tree) return std::move(tree).error().in(fmt::format("volume {} at {}", mount.volume, mount.path));
    out.push_back(std::move(*tree));
  }
  return out;
}

Result<> mount_overlay(const std::string& lower, const std::string& place) {
  UniqueFd below(::open_tree(AT_FDCWD, lower.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  struct stat s {};
  if (!below || ::fstat(below.get(), &s) < 0) return Error::from_errno(errno, "open " + lower);
  // The layers' own mount is hidden below the overlay itself. Named from inside it: no path needs an escape.
  if (::mount("tmpfs", place.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=50%") < 0 ||
      ::chdir(place.c_str()) < 0)
    return Error::from_errno(errno, "mount " + place);
  for (const char* layer : {"lower", "upper", "work"})
    if (::mkdir(layer, 0755) < 0) return Error::from_errno(errno, fmt::format("mkdir {}/{}", place, layer));
  // What is merged shows the upper layer's owner and mode.
  if (::chown("upper", s.st_uid, s.st_gid) < 0 || ::chmod("upper", s.st_mode & 07777) < 0)
    return Error::from_errno(errno, "owner and mode of " + place);
  if (::move_mount(below.get(), "", AT_FDCWD, "lower", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
      ::mount("overlay", place.c_str(), "overlay", MS_NOSUID | MS_NODEV, "lowerdir=lower,upperdir=upper,workdir=work") <
          0)
    return Error::from_errno(errno, "overlay over " + lower);
  if (::chdir("/") < 0) return Error::from_errno(errno, "chdir /");
  return {};
}

std::vector<const VolumeTree*> missing_at_top(const std::string& root, const std::vector<VolumeTree>& volumes) {
  std::vector<const VolumeTree*> out;
  for (const VolumeTree& v : volumes) {
    struct stat s {};
    if (!is_there(root + v.path.substr(0, v.path.find('/', 1)), &s)) out.push_back(&v);
  }
  return out;
}

Result<> make_mount_point(const std::string& root, const VolumeTree& v) {
  auto path = root + v.path;
  if (v.directory) return make_place(path);
  if (auto slash = path.rfind('/'); slash > 0)
    if (auto r = make_place(path.substr(0, slash)); !r) return r;
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd && errno != EEXIST) return Error::from_errno(errno, "create " + path);
  return {};
}

Result<> attach_volumes(std::vector<VolumeTree> volumes) {
  auto depth = [](const VolumeTree& v) { return std::count(v.path.begin(), v.path.end(), '/'); };
  std::stable_sort(volumes.begin(), volumes.end(),
                   [&](const VolumeTree& a, const VolumeTree& b) { return depth(a) < depth(b); });
  std::set<std::string> opened;
  std::vector<std::string> attached;
  auto in_a_volume = [&](const std::string& path) {
    return std::any_of(attached.begin(), attached.end(),
                       [&](const std::string& a) { return path == a || path.starts_with(a + "/"); });
  };
  for (const VolumeTree& v : volumes) {
    struct stat s {};
    if (!is_there(v.path, &s)) {
      auto made = make_mount_point("", v);
      // Never over a volume: its files would not be updated any more.
      auto above = nearest(v.path);
      if (!made && made.error().is(std::errc::read_only_file_system) && !in_a_volume(above)) {
        made = mount_overlay(above, above);
        if (made) opened.insert(above);
        if (made) made = make_mount_point("", v);
      }
      if (!made)
        return std::move(made).error().in(
            fmt::format("make a place for a volume at {} (a path that the image has needs none)", v.path));
    } else if (S_ISDIR(s.st_mode) != v.directory) {
      return Error::text(fmt::format("{} is {} in the image, and the volume is {}", v.path,
                                     v.directory ? "a file" : "a directory", v.directory ? "a directory" : "a file"));
    }
    if (::move_mount(v.tree.get(), "", AT_FDCWD, v.path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
      return Error::from_errno(errno, "mount the volume at " + v.path);
    attached.push_back(v.path);
  }
  for (const auto& place : opened)
    if (::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) < 0)
      return Error::from_errno(errno, "make " + place + " read-only");
  return {};
}

}  // namespace trama::netns
