// SPDX-License-Identifier: GPL-2.0-or-later
// Readiness and liveness probes: what to ask, when to ask again, and what the answers mean. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "control/api/object.h"

namespace trama::agent {

namespace json = boost::json;
using std::chrono::milliseconds;

enum class ProbeKind { readiness, liveness, startup };
const char* to_string(ProbeKind kind);

struct ProbeAction {
  enum class Type { tcp, http, exec } type = Type::tcp;
  std::uint16_t port = 0;
  std::string host;        // "" = the pod's address
  std::string path = "/";  // http
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::string> command;  // exec
  friend bool operator==(const ProbeAction&, const ProbeAction&) = default;
};

struct ProbeSpec {
  ProbeKind kind = ProbeKind::readiness;
  ProbeAction action;
  milliseconds initial_delay{0}, period{10'000}, timeout{1'000};
  int success_threshold = 1, failure_threshold = 3;
  friend bool operator==(const ProbeSpec&, const ProbeSpec&) = default;
};

// The probes of one container. A probe that trama cannot carry out (grpc, httpGet with HTTPS) is not in the list but
// named in `refused`.
std::vector<ProbeSpec> parse_probes(const json::object& container, std::vector<std::string>& refused);

// One probe of one run of one container: from its start until it ends or the agent restarts.
//
// A container that has not been ready yet is asked every kEager for the first kEagerFor after its start (plus its
// initial delay), so that a lab is up when its processes are; after that in its own period.
class ProbeState {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr milliseconds kEager{50};
  static constexpr milliseconds kEagerFor{3'000};

  ProbeState(ProbeSpec spec, Time started)
      : spec_(std::move(spec)), started_(started), next_(started + spec_.initial_delay) {}

  const ProbeSpec& spec() const { return spec_; }
  // When to ask next; the past means now.
  Time next() const { return next_; }
  enum class Verdict { unknown, success, failure };
  // Upstream's starting points: readiness fails, liveness succeeds, startup is unknown.
  bool passing() const;
  // The verdict after this answer. A verdict changes only when a threshold is reached.
  Verdict answered(bool ok, Time now);
  Verdict verdict() const { return verdict_; }

 private:
  ProbeSpec spec_;
  Time started_, next_;
  Verdict verdict_ = Verdict::unknown;
  bool last_ = false;
  int streak_ = 0;
};

}  // namespace trama::agent
