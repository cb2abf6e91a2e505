// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/tunnel.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include <netinet/in.h>
#include <netinet/udp.h>

#include "base/log.h"
#include "base/sockaddr.h"
#include "overlay/tunnel/tun_device.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace trama::overlay::tunnel {

namespace {

constexpr unsigned kMostWorkers = 4;
constexpr int kBuffer = 8 << 20;

// The kernel's limit does not bind root.
void enlarge(int fd, int forced, int usual) {
  if (::setsockopt(fd, SOL_SOCKET, forced, &kBuffer, sizeof kBuffer) < 0)
    (void)::setsockopt(fd, SOL_SOCKET, usual, &kBuffer, sizeof kBuffer);
}

Tables::Range range_of(const base::Cidr& cidr, std::uint32_t target) {
  Tables::Range r;
  std::memcpy(r.first.data(), cidr.address().bytes().data(), cidr.address().size());
  auto last = cidr.last();
  std::memcpy(r.last.data(), last.bytes().data(), last.size());
  r.target = target;
  return r;
}

}  // namespace

Tunnel::Tunnel(Options options) : options_(std::move(options)) {
  if (options_.workers == 0) options_.workers = std::clamp(std::thread::hardware_concurrency(), 1u, kMostWorkers);
}

Tunnel::~Tunnel() = default;

std::shared_ptr<Session> Tunnel::session_with(const std::string& node) const {
  auto index = sealing_.find(node);
  auto session = index == sealing_.end() ? sessions_.end() : sessions_.find(index->second);
  return session == sessions_.end() ? nullptr : session->second;
}

void Tunnel::publish() {
  auto tables = std::make_shared<Tables>();
  std::map<std::string, std::uint32_t> numbers;
  for (const auto& p : peers_) {
    auto number = static_cast<std::uint32_t>(tables->targets.size());
    numbers.emplace(p.node, number);
    tables->by_number.emplace(node_number(p.node), number);
    Target t;
    t.node = p.node;
    t.to_size = base::to_sockaddr(p.endpoint, t.to);
    t.uplink = p.uplink;
    for (const auto& c : p.pods) {
      t.pods.emplace_back(c);
      (c.family() == base::Family::v4 ? tables->ranges4 : tables->ranges6).push_back(range_of(c, number));
    }
    t.sealing = session_with(p.node);
    tables->targets.push_back(std::move(t));
  }
  for (const auto& p : peers_)
    if (auto via = numbers.find(p.via); via != numbers.end())
      tables->targets[numbers.at(p.node)].via = static_cast<std::int32_t>(via->second);
  tables->relays = relaying_;
  for (auto* ranges : {&tables->ranges4, &tables->ranges6})
    std::sort(ranges->begin(), ranges->end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [index, session] : sessions_)
    if (auto number = numbers.find(session->node()); number != numbers.end())
      tables->by_index.emplace(index, Tables::Receiving{session, number->second});
  tables->devices = devices_;
  tables->sockets = sockets_;
  tables->workers = options_.workers;
  board_.publish(std::move(tables));
  for (const auto& w : workers_) w->wake();
}

void Tunnel::use_sockets(std::vector<base::UniqueFd> sockets, OnStray stray) {
  sockets_.clear();
  for (auto& fd : sockets) {
    int on = 1;
    (void)::setsockopt(fd.get(), SOL_UDP, UDP_GRO, &on, sizeof on);
    enlarge(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF);
    enlarge(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF);
    timeval longest{0, 100'000};  // behind a card that takes nothing
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
    sockets_.push_back(std::make_shared<const base::UniqueFd>(std::move(fd)));
  }
  if (sockets_.empty()) {
    workers_.clear();  // nobody calls `stray` any more
    publish();
    return;
  }
  workers_.clear();
  publish();
  for (unsigned i = 0; i < options_.workers; ++i)
    workers_.push_back(std::make_unique<Worker>(i, board_, counters_, stray, relayed_));
}

void Tunnel::set_relaying(bool on) {
  if (std::exchange(relaying_, on) != on) publish();
}

bool Tunnel::send_relayed(const std::string& via, const std::string& to, std::string_view datagram) {
  auto session = session_with(via);
  auto peer = std::find_if(peers_.begin(), peers_.end(), [&](const Peer& p) { return p.node == via; });
  if (!session || peer == peers_.end() || sockets_.empty()) return false;
  std::vector<std::byte> out(kHeaderSize + kEnvelopeSize + datagram.size() + kTagSize);
  put_envelope(out.data() + kHeaderSize, 1, node_number(to));
  std::memcpy(out.data() + kHeaderSize + kEnvelopeSize, datagram.data(), datagram.size());
  if (!session->seal_for_mesh(out.data(), kEnvelopeSize + datagram.size(), kRelayType)) return false;
  sockaddr_storage where;
  auto size = base::to_sockaddr(peer->endpoint, where);
  auto first = peer->uplink * options_.workers;
  return ::sendto(sockets_[first < sockets_.size() ? first : 0]->get(), out.data(), out.size(),
                  MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&where), size) >= 0;
}

void Tunnel::set_peers(std::vector<Peer> peers) {
  if (peers == peers_) return;
  peers_ = std::move(peers);
  publish();
}

base::Result<> Tunnel::open(const Keys& keys) {
  auto session = Session::make(keys, options_.workers);
  if (!session) return std::move(session).error();
  sessions_[keys.my_index] = std::move(*session);
  publish();
  return {};
}

void Tunnel::seal_with(std::uint32_t my_index) {
  auto session = sessions_.find(my_index);
  if (session == sessions_.end()) return;
  auto& current = sealing_[session->second->node()];
  if (current == my_index) return;
  current = my_index;
  publish();
}

void Tunnel::close(std::uint32_t my_index) {
  auto session = sessions_.find(my_index);
  if (session == sessions_.end()) return;
  if (auto s = sealing_.find(session->second->node()); s != sealing_.end() && s->second == my_index) sealing_.erase(s);
  sessions_.erase(session);
  publish();
}

std::uint64_t Tunnel::sealed(std::uint32_t my_index) const {
  auto session = sessions_.find(my_index);
  return session == sessions_.end() ? 0 : session->second->busiest();
}

void Tunnel::tick() {
  bool lost = std::any_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->device_lost(); });
  if (!devices_.empty() && !lost) return;
  if (lost) {
    devices_.clear();
    publish();
  }
  auto queues = attach_tun(options_.device, options_.workers);
  if (!queues) {
    auto why = queues.error().is(std::errc::no_such_device) ? fmt::format("{} does not stand yet", options_.device)
                                                            : queues.error().to_string();
    if (why != trouble_ && !queues.error().is(std::errc::no_such_device))
      base::logger("tunnel")->warn("{}; trying again", why);
    trouble_ = std::move(why);
    return;
  }
  trouble_.clear();
  for (auto& fd : *queues) devices_.push_back(std::make_shared<const base::UniqueFd>(std::move(fd)));
  publish();
}

std::string Tunnel::trouble() const { return trouble_; }

peers::TunnelTraffic Tunnel::traffic() const {
  peers::TunnelTraffic s;
  auto read = [](const std::atomic<std::uint64_t>& c) { return c.load(std::memory_order_relaxed); };
  s.sent_packets = read(counters_.sent_packets);
  s.sent_bytes = read(counters_.sent_bytes);
  s.received_packets = read(counters_.received_packets);
  s.received_bytes = read(counters_.received_bytes);
  s.no_peer = read(counters_.no_peer);
  s.no_session = read(counters_.no_session);
  s.not_sent = read(counters_.not_sent);
  s.forged = read(counters_.forged);
  s.replayed = read(counters_.replayed);
  s.malformed = read(counters_.malformed);
  s.wrong_source = read(counters_.wrong_source);
  s.not_delivered = read(counters_.not_delivered);
  s.relayed_packets = read(counters_.relayed_packets);
  s.relayed_bytes = read(counters_.relayed_bytes);
  s.relay_refused = read(counters_.relay_refused);
  s.relay_limited = read(counters_.relay_limited);
  return s;
}

}  // namespace trama::overlay::tunnel
