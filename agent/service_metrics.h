// SPDX-License-Identifier: GPL-2.0-or-later
// What became of each change of a Service, and how long it took; kube-proxy's metrics and our own. Pure: told the time.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/compute/services.h"
#include "agent/metrics_text.h"
#include "base/timestamp.h"

namespace trama::agent {

// A change that servicelb has been told of.
struct ToldChange {
  std::uint64_t generation = 0;
  bool service = false, endpoints = false;   // what it is about; neither = the node's circumstances
  std::optional<base::Timestamp> triggered;  // when the endpoints changed, as their slices tell; news only
};

// What one pass of servicelb reported.
struct ServicePass {
  std::uint64_t generation = 0;  // everything up to here is in the kernel
  std::size_t operations = 0;
  bool healed = false, failed = false;
  std::chrono::nanoseconds took{0};
  std::size_t elements = 0;  // in the kernel
};
// New connections that an endpoint has got.
struct CountedEndpoint {
  std::string ns, service, port, protocol, endpoint, pod;
  std::uint64_t connections = 0;
};

class ServiceMetrics {
 public:
  struct Now {
    std::chrono::steady_clock::time_point steady;
    base::Timestamp wall;
  };
  // Totals that are true at the moment of asking.
  struct Totals {
    std::uint64_t services = 0, ports = 0, endpoints = 0;
    NoLocalEndpoints no_local;
  };
  explicit ServiceMetrics(Now started);

  void told(const ToldChange& change, Now now);
  void passed(const ServicePass& pass, Now now);
  // A health page was answered with this status.
  void answered(bool livez, int code) { ++(livez ? livez_ : healthz_)[code]; }

  // When the oldest change that is not in the kernel yet was told.
  std::optional<std::chrono::steady_clock::time_point> oldest_pending() const;
  // When everything that had been told was last seen to be in the kernel, or the start.
  base::Timestamp updated() const { return updated_; }

  std::string text(const Totals& totals, const std::vector<CountedEndpoint>& counted = {}) const;

 private:
  struct Pending {
    ToldChange change;
    Now since;
  };
  std::deque<Pending> pending_;
  base::Timestamp started_, updated_;
  std::size_t elements_ = 0;
  std::optional<base::Timestamp> last_queued_, last_synced_;
  bool failing_ = false;
  std::uint64_t service_changes_ = 0, endpoint_changes_ = 0;
  std::uint64_t service_pending_ = 0, endpoint_pending_ = 0;
  std::uint64_t passes_ = 0, failures_ = 0, retries_ = 0, heals_ = 0, operations_ = 0;
  std::map<int, std::uint64_t> healthz_{{200, 0}, {503, 0}}, livez_{{200, 0}, {503, 0}};
  Histogram sync_, latency_, programming_;
};

}  // namespace trama::agent
