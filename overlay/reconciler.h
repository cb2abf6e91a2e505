// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps the kernel's overlay equal to what was last published, whoever changes it.
#pragma once

#include <functional>
#include <memory>

#include "base/async/reconcile.h"
#include "overlay/kernel.h"

namespace trama::overlay {

// One of our underlay addresses.
struct UplinkStatus {
  Ip address;
  std::optional<Uplink> link;        // that carries it
  unsigned mtu = 0, tunnel_mtu = 0;  // of packets through VXLAN and the tunnel over it; 0 = not known, or no tunnel
  friend bool operator==(const UplinkStatus&, const UplinkStatus&) = default;
};

// trama2, as peers must know it.
struct WireguardStatus {
  base::IfIndex link;
  base::WireguardKey key;  // public
  std::uint16_t port = 0;
  unsigned mtu = 0;
  friend bool operator==(const WireguardStatus&, const WireguardStatus&) = default;
};

// How it stands after a pass; what the agent reports of the node.
struct Status {
  std::uint64_t generation = 0;  // of the desired state that the pass worked on
  bool in_sync = false;          // everything of it is in the kernel
  Mode mode = Mode::nexthop;
  unsigned mtu = 0;                          // what pods should have; 0 without an overlay
  unsigned vxlan_mtu = 0;                    // of packets through VXLAN
  unsigned tunnel_mtu = 0;                   // of packets through the tunnel; 0 = its device does not stand
  unsigned direct_mtu = 0;                   // of packets by plain routes; 0 = there are none
  std::optional<WireguardStatus> wireguard;  // where it carries packets
  std::string no_wireguard;                  // why it never will here; "" = it may
  std::optional<Uplink> plain_link;          // that those lead over
  std::string uplink;                        // the link that carries our underlay address; empty = none does
  std::vector<UplinkStatus> uplinks;         // all of them that are used, the first one first
  unsigned rp_filter = 0;                    // effective on trama0: 0 off, 1 strict, 2 loose
  std::size_t peers = 0;                     // programmed ones
  std::size_t operations = 0;                // that the pass applied
  std::vector<std::string> problems;         // readable lines: refused peers, failed steps
};

// Runs on one executor (the agent's brain); blocking work goes to `worker`, whose thread must be in the namespace that
// the kernel port was opened in, and so must the thread that calls run(). Everything outlives run().
class Reconciler {
 public:
  using OnStatus = std::function<void(const Status&)>;
  struct Options {
    std::chrono::milliseconds refresh{30'000};      // looks even if nothing wakes it
    std::chrono::milliseconds settle{5};            // bursts of events become one pass
    std::chrono::milliseconds guard_poll{50};       // how often foreign changes of the packet filter are asked for
    std::chrono::milliseconds wireguard_poll{300};  // and those of trama2's keys and peers
  };
  Reconciler(async::Latest<Desired>& want, Kernel& kernel, async::asio::any_io_executor worker, Options options,
             OnStatus on_status);
  ~Reconciler();

  // Until cancelled. Stopping removes nothing: to remove the overlay, publish a default-constructed Desired first and
  // wait for its generation.
  async::awaitable<void> run();
  void wake();
  // The packet filter's generation has moved: ask now whose doing it was, not only at the next guard_poll.
  void filter_moved();
  std::uint64_t reconciled_generation() const;
  std::uint64_t passes() const;
  const std::vector<std::string>& last_plan() const;

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace trama::overlay
