// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/pod_supervisor.h"

#include <algorithm>
#include <csignal>
#include <cstdio>

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "netns/launch.h"
#include "netns/root_fs.h"

namespace trama::netns {
using base::Error;
using base::Result;
using std::chrono::milliseconds;

PodSupervisor::PodSupervisor(PodSpec spec, std::vector<CgroupLeaf> leaves, int host_proc) : spec_(std::move(spec)) {
  for (std::size_t i = 0; i < spec_.containers.size(); ++i) {
    Slot slot{ContainerRun(spec_, i, std::move(leaves[i]), host_proc), RestartBackoff(spec_.timing), {}, false};
    if (!spec_.containers[i].held) slot.start_at = Clock::now();
    slots_.push_back(std::move(slot));
  }
}

Result<> PodSupervisor::begin() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, kReleaseSignal);
  signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Error::from_errno(errno, "signalfd");
  status_.uid = spec_.uid;
  for (const Slot& s : slots_) status_.containers.push_back(s.container.status());
  status_.sequence = 1;
  return base::write_file_atomic(fmt::format("{}/status.json", kBasePod), to_json(status_));
}

void PodSupervisor::run() {
  std::vector<int> wanted;
  std::vector<pollfd> polled;
  for (;;) {
    start_due();
    settle();
    if (changed_) report();
    if (all_final()) break;

    wanted.assign(1, signals_.get());
    for (const Slot& s : slots_) s.container.poll_descriptors(wanted);
    polled.clear();
    for (int fd : wanted) polled.push_back({fd, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), poll_timeout()) < 0 && errno != EINTR) {
      fmt::print(stderr, "poll: {}\n", Error::from_errno(errno, "init").to_string());
      break;
    }
    for (std::size_t i = 1; i < polled.size(); ++i)
      if (polled[i].revents)
        for (Slot& s : slots_) changed_ |= s.container.ready(polled[i].fd);
    if (polled[0].revents) take_signals();
    if (stopping_ && !killed_ && Clock::now() >= kill_at_) {
      killed_ = true;
      (void)::kill(-1, SIGKILL);  // everything in the pod but us
    }
  }
  (void)::kill(-1, SIGKILL);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
}

void PodSupervisor::take_signals() {
  signalfd_siginfo info;
  bool children = false, released = false;
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD) children = true;
    // Senders inside the pod have a pid here; only the outside may tell us anything.
    if (info.ssi_signo == static_cast<unsigned>(kReleaseSignal) && info.ssi_pid == 0) released = true;
    if (info.ssi_signo == SIGTERM && info.ssi_pid == 0)
      stop(info.ssi_code == SI_QUEUE && info.ssi_int >= 0 ? milliseconds(info.ssi_int) : spec_.grace);
  }
  if (children) reap();
  if (released && !stopping_) release();
}

// In the place of a held container's spec, which nothing has looked at yet, comes the one that the agent wrote.
void PodSupervisor::release() {
  auto text = base::read_file(fmt::format("{}/spec.json", kBasePod));
  auto now = text ? parse_pod_spec(*text) : Result<PodSpec>(std::move(text).error());
  if (!now || now->containers.size() != slots_.size()) {
    fmt::print(stderr, "release: {}\n", now ? std::string("spec.json is of another pod") : now.error().to_string());
    return;
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    auto& spec = spec_.containers[i];
    if (!spec.held || now->containers[i].held || now->containers[i].name != spec.name) continue;
    spec = std::move(now->containers[i]);
    slots_[i].start_at = Clock::now();
  }
}

void PodSupervisor::reap() {
  int wait_status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &wait_status, WNOHANG)) > 0;)
    for (Slot& s : slots_)
      if (s.container.pid() == pid) {
        s.container.reaped(wait_status);
        changed_ = true;
      }
}

void PodSupervisor::start_due() {
  for (Slot& s : slots_) {
    if (!s.start_at || Clock::now() < *s.start_at) continue;
    s.start_at.reset();
    changed_ = true;
    if (!s.container.start()) after_end(s);
  }
}

void PodSupervisor::settle() {
  for (Slot& s : slots_)
    if (s.container.settle()) after_end(s);
}

// Decides what becomes of a container whose run is over.
void PodSupervisor::after_end(Slot& s) {
  changed_ = true;
  auto delay =
      stopping_ ? std::nullopt : s.backoff.ended(spec_.restart, s.container.succeeded(), s.container.last_run());
  if (!delay) {
    s.final = true;
    return;
  }
  s.start_at = s.container.ended_at() + *delay;
  if (delay->count() == 0) return;
  s.container.describe_waiting(
      "CrashLoopBackOff",
      fmt::format("back-off {} restarting failed container={} pod={}_{}({})",
                  *delay % milliseconds(1000) == milliseconds(0) ? fmt::format("{}s", delay->count() / 1000)
                                                                 : fmt::format("{}ms", delay->count()),
                  spec_.containers[static_cast<std::size_t>(&s - slots_.data())].name, spec_.name, spec_.ns,
                  spec_.uid));
}

void PodSupervisor::stop(milliseconds grace) {
  auto deadline = Clock::now() + grace;
  if (!stopping_ || deadline < kill_at_) kill_at_ = deadline;  // a second order can only hurry
  if (stopping_) return;
  stopping_ = true;
  for (Slot& s : slots_) {
    if (s.container.phase() == ContainerRun::Phase::idle) {
      s.start_at.reset();
      s.container.describe_ended();
      s.final = true;
      changed_ = true;
    }
    s.container.signal(SIGTERM);
  }
}

int PodSupervisor::poll_timeout() const {
  std::optional<Clock::time_point> next;
  auto sooner = [&](std::optional<Clock::time_point> t) {
    if (t && (!next || *t < *next)) next = t;
  };
  for (const Slot& s : slots_) {
    sooner(s.start_at);
    sooner(s.container.settle_by());
  }
  if (stopping_ && !killed_) sooner(kill_at_);
  if (!next) return -1;
  auto left = std::chrono::ceil<milliseconds>(*next - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

bool PodSupervisor::all_final() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.final; });
}

void PodSupervisor::report() {
  status_.containers.clear();
  for (const Slot& s : slots_) status_.containers.push_back(s.container.status());
  status_.finished = all_final();
  ++status_.sequence;
  auto r = base::write_file_atomic(fmt::format("{}/status.json", kBasePod), to_json(status_));
  if (!r && !report_failed_) fmt::print(stderr, "status is not reported: {}\n", r.error().to_string());
  report_failed_ = !r;
  changed_ = !r && !status_.finished;  // tried again with the next event
}

}  // namespace trama::netns
