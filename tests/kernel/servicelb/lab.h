// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/ip.h"
#include "base/unique_fd.h"
#include "servicelb/model.h"
#include "tests/support/private_netns.h"

namespace trama::test {

// One node, some pods behind it and a machine outside, each a network namespace, both families:
//   pod i:   10.244.<i>.2      fd00:244:<i>::2    (i from 1)   behind the node
//   node:    192.168.50.1      fd00:50::1         towards
//   outside: 192.168.50.2      fd00:50::2         which routes 10.96.0.0/16 and fd00:96::/112 to the node
// Every pod answers TCP and UDP on port 8080 with "<pod> <address it sees>".
class ServiceLab {
 public:
  explicit ServiceLab(int pods);
  ~ServiceLab();

  PrivateNetns& node() { return node_; }
  PrivateNetns& outside() { return outside_; }
  PrivateNetns& pod(int i) { return *pods_.at(static_cast<std::size_t>(i - 1)); }
  static servicelb::Endpoint endpoint(int pod, bool v6 = false);
  servicelb::NodeFacts facts() const;

  // One connection or datagram from there to address:port. The answer, "refused", "timeout" or the error's text.
  // source_port 0 = a fresh one.
  static std::string ask(const PrivateNetns& from, servicelb::Protocol protocol, const base::IpPort& to,
                         int timeout_ms = 1000, std::uint16_t source_port = 0);
  // As ask(), with a socket of the caller's: to keep a UDP flow.
  static base::UniqueFd udp_socket(const PrivateNetns& from, const base::IpPort& to);
  static std::string ask_again(int udp_fd, int timeout_ms = 1000);

 private:
  void serve();
  PrivateNetns node_, outside_;
  std::vector<std::unique_ptr<PrivateNetns>> pods_;
  struct Listener {
    base::UniqueFd tcp, udp;
  };
  std::vector<Listener> listeners_;
  std::atomic<bool> stop_{false};
  std::thread server_;
};

}  // namespace trama::test
