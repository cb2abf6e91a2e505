// SPDX-License-Identifier: GPL-2.0-or-later
// The port between what links shall do and who makes them do it: the kernel (netem) or a relay of ours.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/links/carrier.h"
#include "cli/links/state.h"

namespace trama::cli {

// The switch of a lab, as far as links are concerned.
struct LinkPlace {
  struct Node {
    std::string name, port;  // port: its link's name on the switch
    base::Mac mac;           // of its eth0
    std::string netns_path;
  };
  std::string bridge = "switch";
  base::Mac bridge_mac;
  std::vector<Node> nodes;
};

// Used from the namespace of the switch, by one thread.
class LinkBackend {
 public:
  virtual ~LinkBackend() = default;
  virtual std::string name() const = 0;
  // Makes the links what the rules say from `now` on; what no rule speaks of is as if this object did not exist. Called
  // again whenever rules change or a flapping link turns.
  virtual base::Result<> apply(const std::vector<LinkRule>& rules, Nanoseconds now) = 0;
  // Descriptors that step() wants to hear of, and when it must be called at the latest.
  virtual std::vector<int> descriptors() const { return {}; }
  virtual std::optional<Nanoseconds> next() const { return std::nullopt; }
  virtual base::Result<> step(Nanoseconds) { return {}; }
  virtual base::Result<std::vector<Carrier::Count>> counts() = 0;
};

// Frames are carried by this process. When it ends, however it ends, every link is whole at once: the kernel takes the
// rules that hold frames back away with the socket that made them.
base::Result<std::unique_ptr<LinkBackend>> open_relay(LinkPlace place, std::uint64_t seed);
// The kernel's own. EOPNOTSUPP when it lacks something, by name.
base::Result<std::unique_ptr<LinkBackend>> open_netem(LinkPlace place);

}  // namespace trama::cli
