// SPDX-License-Identifier: GPL-2.0-or-later
// A few nodes with one pod each, joined by a switch: all of them network namespaces of this process.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/nft/session.h"
#include "base/unique_fd.h"
#include "overlay/kernel_linux.h"
#include "tests/support/private_netns.h"
#include "tests/unit/overlay/worlds.h"

namespace trama::overlay::test {

using trama::test::PrivateNetns;

// A namespace on the switch with link eth0.
class Host {
 public:
  Host(const PrivateNetns& fabric, const std::string& port, const std::vector<std::string>& addresses);
  const PrivateNetns& netns() const { return netns_; }
  // Fails the test when the command fails; returns what it printed.
  std::string shell(const std::string& command) const;

 private:
  PrivateNetns netns_;
};

// A node: a host with an overlay and a pod (10.244.n.5, fd00:244:n::5) behind a point-to-point veth.
class Node {
 public:
  Node(const PrivateNetns& fabric, unsigned number, const Desired& desired, std::optional<Mode> mode);
  // Applies plans until nothing is left to do; the steps taken, or fails the test.
  std::size_t converge();
  // The text of what is left to do.
  std::string outstanding();
  std::vector<std::string> apply();  // one plan; the errors
  Observed observe();
  // As if the agent had been restarted: nothing is remembered.
  void restart();

  Host host;
  PrivateNetns pod;
  Desired desired;
  Ip pod4() const;
  Ip pod6() const;
  // "counter packets N" of the guard rule with that comment.
  std::uint64_t counted(const std::string& comment) const;

 private:
  void make_pod(unsigned mtu);
  unsigned number_;
  std::optional<Mode> mode_;
  std::optional<nft::Session> session_;
  std::unique_ptr<KernelLinux> kernel_;
};

struct Lab {
  Lab(unsigned nodes, std::optional<Mode> mode, Family underlay = Family::v4);
  void converge();
  // Each node gets eth1, on a switch of its own, "sw2", with 172.30.0.n or fd79::n. Announced at both ends.
  void add_uplink(unsigned mtu = 1500);
  Node& operator[](unsigned number) { return *nodes.at(number); }

  PrivateNetns fabric;
  std::map<unsigned, std::unique_ptr<Node>> nodes;  // from 1
};

// ---- traffic between namespaces: sockets belong to the namespace they are made in ---------------------------------

class Socket {
 public:
  // Bound to `address`, or to any with port 0 when there is none. type: SOCK_DGRAM or SOCK_STREAM.
  Socket(const PrivateNetns& in, Family family, int type, std::optional<base::IpPort> address = {});
  std::uint16_t port() const;
  bool connect_to(const base::IpPort& to) const;
  bool send_to(const base::IpPort& to, const std::string& data) const;
  // The next datagram and its sender; nothing when none comes in time.
  std::optional<std::pair<std::string, base::IpPort>> receive(int milliseconds = 2000) const;
  int fd() const { return fd_.get(); }

 private:
  base::UniqueFd fd_;
};

// One datagram of `size` bytes there and back; what was lost, or "".
std::string udp_round_trip(const PrivateNetns& from, const PrivateNetns& to, const Ip& address, std::size_t size,
                           int milliseconds = 2000);
// `bytes` bytes over a new connection, checked; what went wrong, or "".
std::string tcp_transfer(const PrivateNetns& from, const PrivateNetns& to, const Ip& address, std::size_t bytes);

// A TCP connection between two pods, opened once.
class Conversation {
 public:
  Conversation(const Node& from, const Node& to);
  // What went wrong, or "".
  std::string say(const std::string& text);

 private:
  Socket server_, client_;
  base::UniqueFd accepted_;
};

}  // namespace trama::overlay::test
