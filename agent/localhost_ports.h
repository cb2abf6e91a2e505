// SPDX-License-Identifier: GPL-2.0-or-later
// Node ports on the loopback addresses. The kernel does not send there what it rewrites (route_localnet would open
// loopback services to the network), so a small proxy listens on 127.0.0.1 and ::1 and connects to the ClusterIP.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "base/ip.h"
#include "base/log.h"
#include "servicelb/model.h"

namespace trama::agent {

using async::awaitable;

// TCP and UDP; SCTP is left out. A port that cannot be opened is named, tried again, and hurts no other. A machine
// without ::1 has 127.0.0.1 only. Everything on one executor; every connection is a task of this object.
class LocalhostPorts {
 public:
  struct Options {
    std::size_t connections = 1024;            // TCP, over all ports; more are reset at once
    std::size_t sessions = 1024;               // UDP clients, over all ports; datagrams of more are dropped
    std::chrono::milliseconds connect{5'000};  // until the Service must have answered
    std::chrono::milliseconds tcp_idle{3'600'000}, udp_idle{60'000};  // without a byte in either direction
    std::chrono::milliseconds retry{5'000};                           // of ports that could not be opened
    std::chrono::milliseconds sweep{1'000};                           // how often idle ones are looked for
  };
  // `failed`: a line for the log, said once per port and reason.
  LocalhostPorts(async::asio::any_io_executor ex, Options options, std::function<void(const std::string&)> failed);
  ~LocalhostPorts();

  // What this Service has now; nullptr = nothing. Cheap; open connections go on to where they go.
  void set(const servicelb::ServiceKey& key, const servicelb::Service* service);
  std::vector<std::string> failures() const;
  std::size_t open() const { return open_.size(); }  // ports, each on up to two addresses
  std::size_t connections() const { return links_.size(); }
  std::size_t sessions() const { return sessions_; }

  // Opens and closes ports until cancelled; then stop() ends everything.
  awaitable<void> run();
  awaitable<void> stop();

 private:
  struct Name {
    servicelb::Protocol protocol = servicelb::Protocol::tcp;
    std::uint16_t port = 0;
    friend auto operator<=>(const Name&, const Name&) = default;
  };
  using Targets = std::vector<base::IpPort>;  // the same port of the Service, one per family
  struct Port;
  struct Link;
  struct Session;
  struct Datagrams;
  struct LinkEntry;

  void reconcile();
  void close(Port& port);
  base::Result<> open_on(const std::shared_ptr<Port>& port, const base::Ip& address);
  base::Result<> open_all(const std::shared_ptr<Port>& port);
  awaitable<void> sweep();
  awaitable<void> accept(std::shared_ptr<Port> port, std::size_t index);
  awaitable<void> carry(std::shared_ptr<Link> link, base::IpPort target);
  awaitable<void> pump(std::shared_ptr<Link> link, bool upstream);
  awaitable<void> receive(std::shared_ptr<Port> port, std::shared_ptr<Datagrams> at);
  awaitable<void> answers(std::shared_ptr<Datagrams> at, std::shared_ptr<Session> session);
  std::shared_ptr<Session> new_session(const std::shared_ptr<Datagrams>& at, const base::IpPort& target);

  async::asio::any_io_executor ex_;
  Options options_;
  std::function<void(const std::string&)> failed_;
  async::Event wake_;
  async::TaskGroup tasks_;
  std::map<servicelb::ServiceKey, std::map<Name, Targets>> wanted_;
  std::map<Name, std::shared_ptr<Port>> open_;
  std::map<Name, std::string> failures_;
  std::set<std::shared_ptr<Link>> links_;
  std::size_t sessions_ = 0;
  std::vector<char> scratch_;  // one datagram; nobody awaits while it is in use
};

}  // namespace trama::agent
