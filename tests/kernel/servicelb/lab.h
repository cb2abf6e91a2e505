// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
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
//   outside: 192.168.50.2      fd00:50::2         which routes 10.96.0.0/16, fd00:96::/112 and the external addresses
//            203.0.113.0/24    2001:db8:1::/64    to the node, and has every address of
//            198.51.100.0/24   2001:db8:7::/64    to send from
// Every pod answers TCP and UDP on port 8080 with "<pod> <address it sees>": a connection at once and to every message.
// Pods 1 and 2 are on the node, which calls itself "here", in zone "z1"; the services are told that the others are not.
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
  // source: the address to send from, if not the usual one.
  static std::string ask(const PrivateNetns& from, servicelb::Protocol protocol, const base::IpPort& to,
                         int timeout_ms = 1000, const std::optional<base::Ip>& source = {});
  // The same in the namespace of the calling thread: for many in a row. source_port 0 = any.
  static std::string ask_here(servicelb::Protocol protocol, const base::IpPort& to, int timeout_ms = 1000,
                              const std::optional<base::Ip>& source = {}, std::uint16_t source_port = 0);
  // As ask(), with a socket of the caller's: to keep a flow. Throws when it cannot be opened.
  static base::UniqueFd udp_socket(const PrivateNetns& from, const base::IpPort& to);
  static base::UniqueFd connection(const PrivateNetns& from, const base::IpPort& to);  // the first answer is read
  static std::string ask_again(int fd, int timeout_ms = 1000);

 private:
  void serve();
  void answer(std::size_t listener);
  void forget(int connection);
  PrivateNetns node_, outside_;
  std::vector<std::unique_ptr<PrivateNetns>> pods_;
  struct Listener {
    base::UniqueFd tcp, udp;
  };
  std::vector<Listener> listeners_;
  base::UniqueFd epoll_;
  std::map<int, std::pair<base::UniqueFd, std::string>> connections_;  // touched by server_ alone
  std::atomic<bool> stop_{false};
  std::thread server_;
};

}  // namespace trama::test
