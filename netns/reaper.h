// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "base/netlink/client.h"

namespace trama::netns {

// Deletes the links of the dying group, many at a time: deleting a veth waits for an RCU grace period of some 30 ms,
// one or a hundred alike. Has a thread of its own, which does that waiting.
class Reaper {
 public:
  // Works in the namespace of the calling thread.
  static base::Result<std::unique_ptr<Reaper>> start();
  // Deletes what is still pending, then ends.
  ~Reaper();

  // So many more links have joined the group. They are deleted 30 ms later, or at once when 64 are waiting.
  void expect(std::size_t links);

 private:
  explicit Reaper(netlink::Client client);
  void work();

  netlink::Client client_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t pending_ = 0;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace trama::netns
