// SPDX-License-Identifier: GPL-2.0-or-later
// `trama pod-exec`: the helper between start_exec and the command. It enters the container, forks the command (a pid
// namespace takes effect for children only), and lives until that ends, to pass on its exit code.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "netns/exec.h"
#include "netns/launch.h"
#include "netns/privileges.h"
#include "netns/spawn.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

namespace {
struct Terminal {
  UniqueFd master, slave;
};

// The container may have put anything at this path, so what was opened is looked at before it is used.
Result<Terminal> open_terminal(TerminalSize size) {
  Terminal t;
  t.master.reset(::open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat s {};
  struct statfs fs {};
  if (!t.master || ::fstat(t.master.get(), &s) < 0 || ::fstatfs(t.master.get(), &fs) < 0)
    return Error::from_errno(errno, "open the container's /dev/pts/ptmx");
  if (!S_ISCHR(s.st_mode) || s.st_rdev != makedev(5, 2) || static_cast<unsigned long>(fs.f_type) != DEVPTS_SUPER_MAGIC)
    return Error::text("the container's /dev/pts/ptmx is not a terminal multiplexer", std::errc::no_such_device);
  int unlock = 0;
  winsize w{};
  w.ws_row = size.rows, w.ws_col = size.columns;
  if (::fcntl(t.master.get(), F_SETFL, O_RDWR) < 0 || ::ioctl(t.master.get(), TIOCSPTLCK, &unlock) < 0 ||
      ::ioctl(t.master.get(), TIOCSWINSZ, &w) < 0)
    return Error::from_errno(errno, "set up the terminal");
  t.slave.reset(::ioctl(t.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!t.slave) return Error::from_errno(errno, "open the terminal");
  return t;
}

void refuse(int control, const Error& e) {
  (void)send_message(control, fmt::format("{} {}", e.code().value(), e.to_string()));
}

// Returns only when the command could not be executed.
Error run_command(const ExecLaunch& launch, const std::vector<UniqueFd>& groups, int terminal) {
  sigset_t none;
  sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  (void)::setsid();
  for (const UniqueFd& g : groups)
    if (::write(g.get(), "0", 1) != 1) return Error::from_errno(errno, "join the container's cgroup");
  if (::unshare(CLONE_NEWCGROUP) < 0) return Error::from_errno(errno, "unshare");
  auto identity = resolve_user(launch.container.user);
  if (!identity) return std::move(identity).error();
  (void)base::write_knob("/proc/self/oom_score_adj", fmt::format("{}", launch.container.oom_score_adj));
  auto env = launch.container.env;
  if (terminal >= 0) {
    env.try_emplace("TERM", "xterm");
    [[maybe_unused]] int owned = ::fchown(terminal, identity->uid, 5);
    if (::ioctl(terminal, TIOCSCTTY, 0) < 0) return Error::from_errno(errno, "take the terminal");
    for (int fd : {0, 1, 2})
      if (::dup2(terminal, fd) < 0) return Error::from_errno(errno, "dup2");
  } else {
    for (int fd : {0, 1, 2}) {
      [[maybe_unused]] int owned = ::fchown(fd, identity->uid, identity->gid);
    }
  }
  const std::string& directory = launch.container.working_dir.empty() ? "/" : launch.container.working_dir;
  if (::chdir(directory.c_str()) < 0) return Error::from_errno(errno, "chdir " + directory);
  auto environment = container_environment(env, *identity, launch.hostname, launch.container.image == "host");
  if (auto r = drop_privileges(*identity); !r) return std::move(r).error();
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0) return Error::from_errno(errno, "close_range");
  (void)::signal(SIGPIPE, SIG_DFL);
  return execute(launch.command, environment);
}

// Waits for the command; any signal that would end us ends it instead.
int outlive(pid_t command, int signals) {
  for (;;) {
    int status = 0;
    pid_t ended = ::waitpid(command, &status, WNOHANG);
    if (ended == command) return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (ended < 0 && errno != EINTR) return 128;
    signalfd_siginfo info;
    if (::read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info) && info.ssi_signo != SIGCHLD)
      (void)::kill(command, SIGKILL);
  }
}

// `control` is closed once the command has its own copy.
Result<int> exec_in_container(const ExecLaunch& launch, int container, UniqueFd& control) {
  sigset_t mask;
  sigemptyset(&mask);
  for (int s : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&mask, s);
  (void)::sigprocmask(SIG_BLOCK, &mask, nullptr);
  UniqueFd signals(::signalfd(-1, &mask, SFD_CLOEXEC));
  if (!signals) return Error::from_errno(errno, "signalfd");
  std::vector<UniqueFd> groups;  // opened here, written by the command: we stay outside
  for (const std::string& directory : launch.cgroups) {
    groups.emplace_back(::open((directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!groups.back()) return Error::from_errno(errno, "open cgroup " + directory);
  }
  constexpr int kAll = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
  if (::setns(container, kAll) < 0) return Error::from_errno(errno, "enter the container");
  Terminal terminal;
  if (launch.terminal) {
    auto t = open_terminal(launch.size);
    if (!t) return std::move(t).error();
    terminal = std::move(*t);
    if (auto r = send_message(control.get(), "terminal", terminal.master.get()); !r) return std::move(r).error();
    terminal.master.reset();
  }
  pid_t command = ::fork();
  if (command < 0) return Error::from_errno(errno, "fork");
  if (command == 0) {
    refuse(control.get(), run_command(launch, groups, terminal.slave ? terminal.slave.get() : -1));
    ::_exit(126);
  }
  control.reset();
  terminal.slave.reset();
  for (int fd : {0, 1, 2}) ::close(fd);  // the command's ends are its own to close
  return outlive(command, signals.get());
}
}  // namespace

int pod_exec_main(int argc, char** argv) {
  (void)::prctl(PR_SET_NAME, "trama-pod-exec", 0, 0, 0);
  (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  (void)::signal(SIGPIPE, SIG_IGN);
  int spec_fd = -1, control_fd = -1, container_fd = -1;
  for (int i = 1; i + 1 < argc; ++i) {
    if (!std::strcmp(argv[i], "--spec-fd"))
      spec_fd = std::atoi(argv[++i]);
    else if (!std::strcmp(argv[i], "--control-fd"))
      control_fd = std::atoi(argv[++i]);
    else if (!std::strcmp(argv[i], "--container-fd"))
      container_fd = std::atoi(argv[++i]);
  }
  if (spec_fd < 3 || control_fd < 3 || container_fd < 3) {
    std::fputs("trama pod-exec is started by the agent, with --spec-fd, --control-fd and --container-fd\n", stderr);
    return 2;
  }
  (void)::close_range(static_cast<unsigned>(std::max({spec_fd, control_fd, container_fd})) + 1, ~0u, 0);
  for (int fd : {spec_fd, control_fd, container_fd}) (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
  UniqueFd control(control_fd);
  auto text = base::read_file(fmt::format("/proc/self/fd/{}", spec_fd));
  auto launch = text ? parse_exec_launch(*text) : Result<ExecLaunch>(std::move(text).error());
  auto code = launch ? exec_in_container(*launch, container_fd, control) : Result<int>(std::move(launch).error());
  if (!code) refuse(control.get(), code.error());
  ::_exit(code ? *code : 126);  // not by way of main: nothing that other parts have registered must run here
}

}  // namespace trama::netns
