// SPDX-License-Identifier: GPL-2.0-or-later
// One container inside the pod's init, run after run: its processes, its output, its state. Knows nothing of restarts.
// restarts.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netns/log_file.h"
#include "netns/pod_spec.h"
#include "netns/pod_status.h"

namespace trama::netns {

// The cgroup of one container, held open by descriptors: the init cannot see the cgroup file systems any more.
class CgroupLeaf {
 public:
  static base::Result<CgroupLeaf> open(const std::vector<std::string>& directories);
  // Puts the calling process into it.
  base::Result<> join() const;
  std::uint64_t oom_kills() const;
  // SIGKILL to all that is in it now.
  void kill() const;

 private:
  std::vector<base::UniqueFd> directories_;
};

class ContainerRun {
 public:
  // The spec and /proc of the host (an O_PATH descriptor) outlive the container. The log is opened at the first start.
  ContainerRun(const PodSpec& spec, std::size_t index, CgroupLeaf leaf, int host_proc);

  enum class Phase {
    idle,      // not started, or ended and settled
    starting,  // forked, has not executed its command yet
    running,
    ending,  // its main process is gone, the rest is being killed and the output drained
  };
  Phase phase() const { return phase_; }
  pid_t pid() const { return pid_; }
  const ContainerStatus& status() const { return status_; }

  // Forks; false when not even that worked (the status then says why, as after a failed start).
  bool start();
  // The main process was reaped with this wait status.
  void reaped(int wait_status);
  // Descriptors to poll for input; pass every one that is ready to ready(). Returns whether the status changed.
  void poll_descriptors(std::vector<int>& out) const;
  bool ready(int fd);
  // ending -> idle once the output is at its end or the time for it is over. Returns whether that happened now.
  bool settle();
  // The latest moment at which settle() has to be called.
  std::optional<std::chrono::steady_clock::time_point> settle_by() const;

  void signal(int number) const;
  void kill();
  // For the supervisor: how the waiting or ended container is described.
  void describe_waiting(std::string reason, std::string message);
  // Waiting for a restart that will not come: the last end is final.
  void describe_ended();
  std::chrono::milliseconds last_run() const;
  std::chrono::steady_clock::time_point ended_at() const { return ended_; }
  bool succeeded() const { return status_.state.exit_code == 0 && status_.state.reason != "StartError"; }

 private:
  [[noreturn]] void run_child(int setup, int out, int err);
  bool read_output(std::size_t stream);
  bool read_setup();
  void end(int exit_code, int signal, std::string reason, std::string message);
  void write_log(const std::string& records);

  const PodSpec& pod_;
  std::size_t index_;
  const ContainerSpec& spec_;
  CgroupLeaf leaf_;
  int host_proc_;
  Phase phase_ = Phase::idle;
  pid_t pid_ = 0;
  ContainerStatus status_;
  bool started_before_ = false;
  base::UniqueFd setup_;
  std::string setup_error_;
  std::array<base::UniqueFd, 2> outputs_;
  std::array<LogSplitter, 2> splitters_{LogSplitter(LogStream::out), LogSplitter(LogStream::err)};
  std::optional<LogWriter> log_;
  bool log_failed_ = false;
  std::uint64_t oom_before_ = 0;
  std::chrono::steady_clock::time_point began_{}, ended_{};
};

}  // namespace trama::netns
