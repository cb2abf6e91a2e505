// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/pod_init.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <boost/json/serialize.hpp>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "netns/launch.h"
#include "netns/pod_supervisor.h"
#include "netns/process.h"
#include "netns/root_fs.h"
#include "netns/spawn.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

namespace {
Result<std::string> read_descriptor(int fd) {
  std::string out;
  char chunk[16384];
  for (ssize_t n; (n = ::read(fd, chunk, sizeof chunk)) != 0;) {
    if (n < 0) return Error::from_errno(errno, "read the launch description");
    out.append(chunk, static_cast<std::size_t>(n));
  }
  return out;
}

// Everything that needs the host's tree and namespaces, before they are left.
struct Surroundings {
  std::vector<CgroupLeaf> leaves;
  UniqueFd netns, host_proc;
};

Result<Surroundings> look_around(const PodLaunch& launch) {
  Surroundings s;
  for (const auto& directories : launch.container_cgroups) {
    auto leaf = CgroupLeaf::open(directories);
    if (!leaf) return std::move(leaf).error();
    s.leaves.push_back(std::move(*leaf));
  }
  for (const std::string& directory : launch.init_cgroups)
    if (auto r = base::write_knob(directory + "/cgroup.procs", "0"); !r)
      return std::move(r).error().in("join the pod's cgroup");
  s.netns.reset(::open(launch.spec.netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!s.netns) return Error::from_errno(errno, "open the network namespace " + launch.spec.netns_path);
  s.host_proc.reset(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!s.host_proc) return Error::from_errno(errno, "open /proc");
  return s;
}

// PID 1 of the pod from here on.
[[noreturn]] void init_main(const PodLaunch& launch, Surroundings s, int go, UniqueFd control) {
  char byte = 0;
  if (::read(go, &byte, 1) != 1) ::_exit(1);  // our starter died before it had recorded us
  ::close(go);
  (void)::setsid();
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, kReleaseSignal);
  (void)::sigprocmask(SIG_BLOCK, &mask, nullptr);
  auto stand_up = [&]() -> Result<> {
    const std::string& hostname = launch.spec.hostname.empty() ? launch.spec.name : launch.spec.hostname;
    if (::sethostname(hostname.c_str(), std::min<std::size_t>(hostname.size(), 64)) < 0)
      return Error::from_errno(errno, "set the host name");
    if (auto r = enter_base(launch); !r) return r;
    if (launch.spec.volumes.empty()) return {};
    if (auto r = send_message(control.get(), kVolumesReady); !r) return r;
    auto answer = receive_message(control.get(), -1);  // the end of whoever starts us is an answer too
    if (!answer) return std::move(answer).error();
    if (answer->text != kVolumesWritten) return Error::text("the pod's volumes were not written", std::errc::io_error);
    return {};
  };
  auto stood = stand_up();
  if (stood) {
    PodSupervisor supervisor(launch.spec, std::move(s.leaves), s.host_proc.get());
    stood = supervisor.begin();
    if (stood) {
      (void)send_message(control.get(), "ok");
      control.reset();
      supervisor.run();
      ::_exit(0);
    }
  }
  (void)send_message(control.get(), stood.error().to_string());
  ::_exit(1);
}

Result<> start_init(const PodLaunch& launch, UniqueFd& control) {
  auto around = look_around(launch);
  if (!around) return std::move(around).error();
  if (::setns(around->netns.get(), CLONE_NEWNET) < 0)
    return Error::from_errno(errno, "enter the network namespace " + launch.spec.netns_path);
  if (::unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID) < 0)
    return Error::from_errno(errno, "make the pod's namespaces");
  int go[2];
  if (::pipe2(go, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "fork the pod's init");
  if (pid == 0) {
    ::close(go[1]);
    init_main(launch, std::move(*around), go[0], std::move(control));
  }
  ::close(go[0]);
  UniqueFd release(go[1]);
  // Until the byte is sent the child cannot run anything, and it ends when we end.
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return Error::from_errno(errno, "pidfd_open");
  auto since = process_start_time(pid);
  if (!since) return std::move(since).error();
  auto boot = base::read_file("/proc/sys/kernel/random/boot_id");
  if (!boot) return std::move(boot).error();
  while (boot->ends_with('\n')) boot->pop_back();
  boost::json::object record{{"pid", pid}, {"startTime", *since}, {"bootId", *boot}};
  if (auto r = base::write_file_atomic(launch.directory + "/init.json", boost::json::serialize(record) + "\n", 0600);
      !r)
    return r;
  if (auto r = send_message(control.get(), fmt::format("{} {}", pid, *since), pidfd.get()); !r) return r;
  if (::write(release.get(), "g", 1) != 1) return Error::from_errno(errno, "release the pod's init");
  return {};
}
}  // namespace

int pod_init_main(int argc, char** argv) {
  (void)::prctl(PR_SET_NAME, "trama-pod-init", 0, 0, 0);
  (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  (void)::signal(SIGPIPE, SIG_IGN);
  int spec_fd = -1, control_fd = -1;
  for (int i = 1; i + 1 < argc; ++i) {
    if (!std::strcmp(argv[i], "--spec-fd"))
      spec_fd = std::atoi(argv[++i]);
    else if (!std::strcmp(argv[i], "--control-fd"))
      control_fd = std::atoi(argv[++i]);
  }
  if (spec_fd < 3 || control_fd < 3) {
    std::fputs("trama pod-init is started by the agent, with --spec-fd and --control-fd\n", stderr);
    return 2;
  }
  (void)::close_range(static_cast<unsigned>(std::max(spec_fd, control_fd)) + 1, ~0u, 0);
  (void)::fcntl(spec_fd, F_SETFD, FD_CLOEXEC);
  (void)::fcntl(control_fd, F_SETFD, FD_CLOEXEC);
  UniqueFd control(control_fd);
  auto text = read_descriptor(spec_fd);
  ::close(spec_fd);
  auto launch = text ? parse_pod_launch(*text) : Result<PodLaunch>(std::move(text).error());
  auto started = launch ? start_init(*launch, control) : Result<>(std::move(launch).error());
  if (!started) (void)send_message(control.get(), started.error().to_string());
  ::_exit(started ? 0 : 1);  // not by way of main: nothing that other parts have registered must run here
}

}  // namespace trama::netns
