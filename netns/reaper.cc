// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/reaper.h"

#include <chrono>

#include <pthread.h>

#include "base/log.h"
#include "base/netlink/rtnl.h"
#include "netns/model.h"

namespace trama::netns {
namespace {
constexpr std::chrono::milliseconds kGather{30}, kRetry{1000};
constexpr std::size_t kEnough = 64;
}  // namespace

base::Result<std::unique_ptr<Reaper>> Reaper::start() {
  auto client = netlink::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error().in("start the reaper");
  return std::unique_ptr<Reaper>(new Reaper(std::move(*client)));
}

Reaper::Reaper(netlink::Client client) : client_(std::move(client)) {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "reaper");
    work();
  });
}

Reaper::~Reaper() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Reaper::expect(std::size_t links) {
  if (links == 0) return;
  {
    std::lock_guard lock(mutex_);
    pending_ += links;
  }
  changed_.notify_all();
}

void Reaper::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return pending_ > 0 || ending_; });
    if (pending_ == 0) return;
    changed_.wait_for(lock, kGather, [this] { return pending_ >= kEnough || ending_; });
    pending_ = 0;
    lock.unlock();
    auto request = netlink::delete_link_group(kDyingGroup);
    auto r = client_.call(request);
    // An empty group: the links went with their namespaces.
    bool failed = !r && !r.error().is(std::errc::no_such_device);
    if (failed) base::logger("netns")->warn("{}; trying again", r.error().to_string());
    lock.lock();
    if (failed && !ending_) {
      pending_ += 1;
      changed_.wait_for(lock, kRetry, [this] { return ending_; });
    }
  }
}

}  // namespace trama::netns
