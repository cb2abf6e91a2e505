// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "overlay/reconciler.h"
#include "tests/kernel/overlay/lab.h"

namespace trama::overlay::test {

// A node's overlay with its reconciler running, on threads of its own in the node's namespace.
class RunningNode {
 public:
  RunningNode(const PrivateNetns& netns, std::optional<Mode> mode);
  ~RunningNode();  // stops; removes nothing
  void publish(const Desired& desired);
  // Waits for a pass over the last published state that ended as asked; the status, or nothing after the time.
  std::optional<Status> wait(bool in_sync, int milliseconds = 5000);
  std::uint64_t passes();
  // Passes that found something to do.
  std::uint64_t repairs();

 private:
  struct Loop;
  void body(const PrivateNetns& netns, std::optional<Mode> mode);

  std::mutex mutex_;
  std::condition_variable changed_;
  Status status_;
  std::uint64_t published_ = 0, repairs_ = 0;
  Loop* loop_ = nullptr;
  std::string failure_;
  std::thread thread_;
};

}  // namespace trama::overlay::test
