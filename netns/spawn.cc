// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/spawn.h"

#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

Result<UniqueFd> open_executable(const std::string& path) {
  UniqueFd clone(::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (clone) {
    mount_attr readonly{};
    readonly.attr_set = MOUNT_ATTR_RDONLY;
    if (::mount_setattr(clone.get(), "", AT_EMPTY_PATH, &readonly, sizeof readonly) == 0) return clone;
  }
  UniqueFd plain(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!plain) return Error::from_errno(errno, "open " + path);
  return plain;
}

Result<Child> spawn(int executable, const std::vector<std::string>& argv, const std::vector<int>& fds) {
  // Out of the way first, so that no dup2 overwrites the source of a later one.
  std::vector<UniqueFd> sources;
  for (int fd : fds) {
    sources.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 64));
    if (!sources.back()) return Error::from_errno(errno, "duplicate descriptor for a helper process");
  }
  UniqueFd program(::fcntl(executable, F_DUPFD_CLOEXEC, 64));
  if (!program) return Error::from_errno(errno, "duplicate descriptor of the program");

  struct Setup {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    Setup() {
      posix_spawn_file_actions_init(&actions);
      posix_spawnattr_init(&attributes);
    }
    ~Setup() {
      posix_spawn_file_actions_destroy(&actions);
      posix_spawnattr_destroy(&attributes);
    }
  } setup;
  for (std::size_t i = 0; i < sources.size(); ++i)
    posix_spawn_file_actions_adddup2(&setup.actions, sources[i].get(), static_cast<int>(i));
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&setup.attributes, &none);
  posix_spawnattr_setsigdefault(&setup.attributes, &all);
  posix_spawnattr_setflags(&setup.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);

  std::vector<char*> words;
  for (const std::string& w : argv) words.push_back(const_cast<char*>(w.c_str()));
  words.push_back(nullptr);
  std::string path_variable = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path_variable.data(), nullptr};
  std::string path = fmt::format("/proc/self/fd/{}", program.get());
  Child child;
  int err = ::posix_spawn(&child.pid, path.c_str(), &setup.actions, &setup.attributes, words.data(), environment);
  if (err) return Error::from_errno(err, "start helper process " + (argv.size() > 1 ? argv[1] : path));
  child.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.pidfd) {
    err = errno;
    (void)::kill(child.pid, SIGKILL);
    (void)::waitpid(child.pid, nullptr, 0);
    return Error::from_errno(err, "pidfd_open");
  }
  return child;
}

Result<UniqueFd> memory_file(const char* name, std::string_view content) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "memfd_create");
  while (!content.empty()) {
    ssize_t n = ::write(fd.get(), content.data(), content.size());
    if (n < 0) return Error::from_errno(errno, "write anonymous file");
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  (void)::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

Result<> send_message(int socket, std::string_view text, int fd) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr m{};
  m.msg_iov = &part, m.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  if (fd >= 0) {
    m.msg_control = control, m.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  if (::sendmsg(socket, &m, MSG_NOSIGNAL) < 0) return Error::from_errno(errno, "send to the agent");
  return {};
}

Result<Message> receive_message(int socket, int timeout_ms) {
  pollfd p{socket, POLLIN, 0};
  int ready = ::poll(&p, 1, timeout_ms);
  if (ready == 0) return Error::from_errno(ETIMEDOUT, "wait for the helper process");
  if (ready < 0 && errno != EINTR) return Error::from_errno(errno, "poll");
  char text[8192];
  iovec part{text, sizeof text};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr m{};
  m.msg_iov = &part, m.msg_iovlen = 1, m.msg_control = control, m.msg_controllen = sizeof control;
  ssize_t n = ::recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
  if (n < 0 && errno == ECONNRESET) n = 0;
  if (n < 0) return Error::from_errno(errno, "receive from the helper process");
  Message out;
  out.text.assign(text, static_cast<std::size_t>(n));
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
      out.fd.reset(fd);
    }
  out.end = n == 0;
  return out;
}

}  // namespace trama::netns
