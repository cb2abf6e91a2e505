// SPDX-License-Identifier: GPL-2.0-or-later
// The second half of root_fs.h: a container's own view of files.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/c_ptr.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "netns/container_mounts.h"
#include "netns/root_fs.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;
using Dir = base::CPtr<DIR, closedir>;

namespace {
// Secrets of the host and state that is nobody else's business: files read as empty, directories are empty.
constexpr const char* kMasked[] = {"/etc/shadow",
                                   "/etc/shadow-",
                                   "/etc/gshadow",
                                   "/etc/gshadow-",
                                   "/etc/sudoers",
                                   "/etc/sudoers.d",
                                   "/etc/ssh",
                                   "/etc/ssl/private",
                                   "/etc/krb5.keytab",
                                   "/etc/letsencrypt",
                                   "/etc/wireguard",
                                   "/etc/ipsec.secrets",
                                   "/etc/ppp",
                                   "/etc/kubernetes",
                                   "/etc/trama",
                                   "/etc/netns",
                                   "/etc/NetworkManager/system-connections",
                                   "/etc/crictl.yaml",
                                   "/var/lib/trama",
                                   "/var/lib/etcd",
                                   "/var/lib/kubelet",
                                   "/var/lib/containerd",
                                   "/var/lib/containers",
                                   "/var/lib/docker",
                                   "/var/lib/private",
                                   "/var/lib/systemd",
                                   "/var/lib/cloud",
                                   "/var/backups",
                                   "/var/spool",
                                   "/var/mail",
                                   "/boot",
                                   "/lost+found"};
constexpr const char* kMaskedProc[] = {
    "/proc/acpi",        "/proc/asound",         "/proc/kcore",         "/proc/keys",
    "/proc/key-users",   "/proc/kmsg",           "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug",    "/proc/scsi",          "/sys/firmware",
    "/sys/kernel/debug", "/sys/kernel/security", "/sys/fs/pstore",      "/sys/fs/bpf"};
constexpr const char* kReadOnlyProc[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
// Empty and private on the host root; the last ones only where the host has them.
struct Scratch {
  const char* path;
  const char* options;
  bool keep_directories;
};
constexpr Scratch kScratch[] = {
    {"/tmp", "mode=1777,size=25%", false},          {"/var/tmp", "mode=1777,size=25%", false},
    {"/run", "mode=0755,size=10%", false},          {"/home", "mode=0755,size=10%", false},
    {"/root", "mode=0700,size=10%", false},         {"/mnt", "mode=0755,size=1m", false},
    {"/media", "mode=0755,size=1m", false},         {"/var/log", "mode=0755,size=10%", true},
    {"/var/lib/nginx", "mode=0755,size=10%", true}, {"/var/cache/nginx", "mode=0755,size=10%", true}};

Result<> mount_new(const char* type, const char* place, unsigned long flags, const char* options) {
  if (::mount(type, place, type, flags, options) < 0) return Error::from_errno(errno, fmt::format("mount {}", place));
  return {};
}

bool exists(const char* path, struct stat* s) { return ::stat(path, s) == 0; }

// An empty tmpfs over a directory, with the same owner and, if asked, the same (empty) directories one level down.
Result<> cover(const Scratch& scratch) {
  struct stat s {};
  if (!exists(scratch.path, &s) || !S_ISDIR(s.st_mode)) return {};
  struct Child {
    std::string name;
    struct stat s;
  };
  std::vector<Child> children;
  if (scratch.keep_directories)
    if (Dir dir{::opendir(scratch.path)}) {
      while (const dirent* e = ::readdir(dir.get())) {
        Child c{e->d_name, {}};
        if (c.name == "." || c.name == ".." || children.size() >= 256) continue;
        if (::fstatat(::dirfd(dir.get()), e->d_name, &c.s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(c.s.st_mode))
          children.push_back(std::move(c));
      }
    }
  if (auto r = mount_new("tmpfs", scratch.path, MS_NOSUID | MS_NODEV, scratch.options); !r) return r;
  if (::chown(scratch.path, s.st_uid, s.st_gid) < 0)
    return Error::from_errno(errno, fmt::format("owner of {}", scratch.path));
  for (const Child& c : children) {
    std::string path = fmt::format("{}/{}", scratch.path, c.name);
    if (::mkdir(path.c_str(), 0700) < 0 || ::chown(path.c_str(), c.s.st_uid, c.s.st_gid) < 0 ||
        ::chmod(path.c_str(), c.s.st_mode & 07777) < 0)
      return Error::from_errno(errno, "make " + path);
  }
  return {};
}

Result<> mask(const char* path) {
  struct stat s {};
  if (!exists(path, &s)) return {};
  if (S_ISDIR(s.st_mode))
    return mount_new("tmpfs", path, MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=0755,size=0,nr_inodes=2");
  if (::mount("/dev/null", path, nullptr, MS_BIND, nullptr) < 0)
    return Error::from_errno(errno, fmt::format("mask {}", path));
  return {};
}

Result<> make_read_only(const char* path) {
  struct stat s {};
  if (!exists(path, &s)) return {};
  constexpr unsigned long kFlags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount(path, path, nullptr, MS_BIND | MS_REC, nullptr) < 0 ||
      ::mount(nullptr, path, nullptr, kFlags, nullptr) < 0)
    return Error::from_errno(errno, fmt::format("make {} read-only", path));
  return {};
}

Result<> make_dev() {
  if (auto r = mount_new("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k,nr_inodes=64"); !r) return r;
  struct Node {
    const char* path;
    unsigned major, minor;
  };
  constexpr Node kNodes[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                             {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
  ::umask(0);
  for (const Node& n : kNodes)
    if (::mknod(n.path, S_IFCHR | 0666, makedev(n.major, n.minor)) < 0)
      return Error::from_errno(errno, fmt::format("mknod {}", n.path));
  ::umask(022);
  for (const char* directory : {"/dev/pts", "/dev/shm"})
    if (::mkdir(directory, 0755) < 0) return Error::from_errno(errno, fmt::format("mkdir {}", directory));
  if (auto r = mount_new("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); !r)
    return r;
  if (auto r = mount_new("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m"); !r) return r;
  struct Link {
    const char *target, *path;
  };
  constexpr Link kLinks[] = {{"pts/ptmx", "/dev/ptmx"},
                             {"/proc/self/fd", "/dev/fd"},
                             {"/proc/self/fd/0", "/dev/stdin"},
                             {"/proc/self/fd/1", "/dev/stdout"},
                             {"/proc/self/fd/2", "/dev/stderr"}};
  for (const Link& l : kLinks)
    if (::symlink(l.target, l.path) < 0) return Error::from_errno(errno, fmt::format("link {}", l.path));
  return {};
}

// Puts a file of ours in the place of `path`. A dangling link (the host's resolver writes below /run) gets its target.
Result<> put_file(const UniqueFd& tree, std::string path) {
  if (!tree) return {};
  for (int links = 0; links < 8; ++links) {
    char target[4096];
    ssize_t n = ::readlink(path.c_str(), target, sizeof target);
    if (n <= 0) break;
    std::string_view to(target, static_cast<std::size_t>(n));
    path = to.front() == '/' ? std::string(to) : fmt::format("{}/{}", path.substr(0, path.rfind('/')), to);
  }
  if (::access(path.c_str(), F_OK) < 0) {
    if (auto r = base::make_directories(path.substr(0, path.rfind('/'))); !r) return r;
    UniqueFd made(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (!made) return Error::from_errno(errno, "create " + path);
  }
  if (::move_mount(tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return Error::from_errno(errno, "put our own " + path);
  return {};
}

Result<UniqueFd> clone_read_only(const char* path) {
  UniqueFd tree(::open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) {
    if (errno == ENOENT) return UniqueFd();
    return Error::from_errno(errno, fmt::format("bind {}", path));
  }
  mount_attr readonly{};
  readonly.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &readonly, sizeof readonly) < 0)
    return Error::from_errno(errno, fmt::format("make {} read-only", path));
  return tree;
}

// The host's root, with places for volumes at its top, where nothing can be made later.
Result<> mount_host(const std::vector<VolumeTree>& volumes, const std::string& root) {
  auto missing = missing_at_top("/host", volumes);
  if (missing.empty()) {
    if (::mount("/host", root.c_str(), nullptr, MS_BIND | MS_REC, nullptr) < 0)
      return Error::from_errno(errno, "bind the host's root");
    return {};
  }
  if (auto r = mount_overlay("/host", root); !r) return std::move(r).error().in("a place for volumes at the top");
  // An overlay shows one file system, without what is mounted on it.
  for (const std::string& mounted : system_mounts_below("/host")) {
    if (::mount(("/host" + mounted).c_str(), (root + mounted).c_str(), nullptr, MS_BIND, nullptr) < 0)
      return Error::from_errno(errno, "bind the host's " + mounted);
  }
  for (const VolumeTree* volume : missing)
    if (auto r = make_mount_point(root, *volume); !r) return r;
  return {};
}

Result<> mount_image(const ContainerSpec& container, std::size_t index, const std::vector<VolumeTree>& volumes) {
  constexpr const char* kRoot = "/root";  // of the base
  std::string image = fmt::format("/images/{}", index);
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (container.image == "host") {
    if (auto r = mount_host(volumes, kRoot); !r) return r;
    attributes.attr_set |= MOUNT_ATTR_RDONLY;
  } else {
    struct stat s {};
    if (!exists(image.c_str(), &s) || !S_ISDIR(s.st_mode)) return Error::from_errno(ENOENT, "image " + container.image);
    if (container.image.starts_with("bind:")) {
      if (::mount(image.c_str(), kRoot, nullptr, MS_BIND, nullptr) < 0)
        return Error::from_errno(errno, "bind " + container.image);
    } else {
      if (auto r = mount_overlay(image, kRoot); !r)
        return std::move(r).error().in(container.image + " (bind:/path does without an overlay)");
    }
  }
  if (::mount_setattr(AT_FDCWD, kRoot, AT_RECURSIVE, &attributes, sizeof attributes) < 0)
    return Error::from_errno(errno, "set attributes of the root");
  if (::chdir(kRoot) < 0) return Error::from_errno(errno, "chdir to the root");
  return {};
}
}  // namespace

Result<> enter_container_root(const PodSpec& spec, std::size_t index) {
  const ContainerSpec& container = spec.containers[index];
  bool host = container.image == "host";
  auto volumes = gather_volumes(spec, container);
  if (!volumes) return std::move(volumes).error();
  if (auto r = mount_image(container, index, *volumes); !r) return r;
  auto hosts = clone_read_only("/files/hosts");
  auto resolver = clone_read_only("/files/resolv.conf");
  auto program = clone_read_only("/files/trama");
  for (auto* tree : {&hosts, &resolver, &program})
    if (!*tree) return std::move(*tree).error();
  if (!host)
    for (const char* directory : {"proc", "sys", "dev", "etc", "tmp"})
      if (::mkdir(directory, 0755) < 0 && errno != EEXIST)
        return Error::from_errno(errno, fmt::format("mkdir /{} in {}", directory, container.image));

  // From here on every path is looked up inside the container's own root.
  if (::syscall(SYS_pivot_root, ".", ".") < 0 || ::umount2(".", MNT_DETACH) < 0 || ::chdir("/") < 0)
    return Error::from_errno(errno, "enter the container's root");
  constexpr unsigned long kQuiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (auto r = mount_new("proc", "/proc", kQuiet, nullptr); !r) return r;
  if (auto r = mount_new("sysfs", "/sys", kQuiet | MS_RDONLY, nullptr); !r) return r;
  if (auto r = make_dev(); !r) return r;
  if (host) {
    for (const Scratch& s : kScratch)
      if (auto r = cover(s); !r) return r;
    (void)::mkdir("/run/lock", 01777);
    (void)::chmod("/run/lock", 01777);
    if (*program)
      if (auto r = put_file(*program, "/run/trama/trama"); !r) return r;
  }
  if (auto r = put_file(*hosts, "/etc/hosts"); !r) return r;
  if (auto r = put_file(*resolver, "/etc/resolv.conf"); !r) return r;
  if (host)
    for (const char* path : kMasked)
      if (auto r = mask(path); !r) return r;
  for (const char* path : kReadOnlyProc)
    if (auto r = make_read_only(path); !r) return r;
  for (const char* path : kMaskedProc)
    if (auto r = mask(path); !r) return r;
  return attach_volumes(std::move(*volumes));
}

}  // namespace trama::netns
