// SPDX-License-Identifier: GPL-2.0-or-later
// What a Service asks for in trama's own annotations. Read by the API server, which refuses mistakes, and by the agent,
// which serves the rest of a Service that got past another server. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "control/api/object.h"

namespace trama::api {

// The address of a range of ClusterIPs at which DNS is answered unless somebody says otherwise, as kubeadm has it:
// agents answer there, and the controller gives it only to who asks for it. A count from the range's own address.
constexpr std::uint64_t kDnsHost = 10;

// How an endpoint is chosen for a new connection.
enum class Balancing : std::uint8_t { random, round_robin, source_hash, maglev };

struct ServiceOptions {
  Balancing algorithm = Balancing::random;                    // trama.dev/algorithm: maglev
  std::map<std::string, std::uint32_t, std::less<>> weights;  // trama.dev/weights: "web-1=3,10.244.1.7=0"
  std::chrono::seconds slow_start{0};                         // trama.dev/slow-start: 30s
  std::optional<std::chrono::seconds> drain;                  // trama.dev/drain: 30s; nothing = no bound
  bool counters = false;                                      // trama.dev/counters: "true"
};

// A value that cannot be used: that option keeps its default, the others are read.
struct OptionFault {
  std::string annotation, value;
  std::string why;  // what is expected: "must be one of random, round-robin, source-hash, maglev"
};

struct ReadOptions {
  ServiceOptions options;
  std::vector<OptionFault> faults;
};

// Unknown annotations are somebody else's. `annotations` is metadata.annotations; values that are no text are faults.
ReadOptions read_service_options(const json::object& annotations);

// "30s", "5m", "1h30m", "0s": units h, m, s in this order, each at most once; at most a day. Nothing else.
std::optional<std::chrono::seconds> parse_whole_seconds(std::string_view text);

// An entry of loadBalancerSourceRanges as kube-proxy reads it: blanks around it and bits below the prefix do not count.
std::optional<base::Cidr> parse_source_range(std::string_view text);

}  // namespace trama::api
