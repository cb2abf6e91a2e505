// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/localhost_ports.h"

#include <algorithm>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/write.hpp>

#include "base/async/endpoint.h"

namespace trama::agent {

namespace asio = async::asio;
using asio::ip::tcp;
using asio::ip::udp;
using async::kTuple;
using base::Ip;
using base::IpPort;
using servicelb::Protocol;
using servicelb::ServiceKey;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kLargestDatagram = 65'536;

const Ip kLoopback4 = Ip::v4(127, 0, 0, 1);
const Ip kLoopback6 = Ip::parse("::1").value_or(Ip());

base::Error failed(const std::string& what, const boost::system::error_code& ec) { return {std::error_code(ec), what}; }

template <class Socket>
void shut(Socket& socket) {
  boost::system::error_code ignored;
  socket.close(ignored);
}

// The client sees that nobody was there, instead of a connection that ends politely.
void reset(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

}  // namespace

struct LocalhostPorts::Link {
  tcp::socket client, server;
  Clock::time_point deadline;
};

struct LocalhostPorts::Session {
  udp::socket upstream;
  udp::endpoint client;
  Clock::time_point deadline;
};

struct LocalhostPorts::Datagrams {
  udp::socket socket;
  std::map<udp::endpoint, std::shared_ptr<Session>> sessions;
};

// Listeners of one node port.
struct LocalhostPorts::Port {
  Name name;
  Targets targets;
  std::vector<std::shared_ptr<tcp::acceptor>> acceptors;
  std::vector<std::shared_ptr<Datagrams>> datagrams;

  // A client of ::1 gets the Service's IPv6 address if there is one: what it sees is the same anyway.
  IpPort target(bool v6) const {
    for (const auto& t : targets)
      if (t.ip.is_v4() != v6) return t;
    return targets.front();
  }
};

LocalhostPorts::LocalhostPorts(asio::any_io_executor ex, Options options,
                               std::function<void(const std::string&)> on_failure)
    : ex_(ex), options_(options), failed_(std::move(on_failure)), wake_(ex), tasks_(ex), scratch_(kLargestDatagram) {}
LocalhostPorts::~LocalhostPorts() = default;

void LocalhostPorts::set(const ServiceKey& key, const servicelb::Service* service) {
  std::map<Name, Targets> ports;
  if (service) {
    for (const auto& p : service->ports) {
      if (p.node_port == 0 || p.protocol == Protocol::sctp || service->cluster_ips.empty()) continue;
      auto& targets = ports[{p.protocol, p.node_port}];
      for (const auto& ip : service->cluster_ips) targets.push_back({ip, p.port});
    }
  }
  auto known = wanted_.find(key);
  if (known == wanted_.end() ? ports.empty() : known->second == ports) return;
  if (ports.empty())
    wanted_.erase(known);
  else
    wanted_[key] = std::move(ports);
  wake_.set();
}

std::vector<std::string> LocalhostPorts::failures() const {
  std::vector<std::string> out;
  for (const auto& [name, line] : failures_) out.push_back(line);
  return out;
}

awaitable<void> LocalhostPorts::run() {
  tasks_.spawn("idle localhost connections", sweep());
  for (;;) {
    if (failures_.empty())
      co_await wake_.wait();
    else
      (void)co_await wake_.wait_for(options_.retry);
    reconcile();
  }
}

awaitable<void> LocalhostPorts::stop() {
  for (auto& [name, port] : open_) close(*port);
  open_.clear();
  co_await tasks_.stop();
}

void LocalhostPorts::reconcile() {
  std::map<Name, std::pair<ServiceKey, Targets>> all;  // the first Service keeps a port that two claim
  for (const auto& [key, ports] : wanted_)
    for (const auto& [name, targets] : ports) all.try_emplace(name, key, targets);
  for (auto it = open_.begin(); it != open_.end();) {
    if (all.contains(it->first)) {
      ++it;
      continue;
    }
    close(*it->second);
    it = open_.erase(it);
  }
  for (auto it = failures_.begin(); it != failures_.end();)
    it = all.contains(it->first) ? std::next(it) : failures_.erase(it);
  for (auto& [name, service] : all) {
    if (auto known = open_.find(name); known != open_.end()) {
      known->second->targets = std::move(service.second);
      continue;
    }
    auto port = std::make_shared<Port>();
    port->name = name;
    port->targets = std::move(service.second);
    auto opened = open_all(port);
    if (opened) {
      failures_.erase(name);
      open_[name] = port;
      continue;
    }
    close(*port);
    auto line = fmt::format("{}: node port {}/{} on loopback: {}", service.first.to_string(), name.port,
                            servicelb::to_string(name.protocol), opened.error().to_string());
    auto& known = failures_[name];
    if (known != line && failed_) failed_(line);
    known = std::move(line);
  }
}

void LocalhostPorts::close(Port& port) {
  for (auto& acceptor : port.acceptors) shut(*acceptor);
  for (auto& at : port.datagrams) {
    shut(at->socket);
    for (auto& [client, session] : at->sessions) shut(session->upstream);
  }
}

base::Result<> LocalhostPorts::open_all(const std::shared_ptr<Port>& port) {
  if (auto v4 = open_on(port, kLoopback4); !v4) return v4;
  auto v6 = open_on(port, kLoopback6);
  bool absent = !v6 && (v6.error().is(std::errc::address_not_available) ||
                        v6.error().is(std::errc::address_family_not_supported));
  if (!v6 && !absent) return v6;
  for (std::size_t i = 0; i < port->acceptors.size(); ++i) tasks_.spawn("localhost port", accept(port, i));
  for (const auto& at : port->datagrams) tasks_.spawn("localhost port", receive(port, at));
  return {};
}

base::Result<> LocalhostPorts::open_on(const std::shared_ptr<Port>& port, const Ip& address) {
  boost::system::error_code ec;
  std::string what = "listen on " + IpPort{address, port->name.port}.to_string();
  if (port->name.protocol == Protocol::tcp) {
    auto where = async::endpoint_of<tcp>({address, port->name.port});
    auto acceptor = std::make_shared<tcp::acceptor>(ex_);
    acceptor->open(where.protocol(), ec);
    if (!ec) acceptor->set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor->bind(where, ec);
    if (!ec) acceptor->listen(128, ec);
    if (ec) return failed(what, ec);
    port->acceptors.push_back(std::move(acceptor));
    return {};
  }
  auto where = async::endpoint_of<udp>({address, port->name.port});
  udp::socket socket(ex_);
  socket.open(where.protocol(), ec);
  if (!ec) socket.bind(where, ec);
  if (!ec) socket.non_blocking(true, ec);
  if (ec) return failed(what, ec);
  port->datagrams.push_back(std::make_shared<Datagrams>(Datagrams{std::move(socket), {}}));
  return {};
}

// Closing a socket ends what its task awaits.
awaitable<void> LocalhostPorts::sweep() {
  for (;;) {
    co_await async::sleep_for(options_.sweep);
    auto now = Clock::now();
    for (const auto& link : links_) {
      if (link->deadline > now) continue;
      reset(link->client);
      shut(link->server);
    }
    for (const auto& [name, port] : open_)
      for (const auto& at : port->datagrams)
        for (const auto& [client, session] : at->sessions)
          if (session->deadline <= now) shut(session->upstream);
  }
}

awaitable<void> LocalhostPorts::accept(std::shared_ptr<Port> port, std::size_t index) {
  auto acceptor = port->acceptors[index];
  for (;;) {
    auto [ec, socket] = co_await acceptor->async_accept(kTuple);
    if (ec == asio::error::operation_aborted || !acceptor->is_open()) co_return;
    if (ec) {  // out of descriptors and the like: not our end
      co_await async::sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    if (links_.size() >= options_.connections) {
      reset(socket);
      continue;
    }
    auto where = acceptor->local_endpoint(ec);
    auto target = port->target(!ec && where.address().is_v6());
    auto link = std::make_shared<Link>(Link{std::move(socket), tcp::socket(ex_), Clock::now() + options_.connect});
    links_.insert(link);
    tasks_.spawn("localhost connection", carry(link, target));
  }
}

// Leaves the set of links however its task ends.
struct LocalhostPorts::LinkEntry {
  LocalhostPorts& owner;
  const std::shared_ptr<Link>& link;
  ~LinkEntry() { owner.links_.erase(link); }
};

awaitable<void> LocalhostPorts::carry(std::shared_ptr<Link> link, IpPort target) {
  using namespace asio::experimental::awaitable_operators;
  LinkEntry entry{*this, link};
  auto where = async::endpoint_of<tcp>(target);
  auto [ec] = co_await link->server.async_connect(where, kTuple);
  if (ec) {
    reset(link->client);
    co_return;
  }
  link->deadline = Clock::now() + options_.tcp_idle;
  auto up = pump(link, true);
  auto down = pump(link, false);
  auto both = std::move(up) && std::move(down);
  co_await std::move(both);
}

awaitable<void> LocalhostPorts::pump(std::shared_ptr<Link> link, bool upstream) {
  auto& from = upstream ? link->client : link->server;
  auto& to = upstream ? link->server : link->client;
  std::vector<char> buffer(16'384);
  for (;;) {
    auto [ec, n] = co_await from.async_read_some(asio::buffer(buffer), kTuple);
    if (ec == asio::error::eof) {  // the other direction may go on
      boost::system::error_code ignored;
      to.shutdown(tcp::socket::shutdown_send, ignored);
      co_return;
    }
    if (ec) break;
    link->deadline = Clock::now() + options_.tcp_idle;
    auto [broken, written] = co_await asio::async_write(to, asio::buffer(buffer.data(), n), kTuple);
    if (broken) break;
    link->deadline = Clock::now() + options_.tcp_idle;
  }
  reset(link->client);
  shut(link->server);
}

awaitable<void> LocalhostPorts::receive(std::shared_ptr<Port> port, std::shared_ptr<Datagrams> at) {
  for (;;) {
    auto [ec] = co_await at->socket.async_wait(udp::socket::wait_read, kTuple);
    if (ec || !at->socket.is_open()) co_return;
    udp::endpoint from;
    auto n = at->socket.receive_from(asio::buffer(scratch_), from, 0, ec);
    if (ec) continue;  // nothing there after all, or news of an earlier datagram
    auto known = at->sessions.find(from);
    std::shared_ptr<Session> session = known != at->sessions.end() ? known->second : nullptr;
    if (!session) {
      session = new_session(at, port->target(from.address().is_v6()));
      if (!session) continue;
      session->client = from;
      at->sessions[from] = session;
      ++sessions_;
      tasks_.spawn("localhost session", answers(at, session));
    }
    session->deadline = Clock::now() + options_.udp_idle;
    session->upstream.send(asio::buffer(scratch_.data(), n), 0, ec);  // no room: lost, as on any wire
  }
}

std::shared_ptr<LocalhostPorts::Session> LocalhostPorts::new_session(const std::shared_ptr<Datagrams>& at,
                                                                     const IpPort& target) {
  if (sessions_ >= options_.sessions || !at->socket.is_open()) return nullptr;
  boost::system::error_code ec;
  auto where = async::endpoint_of<udp>(target);
  udp::socket upstream(ex_);
  upstream.open(where.protocol(), ec);
  if (!ec) upstream.non_blocking(true, ec);
  if (!ec) upstream.connect(where, ec);
  if (ec) return nullptr;
  return std::make_shared<Session>(Session{std::move(upstream), {}, {}});
}

awaitable<void> LocalhostPorts::answers(std::shared_ptr<Datagrams> at, std::shared_ptr<Session> session) {
  struct Entry {
    LocalhostPorts& owner;
    Datagrams& at;
    udp::endpoint client;
    ~Entry() {
      at.sessions.erase(client);
      --owner.sessions_;
    }
  } entry{*this, *at, session->client};
  for (;;) {
    auto [ec] = co_await session->upstream.async_wait(udp::socket::wait_read, kTuple);
    if (ec || !session->upstream.is_open()) co_return;
    auto n = session->upstream.receive(asio::buffer(scratch_), 0, ec);
    if (ec == asio::error::would_block) continue;
    if (ec) co_return;  // refused: the next datagram begins anew
    session->deadline = Clock::now() + options_.udp_idle;
    at->socket.send_to(asio::buffer(scratch_.data(), n), session->client, 0, ec);
  }
}

}  // namespace trama::agent
