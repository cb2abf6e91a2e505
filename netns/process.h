// SPDX-License-Identifier: GPL-2.0-or-later
// The processes of pods, as the agent sees them: start, find again, stop, ask. Everything that must outlive the agent
// is in <run_dir>/pods/<uid>/:
//   spec.json    what was asked for          init.json    pid, start time and boot of the pod's init
//   status.json  what the init reports       <container>.log[.N]  captured output        init.log  the init's own words
// All calls block; call them on a worker thread. Not two at once for the same pod.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netns/cgroup.h"
#include "netns/pod_spec.h"
#include "netns/pod_status.h"

namespace trama::netns {

// The init of a pod that runs now. `pidfd` becomes readable when it has exited; it can be given to a reactor.
struct RunningPod {
  Uid uid;
  pid_t pid = 0;                 // in the host's pid namespace
  std::uint64_t start_time = 0;  // clock ticks since boot
  base::UniqueFd pidfd;
};

class PodProcesses {
 public:
  struct Options {
    std::string run_dir = "/run/trama";
    std::string executable = "/proc/self/exe";  // answers to `pod-init` and `pod-exec`
  };
  PodProcesses(Options options, CgroupRoot cgroups);

  // Makes the pod's directory and cgroups and starts its init inside the namespace spec.netns_path, which must exist.
  // Returns once the init stands; how its containers fare is in the status. On failure nothing is left behind.
  // EEXIST when the pod already runs. `volumes`: content of those of the spec that are files; no container starts
  // before they are written. They are in memory, in the pod's own mount namespace.
  base::Result<RunningPod> start(const PodSpec& spec, const Volumes& volumes = {});
  // Starts the containers of a running pod that are held and, in `spec`, are not; of all others nothing changes.
  // Idempotent. ESRCH when the pod does not run.
  base::Result<> release(const PodSpec& spec);
  // Replaces the files of volumes of a pod that runs. ESRCH when it does not.
  base::Result<> write_volumes(const Uid& uid, const Volumes& volumes);
  // The digest of what each volume of files of a running pod holds; "" for one that was never written.
  base::Result<std::map<std::string, std::string>> volume_digests(const Uid& uid) const;
  // What stands in a file of a volume of files of a running pod.
  base::Result<std::string> volume_file(const Uid& uid, const std::string& volume, const std::string& path) const;
  // The running init of a pod that another process started: same pid, start time, boot, cgroup and network namespace.
  // ESRCH: it does not run (any more); any other error says what does not fit, and then nothing was touched.
  base::Result<RunningPod> adopt(const Uid& uid) const;
  // SIGTERM to every container, SIGKILL after `grace`, and by the cgroup if even the init hangs. Returns when no
  // process of the pod is left. The directory with status and logs stays: remove() ends that. Idempotent.
  base::Result<> stop(const Uid& uid, std::chrono::milliseconds grace);
  // Kills what is left, removes the cgroups and the directory. Idempotent; a pod nobody ever started is fine.
  base::Result<> remove(const Uid& uid);

  // The last report. Of an init that vanished without one (killed, machine out of memory), its running containers are
  // returned as terminated, 137, ContainerStatusUnknown. ENOENT: never started here.
  base::Result<PodStatus> read_status(const Uid& uid) const;
  base::Result<PodSpec> read_spec(const Uid& uid) const;
  base::Result<CgroupUsage> usage(const Uid& uid) const;
  // New limits for the pod as a whole, effective at once.
  base::Result<> update_limits(const Uid& uid, const Limits& limits);
  // Pods with a directory or a cgroup here, running or not, sorted.
  std::vector<Uid> list() const;

  std::string directory(const Uid& uid) const;  // watch it with inotify: IN_MOVED_TO "status.json"
  std::string log_path(const Uid& uid, const std::string& container) const;
  const CgroupRoot& cgroups() const { return cgroups_; }
  const Options& options() const { return options_; }

 private:
  Options options_;
  CgroupRoot cgroups_;
};

// Identity of a process beyond its pid. ESRCH when there is none.
base::Result<std::uint64_t> process_start_time(pid_t pid);

}  // namespace trama::netns
