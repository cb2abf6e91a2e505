// SPDX-License-Identifier: GPL-2.0-or-later
// `trama probe`: asks an echo server (or any HTTP, TCP or UDP server) many times and tells who answered.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/echo/socket.h"

namespace trama::cli {

enum class ProbeProtocol { http, tcp, udp };

struct ProbeTarget {
  ProbeProtocol protocol = ProbeProtocol::http;
  HostPort where;
  std::string path = "/";
  std::string host_header;
};
// "http://web/slow?ms=5", "web:8080" (HTTP), "tcp://web:7", "udp://web:7" (also "tcp:web:7").
base::Result<ProbeTarget> parse_probe_target(std::string_view text);

struct ProbeOptions {
  ProbeTarget target;
  unsigned count = 1;                        // requests in all; with a duration: no limit
  unsigned concurrency = 1;                  // 1..512 workers
  std::chrono::milliseconds timeout{2'000};  // of one request, the connection included
  std::chrono::milliseconds interval{0};     // pause of each worker between two requests
  std::chrono::milliseconds duration{0};     // instead of a count
  bool keep_alive = false;                   // HTTP: one connection per worker instead of one per request
};

struct ProbeReport {
  std::uint64_t answers = 0;
  std::uint64_t failures = 0;
  std::map<std::string, std::uint64_t> by_pod;      // "" = an answer that names no pod
  std::map<std::string, std::uint64_t> by_failure;  // sentence -> how often
  std::vector<std::uint32_t> microseconds;          // of each answer, sorted
  std::chrono::milliseconds elapsed{0};
  std::chrono::milliseconds longest_gap{0};  // between two answers: how long the target was away
  std::string last_answer;

  std::uint32_t percentile(double p) const;  // 0..100; 0 without answers
  std::string to_text() const;
  std::string to_json() const;
};

// An answer counts when it came in time and, for HTTP, has a status below 400. `stop` ends it early.
ProbeReport run_probe(const ProbeOptions& options, const std::atomic<bool>& stop);

}  // namespace trama::cli
