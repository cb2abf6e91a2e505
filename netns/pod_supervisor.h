// SPDX-License-Identifier: GPL-2.0-or-later
// The loop of a pod's init: starts and restarts containers, reaps, captures output, reports, stops.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "netns/container_run.h"
#include "netns/pod_spec.h"
#include "netns/pod_status.h"
#include "netns/restart.h"

namespace trama::netns {

class PodSupervisor {
 public:
  // leaves: one per container. `host_proc` is an O_PATH descriptor of the host's /proc. The process is PID 1 of the pod
  // and stands in the base (root_fs.h); SIGCHLD, SIGTERM and kReleaseSignal are blocked.
  PodSupervisor(PodSpec spec, std::vector<CgroupLeaf> leaves, int host_proc);
  // Writes the first status (everything waiting).
  base::Result<> begin();
  // Returns when all containers have ended for good; no process but the caller is left in the pod.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Slot {
    ContainerRun container;
    RestartBackoff backoff;
    std::optional<Clock::time_point> start_at;  // set: is to be started then
    bool final = false;
  };

  void take_signals();
  void release();
  void reap();
  void start_due();
  void settle();
  void after_end(Slot& slot);
  void stop(std::chrono::milliseconds grace);
  int poll_timeout() const;
  bool all_final() const;
  void report();

  PodSpec spec_;
  std::vector<Slot> slots_;
  PodStatus status_;
  base::UniqueFd signals_;
  bool changed_ = false, stopping_ = false, killed_ = false, report_failed_ = false;
  Clock::time_point kill_at_{};
};

}  // namespace trama::netns
