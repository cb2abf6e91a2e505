// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/lab/daemon.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/interrupt.h"

extern char** environ;

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;
using Clock = std::chrono::steady_clock;

namespace {

// What the child needs, prepared while allocating is still allowed.
struct Prepared {
  std::vector<std::string> words, variables;
  std::vector<char*> argv, envp;
  std::vector<int> descriptors;   // become 3, 4, …; the last one is the ready pipe
  std::size_t listen_pid_at = 0;  // which variable holds LISTEN_PID=
};

[[noreturn]] void run_child(const DaemonSpec& spec, Prepared& p, int log_fd, int null_fd) {
  setsid();
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int s : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaction(s, &plain, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  auto die = [&](const char* what) {
    dprintf(log_fd, "trama lab: %s: %m\n", what);
    _exit(127);
  };
  if (spec.netns_fd >= 0 && setns(spec.netns_fd, CLONE_NEWNET) < 0) die("enter the node's namespace");
  // Out of the way first: a descriptor may stand where another one shall go.
  for (int& fd : p.descriptors)
    if ((fd = fcntl(fd, F_DUPFD, 64)) < 0) die("pass a descriptor on");
  int log_copy = fcntl(log_fd, F_DUPFD, 64);
  if (log_copy < 0 || dup2(null_fd, 0) < 0 || dup2(log_copy, 1) < 0 || dup2(log_copy, 2) < 0)
    die("set standard output");
  for (std::size_t i = 0; i < p.descriptors.size(); ++i)
    if (dup2(p.descriptors[i], static_cast<int>(i) + 3) < 0) die("pass a descriptor on");
  close_range(static_cast<unsigned>(p.descriptors.size()) + 3, ~0u, 0);
  if (!spec.sockets.empty()) {
    char* value = p.envp[p.listen_pid_at] + std::string_view("LISTEN_PID=").size();
    snprintf(value, 16, "%d", getpid());
  }
  if (chdir("/") < 0) die("chdir /");
  execve(spec.program.c_str(), p.argv.data(), p.envp.data());
  dprintf(2, "trama lab: start %s: %m\n", spec.program.c_str());
  _exit(127);
}

Prepared prepare(const DaemonSpec& spec, int ready_fd) {
  Prepared p;
  p.words.push_back("trama");
  p.words.insert(p.words.end(), spec.arguments.begin(), spec.arguments.end());
  p.words.push_back("--ready-fd");
  p.words.push_back(std::to_string(3 + spec.sockets.size()));
  for (char** e = environ; *e; ++e) {
    std::string_view v(*e);
    // What the lab's starter was told is not meant for its daemons.
    if (v.starts_with("LISTEN_") || v.starts_with("NOTIFY_SOCKET=") || v.starts_with("KUBECONFIG=") ||
        v.starts_with("TRAMA_"))
      continue;
    p.variables.emplace_back(v);
  }
  for (const auto& [key, value] : spec.environment) p.variables.push_back(key + "=" + value);
  if (!spec.sockets.empty()) {
    p.variables.push_back("LISTEN_FDS=" + std::to_string(spec.sockets.size()));
    p.listen_pid_at = p.variables.size();
    p.variables.push_back("LISTEN_PID=" + std::string(16, '\0'));  // filled in by the child, which knows
  }
  for (auto& w : p.words) p.argv.push_back(w.data());
  p.argv.push_back(nullptr);
  for (auto& v : p.variables) p.envp.push_back(v.data());
  p.envp.push_back(nullptr);
  p.descriptors = spec.sockets;
  p.descriptors.push_back(ready_fd);
  return p;
}

}  // namespace

Result<Daemon> start_daemon(const DaemonSpec& spec) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno(errno, "make a pipe");
  UniqueFd reader(ends[0]), writer(ends[1]);
  UniqueFd log(open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!log) return Error::from_errno(errno, spec.log_path);
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return Error::from_errno(errno, "/dev/null");
  auto prepared = prepare(spec, writer.get());
  pid_t pid = fork();
  if (pid < 0) return Error::from_errno(errno, "start a process");
  if (pid == 0) run_child(spec, prepared, log.get(), null.get());
  auto id = identify(pid);
  if (!id) return std::move(id).error();
  return Daemon{*id, std::move(reader)};
}

std::string log_tail(const std::string& path, std::size_t lines) {
  auto text = base::read_file(path, 64u << 20).value_or("");
  while (text.ends_with('\n')) text.pop_back();
  std::size_t at = text.size();
  for (std::size_t i = 0; i < lines && at != std::string::npos && at > 0; ++i) at = text.rfind('\n', at - 1);
  if (at != std::string::npos && at > 0) text.erase(0, at + 1);
  std::string out;
  std::size_t from = 0;
  while (from < text.size()) {
    auto end = std::min(text.find('\n', from), text.size());
    out += "\n    " + text.substr(from, end - from);
    from = end + 1;
  }
  return out;
}

Result<> wait_ready(std::vector<Daemon>& daemons, const std::vector<std::string>& log_paths,
                    Clock::time_point deadline) {
  std::vector<std::string> heard(daemons.size());
  for (;;) {
    std::vector<pollfd> fds;
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < daemons.size(); ++i)
      if (daemons[i].ready) {
        fds.push_back(pollfd{daemons[i].ready.get(), POLLIN, 0});
        which.push_back(i);
      }
    if (fds.empty()) return {};
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0)
      return Error::text(
          fmt::format("it is not ready in time; the end of {}:{}", log_paths[which[0]], log_tail(log_paths[which[0]])),
          std::errc::timed_out);
    int n = poll(fds.data(), fds.size(), static_cast<int>(std::min<long>(left, 1000)));
    if (interrupted()) return Error::text("interrupted", std::errc::operation_canceled);
    if (n < 0 && errno != EINTR) return Error::from_errno(errno, "wait for a process");
    for (std::size_t k = 0; k < fds.size() && n > 0; ++k) {
      if (!fds[k].revents) continue;
      auto i = which[k];
      char buffer[64];
      auto got = read(fds[k].fd, buffer, sizeof buffer);
      if (got > 0) heard[i].append(buffer, static_cast<std::size_t>(got));
      if (heard[i].find("READY") != std::string::npos) {
        daemons[i].ready.reset();
      } else if (got == 0) {
        int status = 0;
        waitpid(daemons[i].id.pid, &status, WNOHANG);
        return Error::text(fmt::format("it ended at once; the end of {}:{}", log_paths[i], log_tail(log_paths[i])),
                           std::errc::io_error);
      }
    }
  }
}

Result<> end_processes(const std::vector<ProcessId>& processes, std::chrono::milliseconds grace) {
  struct Held {
    UniqueFd pidfd;
    pid_t pid;
  };
  std::vector<Held> held;
  for (const auto& p : processes) {
    if (p.pid <= 1) continue;
    UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, p.pid, 0)));
    // The descriptor is tied to one process: looked at after opening, the identity can no longer change.
    if (!fd || !is_alive(p)) continue;
    syscall(SYS_pidfd_send_signal, fd.get(), SIGTERM, nullptr, 0);
    held.push_back(Held{std::move(fd), p.pid});
  }
  auto deadline = Clock::now() + grace;
  bool killed = false;
  while (!held.empty()) {
    std::vector<pollfd> fds;
    for (const auto& h : held) fds.push_back(pollfd{h.pidfd.get(), POLLIN, 0});
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      if (killed) return Error::from_errno(ETIMEDOUT, fmt::format("process {} does not end", held[0].pid));
      for (const auto& h : held) syscall(SYS_pidfd_send_signal, h.pidfd.get(), SIGKILL, nullptr, 0);
      killed = true;
      deadline = Clock::now() + std::chrono::seconds(5);
      continue;
    }
    if (poll(fds.data(), fds.size(), static_cast<int>(left)) < 0 && errno != EINTR)
      return Error::from_errno(errno, "wait for processes");
    std::vector<Held> still;
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (fds[i].revents) {
        int status = 0;
        waitpid(held[i].pid, &status, WNOHANG);  // ours, when the same command started it
      } else {
        still.push_back(std::move(held[i]));
      }
    }
    held = std::move(still);
  }
  return {};
}

}  // namespace trama::cli
