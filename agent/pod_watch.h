// SPDX-License-Identifier: GPL-2.0-or-later
// What the processes of this node's pods report, as soon as they report it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/async/event.h"
#include "base/async/task_group.h"
#include "base/result.h"
#include "netns/process.h"

namespace trama::agent {

using async::awaitable;

// Watches <run_dir>/pods/<uid>/status.json of every pod with inotify, the pods' inits with pidfds, and looks at
// everything once in a while all the same: a lost event only costs time. Reads happen on the `files` executor.
class PodWatch {
 public:
  // The report changed, or the pod's directory is gone (nullptr).
  using OnStatus = std::function<void(const netns::Uid& uid, const netns::PodStatus* status)>;
  // The pod's init has exited.
  using OnExit = std::function<void(const netns::Uid& uid)>;

  PodWatch(async::asio::any_io_executor brain, async::asio::any_io_executor files, const netns::PodProcesses& pods,
           OnStatus on_status, OnExit on_exit);
  ~PodWatch();
  // Until cancelled; then call stop().
  awaitable<void> run();
  awaitable<void> stop();
  // Look at this pod now.
  void look(const netns::Uid& uid);
  // The last report; nullptr when there is none.
  const netns::PodStatus* status(const netns::Uid& uid) const;

 private:
  struct Watcher;
  base::Result<> open();
  void watch_directory(const netns::Uid& uid);
  awaitable<void> read_events();
  awaitable<void> read_one(netns::Uid uid);
  awaitable<void> await_exit(netns::Uid uid, std::shared_ptr<netns::RunningPod> pod);

  async::asio::any_io_executor brain_, files_;
  const netns::PodProcesses& pods_;
  OnStatus on_status_;
  OnExit on_exit_;
  std::unique_ptr<Watcher> watcher_;
  async::Event wake_;
  async::TaskGroup exits_;
  std::set<netns::Uid> dirty_;
  std::map<netns::Uid, netns::PodStatus> statuses_;
  std::map<netns::Uid, int> watches_;  // inotify descriptors
  std::map<int, netns::Uid> watched_;
  std::set<netns::Uid> awaited_;  // a task waits for the exit of their init
};

}  // namespace trama::agent
