// SPDX-License-Identifier: GPL-2.0-or-later
// Why nodes will not do, in upstream's words, and what could change that. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/api/types.h"

namespace trama::control {

// In the order in which they are looked for; only the resources can be several at a time.
enum class Reason : std::uint8_t {
  cordoned,
  taint,
  node_affinity,
  host_ports,
  too_many_pods,
  cpu,
  memory,
  spread_label,
  spread,
  pod_affinity,
  pod_anti_affinity,
  others_anti_affinity,
};
std::string_view words(Reason reason);  // but for a taint, which is named
using Reasons = std::uint32_t;          // a bit each
constexpr Reasons bit(Reason r) { return Reasons{1} << static_cast<unsigned>(r); }

// What one node says to one pod.
struct Verdict {
  Reasons reasons = 0;                // none = the pod can run there
  const api::Taint* taint = nullptr;  // with Reason::taint: the first one
  bool hopeless = false;              // no pod that goes from there could help
  explicit operator bool() const { return reasons == 0; }
};

// What happens in a cluster that may let a pod fit which did not.
enum Change : std::uint32_t {
  node_came = 1,
  node_went = 2,
  node_labels = 4,
  node_taints = 8,
  node_uncordoned = 16,
  node_size = 32,
  pod_placed = 64,
  pod_went = 128,  // or is on its way out, or has other labels
  namespace_labels = 256,
};
using Changes = std::uint32_t;
Changes that_help(Reasons reasons);

// Of all nodes that will not do.
class Refusals {
 public:
  // `lower` = pods of lower priority run there.
  void add(const Verdict& verdict, bool lower);
  Reasons reasons() const { return all_; }
  // "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: …".
  std::string text(std::size_t nodes, bool never_preempts) const;

 private:
  std::map<std::string, std::size_t> count_;
  std::size_t hopeless_ = 0, no_victims_ = 0, victims_ = 0;
  Reasons all_ = 0;
};

}  // namespace trama::control
