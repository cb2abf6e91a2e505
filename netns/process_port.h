// SPDX-License-Identifier: GPL-2.0-or-later
// The process half of sandboxes as the network half needs it: nothing here blocks for longer than a start takes.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netns/model.h"
#include "netns/process.h"

namespace trama::netns {

// Where a sandbox's processes find their surroundings.
struct Surroundings {
  std::string netns_path, hosts_path, resolv_conf_path;
};

class ProcessPort {
 public:
  struct Seen {
    ProcessPhase phase = ProcessPhase::none;
    bool stopping = false, leaving = false;
    Limits limits;
    std::vector<ContainerState> containers;
    std::map<std::string, std::string> volumes;  // as in ObservedSandbox
  };
  virtual ~ProcessPort() = default;
  // Every pod that has processes, a directory or a cgroup here.
  virtual base::Result<std::map<Uid, Seen>> observe() = 0;
  virtual base::Result<> start(const Sandbox& sandbox, const Surroundings& where) = 0;
  virtual base::Result<> set_limits(const Uid& uid, const Limits& limits) = 0;
  // Starts those containers of a pod that runs which were held when it was started and are not in `sandbox`.
  virtual base::Result<> release(const Sandbox& sandbox, const Surroundings& where) = 0;
  // Replaces the content of volumes of a pod that runs.
  virtual base::Result<> write_volumes(const Uid& uid, const Volumes& volumes) = 0;
  // Begin to end the processes, begin to remove every trace: return at once. When it is done, on_change is called.
  virtual base::Result<> stop(const Uid& uid, std::chrono::seconds grace) = 0;
  virtual base::Result<> remove(const Uid& uid) = 0;
  // The network namespace of a pod that runs, for one whose name was lost; none = cannot tell. The caller checks that
  // it is the right one.
  virtual base::UniqueFd namespace_of(const Uid& uid) = 0;
  // Readable when a pod's init has ended; -1 = never. drain() after each wake, from any thread.
  virtual int ended_fd() const { return -1; }
  virtual void drain() {}
  // `changed` is called from a thread of the port's own and must not block. After on_change(nullptr) returned, no call
  // comes any more.
  virtual void on_change(std::function<void()> changed) = 0;
};

// Sandboxes without processes: networks for tests, benchmarks and programs of somebody else.
class NoProcesses final : public ProcessPort {
 public:
  base::Result<std::map<Uid, Seen>> observe() override { return std::map<Uid, Seen>(); }
  base::Result<> start(const Sandbox&, const Surroundings&) override {
    return base::Error::text("this agent starts no processes", std::errc::not_supported);
  }
  base::Result<> set_limits(const Uid&, const Limits&) override { return {}; }
  base::Result<> release(const Sandbox&, const Surroundings&) override { return {}; }
  base::Result<> write_volumes(const Uid&, const Volumes&) override { return {}; }
  base::Result<> stop(const Uid&, std::chrono::seconds) override { return {}; }
  base::Result<> remove(const Uid&) override { return {}; }
  base::UniqueFd namespace_of(const Uid&) override { return {}; }
  void on_change(std::function<void()>) override {}
};

// Pods below the small init of process.h. Stops and removals take as long as the grace time: each has a thread of its
// own, and nothing else is done to that pod meanwhile. When this object goes, those that are under way go on by
// themselves as long as the process lives; a successor finds whatever is left.
class PodProcessPort final : public ProcessPort {
 public:
  static base::Result<std::unique_ptr<PodProcessPort>> make(PodProcesses pods);
  ~PodProcessPort() override;

  base::Result<std::map<Uid, Seen>> observe() override;
  base::Result<> start(const Sandbox& sandbox, const Surroundings& where) override;
  base::Result<> set_limits(const Uid& uid, const Limits& limits) override;
  base::Result<> release(const Sandbox& sandbox, const Surroundings& where) override;
  base::Result<> write_volumes(const Uid& uid, const Volumes& volumes) override;
  base::Result<> stop(const Uid& uid, std::chrono::seconds grace) override;
  base::Result<> remove(const Uid& uid) override;
  base::UniqueFd namespace_of(const Uid& uid) override;
  int ended_fd() const override { return epoll_.get(); }
  void drain() override;
  void on_change(std::function<void()> changed) override;

 private:
  enum class Job { none, stop, remove };
  // What the background threads hold on to.
  struct Shared {
    explicit Shared(PodProcesses p) : pods(std::move(p)) {}
    PodProcesses pods;
    std::mutex mutex;  // guards the rest
    struct Task {
      Job job = Job::none;
      bool done = false;
      std::thread thread;
    };
    std::map<Uid, Task> tasks;
    std::function<void()> changed;
  };

  PodProcessPort(PodProcesses pods, base::UniqueFd epoll)
      : shared_(std::make_shared<Shared>(std::move(pods))), pods_(shared_->pods), epoll_(std::move(epoll)) {}
  Seen look(const Uid& uid);
  base::Result<> in_background(const Uid& uid, Job job, std::function<base::Result<>(PodProcesses&)> work);
  Job job(const Uid& uid);
  void collect();

  std::shared_ptr<Shared> shared_;
  PodProcesses& pods_;
  base::UniqueFd epoll_;
  std::map<Uid, RunningPod> running_;
};

// The pod as the process half is told it.
PodSpec pod_spec(const Sandbox& sandbox, const Surroundings& where);

}  // namespace trama::netns
