// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "control/loops/label_index.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

// Keeps the EndpointSlices of all Services that have a selector. Slices of other managers are never touched.
class EndpointSliceLoop {
 public:
  EndpointSliceLoop(async::asio::any_io_executor ex, store::Store& store,
                    std::uint64_t seed = std::random_device{}());  // names of created objects depend on it
  Loop& loop() { return loop_; }

 private:
  void service_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  void slice_seen(const store::Event& e);
  void pod_touched(const std::string& ns, const Labels& labels, const std::string& trigger);
  void touch(const std::string& key, const std::string& trigger);
  awaitable<base::Result<>> handle(std::string key);

  store::Store& store_;
  LabelIndex pods_;
  LabelIndex services_;                                  // by the first label of their selectors
  std::map<std::string, std::set<std::string>> slices_;  // queue key -> names of the slices that we manage
  std::map<std::string, std::string> triggers_;          // queue key -> earliest change since the last pass
  std::mt19937_64 random_;
  Loop loop_;
};

}  // namespace trama::control
