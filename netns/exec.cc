// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/exec.h"

#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netns/launch.h"
#include "netns/spawn.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

namespace {
constexpr int kStartTimeoutMs = 15'000;

struct Ends {
  UniqueFd ours, theirs;
};
Result<Ends> pipe_from_us() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  return Ends{UniqueFd(fds[1]), UniqueFd(fds[0])};
}
Result<Ends> pipe_to_us() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  return Ends{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// What the helper said instead of executing the command: "<errno> <sentence>".
Error refusal(const std::string& text) {
  char* end = nullptr;
  long err = std::strtol(text.c_str(), &end, 10);
  while (*end == ' ') ++end;
  return Error::text(end, static_cast<std::errc>(err > 0 ? err : EIO));
}
}  // namespace

ExecProcess::~ExecProcess() {
  if (!pidfd) return;
  (void)kill();
  pollfd p{pidfd.get(), POLLIN, 0};
  if (::poll(&p, 1, 1000) <= 0) (void)::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  (void)wait();
}

Result<int> ExecProcess::wait() {
  if (!pidfd) return Error::from_errno(ECHILD, "wait for a command that was waited for already");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return Error::from_errno(errno, "wait for the command");
  pidfd.reset();
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Result<> ExecProcess::resize(TerminalSize size) {
  winsize w{};
  w.ws_row = size.rows, w.ws_col = size.columns;
  if (!terminal) return Error::from_errno(ENOTTY, "resize");
  if (::ioctl(terminal.get(), TIOCSWINSZ, &w) < 0) return Error::from_errno(errno, "resize the terminal");
  return {};
}

// The helper passes it on as SIGKILL and then reports the end of the command.
Result<> ExecProcess::kill() {
  if (!pidfd) return {};
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0) < 0 && errno != ESRCH)
    return Error::from_errno(errno, "kill the command");
  return {};
}

Result<ExecProcess> start_exec(const PodProcesses& pods, const ExecRequest& request) {
  std::string what = fmt::format("exec in pod {}", request.uid);
  auto fail = [&](Error e) { return std::move(e).in(what); };
  if (request.command.empty() || request.command[0].empty()) return fail(Error::text("there is no command"));
  auto spec = pods.read_spec(request.uid);
  if (!spec) return fail(std::move(spec).error());
  auto status = pods.read_status(request.uid);
  if (!status) return fail(std::move(status).error());
  std::string name = request.container.empty() ? spec->containers[0].name : request.container;
  ExecLaunch launch;
  const ContainerStatus* target = nullptr;
  for (const ContainerSpec& c : spec->containers)
    if (c.name == name) launch.container = c;
  for (const ContainerStatus& c : status->containers)
    if (c.state.name == name) target = &c;
  if (!target || launch.container.name.empty())
    return fail(Error::text(fmt::format("there is no container \"{}\"", name), std::errc::no_such_file_or_directory));
  auto not_running = [&] {
    return Error::text(fmt::format("container \"{}\" is not running", name), std::errc::no_such_file_or_directory);
  };
  if (target->state.phase != ContainerPhase::running || target->pid <= 0) return fail(not_running());
  UniqueFd container(static_cast<int>(::syscall(SYS_pidfd_open, target->pid, 0)));
  auto since = process_start_time(target->pid);
  if (!container || !since || *since != target->start_time) return fail(not_running());

  launch.hostname = spec->hostname.empty() ? spec->name : spec->hostname;
  launch.command = request.command;
  launch.cgroups = pods.cgroups().directories(fmt::format("pod-{}/{}", request.uid, name));
  launch.terminal = request.terminal;
  launch.size = request.size;
  auto description = memory_file("trama-exec", to_json(launch));
  auto program = open_executable(pods.options().executable);
  if (!description) return fail(std::move(description).error());
  if (!program) return fail(std::move(program).error());
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  int sockets[2];
  if (!null || ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
    return fail(Error::from_errno(errno, "prepare descriptors"));
  UniqueFd ours(sockets[0]), theirs(sockets[1]);

  ExecProcess process;
  UniqueFd in, out, err;
  if (!request.terminal) {
    auto stdin_pipe = pipe_from_us(), stdout_pipe = pipe_to_us(), stderr_pipe = pipe_to_us();
    for (auto* p : {&stdin_pipe, &stdout_pipe, &stderr_pipe})
      if (!*p) return fail(std::move(*p).error());
    if (request.stdin_open) {
      process.stdin_w = std::move(stdin_pipe->ours);
      in = std::move(stdin_pipe->theirs);
    }
    process.stdout_r = std::move(stdout_pipe->ours), out = std::move(stdout_pipe->theirs);
    process.stderr_r = std::move(stderr_pipe->ours), err = std::move(stderr_pipe->theirs);
  }
  auto or_null = [&](const UniqueFd& fd) { return fd ? fd.get() : null.get(); };
  auto helper =
      spawn(program->get(), {"trama", "pod-exec", "--spec-fd", "3", "--control-fd", "4", "--container-fd", "5"},
            {or_null(in), or_null(out), or_null(err), description->get(), theirs.get(), container.get()});
  if (!helper) return fail(std::move(helper).error());
  process.pid = helper->pid;
  process.pidfd = std::move(helper->pidfd);
  theirs.reset(), in.reset(), out.reset(), err.reset();
  for (;;) {
    auto message = receive_message(ours.get(), kStartTimeoutMs);
    if (!message) return fail(std::move(message).error());
    if (message->end) break;  // close-on-exec: the command runs
    if (!message->fd) return fail(refusal(message->text));
    process.terminal = std::move(message->fd);
  }
  if (request.terminal && !process.terminal)
    return fail(Error::text("the container ended meanwhile", std::errc::no_such_file_or_directory));
  return process;
}

}  // namespace trama::netns
