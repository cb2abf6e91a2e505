// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "control/controllers/service_pods.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

// Keeps the EndpointSlices of all Services that have a selector. Slices of other managers are never touched.
class EndpointSliceLoop {
 public:
  EndpointSliceLoop(async::asio::any_io_executor ex, store::Store& store,
                    std::uint64_t seed = std::random_device{}());  // names of created objects depend on it
  Loop& loop() { return loop_; }
  // The index that this loop keeps; as long as it lives.
  const ServicePods& pods() const { return pods_; }
  // Told for every Service ("namespace/name") whose pods have changed, with the time of the change.
  void when_pods_change(std::function<void(const std::string& service, const std::string& trigger)> told) {
    pods_changed_ = std::move(told);
  }

 private:
  void service_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  void slice_seen(const store::Event& e);
  void touch(const std::string& key, const std::string& trigger);
  bool is_handed_over(const api::Key& service) const;
  awaitable<base::Result<>> handle(std::string key);

  store::Store& store_;
  ServicePods pods_;
  std::function<void(const std::string&, const std::string&)> pods_changed_;
  std::map<std::string, std::set<std::string>> slices_;  // queue key -> names of the slices that we manage
  std::map<std::string, std::string> triggers_;          // queue key -> earliest change since the last pass
  std::mt19937_64 random_;
  Loop loop_;
};

}  // namespace trama::control
