// SPDX-License-Identifier: GPL-2.0-or-later
// A Mesh's third nodes: which one packets to a silent peer go over, what others are told about our own paths, and
// conversations that lead over a third node, as either end of them or as the one in the middle.
#include <algorithm>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/socket.h>

#include "overlay/mesh/mesh_impl.h"

namespace trama::overlay::mesh {

namespace {

constexpr Millis kLookedAt{10'000};  // that a third node is still looked at when it is not needed any more
constexpr Millis kSaid{15'000};      // that what a peer has said about its paths counts
constexpr Millis kAskSoon{1'000}, kAskNow{200}, kAskWhileWell{5'000}, kAskSeldom{30'000};
constexpr Millis kAskedFor{20'000};  // that we are ready to relay to whom we were asked for
constexpr Millis kSpliceAgain{2'000};
constexpr std::size_t kMostEnds = 64;
constexpr std::size_t kAskedFirst = 4;  // third nodes; twice as many each time that none of them reaches the peer

}  // namespace

bool Mesh::Impl::relays() const { return options.relay && talks() && tunnel_works(); }

bool Mesh::Impl::reached_directly(const PeerEntry& p) const {
  auto answers = [&](PathKind kind) { return peers::works(p.path(kind).liveness.state()) && !is_silent(p, kind); };
  if (must_encrypt(p) && answers(PathKind::wireguard)) return true;
  return answers(PathKind::control) || answers(PathKind::tunnel) || (!must_encrypt(p) && answers(PathKind::overlay));
}

// No path of its own carries packets to it, as far as one can say by now.
bool Mesh::Impl::wants_relay(const PeerEntry& p) const {
  if (!relays() || isolated || !p.known || awaits(p)) return false;
  if (p.choice.beside() == peers::Use::relay) return true;
  bool forced = must_encrypt(p);
  const auto& tunnel = p.path(PathKind::tunnel).liveness;
  if (p.choice.beside() == peers::Use::wireguard && !is_silent(p, PathKind::wireguard)) return false;
  if (peers::works(tunnel.state()) && !is_silent(p, PathKind::tunnel)) return false;
  if (!forced) return is_silent(p, PathKind::overlay);
  // Keys come first; who is only waiting for its turn is in no trouble.
  if (p.sealing()) return is_silent(p, PathKind::tunnel);
  return p.backoff.delay() > options.redial || (p.dialing && now() - p.dial_began > suspicious_after());
}

Link* Mesh::Impl::relay_link(const std::string& node) const {
  auto p = entries.find(node);
  if (p == entries.end() || !p->second.link || !p->second.relays) return nullptr;
  const auto& link = p->second.link;
  return link->via().empty() && link->session().established() ? link.get() : nullptr;
}

std::vector<peers::RelayCandidate> Mesh::Impl::candidates_for(const PeerEntry& p) const {
  std::vector<peers::RelayCandidate> out;
  for (const auto& [node, said] : p.third_said) {
    auto entry = entries.find(node);
    if (entry == entries.end()) continue;
    const auto& third = entry->second;
    const auto& control = third.path(PathKind::control).liveness;
    const auto& tunnel = third.path(PathKind::tunnel).liveness;
    const auto& seen = peers::works(tunnel.state()) ? tunnel : control;  // the one that is probed
    const auto* key = third.sealing();
    peers::RelayCandidate c;
    c.node = node;
    c.near = third.relays && key && key->tunnel && third.known && peers::works(control.state());
    // One that falls silent is no choice, but not left for that either: its path to the peer says whether it is gone.
    if (node != p.third.via() && is_silent(third, PathKind::control)) c.near = false;
    c.loss = seen.loss();
    c.round_trip = seen.round_trip();
    bool fresh = now() - said.second < kSaid;
    if (!fresh && node != p.third.via()) continue;
    c.reaches = fresh ? said.first.state : peers::ReachState::possible;
    c.loss_beyond = said.first.loss;
    c.round_trip_beyond = Micros(said.first.round_trip_us);
    out.push_back(std::move(c));
  }
  return out;
}

void Mesh::Impl::tick_relays() {
  std::map<Link*, std::vector<peers::Ask>> asks;
  for (auto& [name, p] : entries) {
    if (!p.looked_at) continue;
    auto& path = p.path(PathKind::relay);
    if (wants_relay(p)) p.third_until = now() + kLookedAt;
    if (now() >= p.third_until) {
      if (p.third_said.empty() && p.third.via().empty()) continue;
      p.third.rest();
      p.third_said.clear();
      p.asked_in_vain = 0;
      path.forget(now());
      changed = true;
      continue;
    }
    if (p.third.decide(candidates_for(p), path.liveness.state(), path.liveness.loss(), now())) {
      path.liveness.forget(now());  // the MTU that routes have stays until the new one is known
      path.mtu.forget();
      changed = true;
      p.ask_at = now();
      if (p.choice.beside() == peers::Use::relay && !p.third.via().empty())
        log->info("{}: packets go over {} now", name, p.third.via());
      else
        log->debug("{}: nothing of it answers; looking over {}", name, p.third.via());
    }
    if (now() >= p.ask_at) ask_about(p, asks);
    dial_through_due(p);
  }
  for (auto& [link, what] : asks) {
    link->session().send(what);
    link->flush();
  }
  for (const auto& out : desk.tick(now())) send_splice(out);
}

void Mesh::Impl::ask_about(PeerEntry& p, std::map<Link*, std::vector<peers::Ask>>& asks) {
  const auto& name = p.member.node;
  std::vector<Link*> others;
  for (const auto& link : links)
    if (const auto& node = link->who().node; node != name && node != p.third.via() && relay_link(node) == link.get())
      others.push_back(link.get());
  std::shuffle(others.begin(), others.end(), random);
  others.resize(std::min(others.size(), kAskedFirst << p.asked_in_vain));
  if (auto* via = relay_link(p.third.via())) others.push_back(via);
  for (auto* link : others) {
    auto& what = asks[link];
    if (what.size() >= peers::kMostAsked) return;  // in the next tick
    what.push_back({name, link->who().node == p.third.via()});
  }
  std::erase_if(p.third_said,
                [&](const auto& s) { return now() - s.second.second >= kSaid && s.first != p.third.via(); });
  bool well = peers::works(p.path(PathKind::relay).liveness.state());
  p.asked_in_vain = p.third.via().empty() ? std::min(p.asked_in_vain + 1, 8u) : 0;
  auto pause = well ? kAskWhileWell : p.asked_in_vain < 3 ? kAskNow : kAskSoon * (1 << (p.asked_in_vain - 3));
  p.ask_at = now() + jittered(std::min(pause, kAskSeldom));
}

// What we say of our own paths.
void Mesh::Impl::on_asked(Link& link, const std::vector<peers::Ask>& asks) {
  std::vector<peers::Reach> out;
  for (const auto& ask : asks) {
    peers::Reach r;
    r.node = ask.node;
    auto entry = entries.find(ask.node);
    if (entry != entries.end() && ask.node != link.who().node && relays() && entry->second.known) {
      auto& q = entry->second;
      const auto& control = q.path(PathKind::control).liveness;
      const auto& vxlan = q.path(PathKind::overlay).liveness;
      const auto* key = q.sealing();
      bool sealed = peers::works(control.state()) && !is_silent(q, PathKind::control);
      bool clear = peers::works(vxlan.state()) && !is_silent(q, PathKind::overlay);
      if (sealed && key && key->tunnel)
        r.state = peers::ReachState::ready;
      else if (clear)
        r.state = peers::ReachState::possible;
      const auto& tunnel = q.path(PathKind::tunnel).liveness;
      const auto& seen = !sealed ? vxlan : peers::works(tunnel.state()) ? tunnel : control;
      r.loss = static_cast<std::uint8_t>(seen.loss());
      r.round_trip_us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(seen.round_trip().count(), 0, 60'000'000));
      if (ask.prepare && r.state != peers::ReachState::no) {
        q.asked_until = now() + kAskedFor;
        q.touch();
      }
    }
    out.push_back(std::move(r));
  }
  link.session().send(out);
  link.flush();
}

void Mesh::Impl::on_reached(const std::string& from, const std::vector<peers::Reach>& reaches) {
  for (const auto& r : reaches) {
    auto entry = entries.find(r.node);
    if (entry == entries.end() || now() >= entry->second.third_until || r.node == from) continue;
    entry->second.third_said[from] = {r, now()};
    // It may become the third node: whether it is well has to be known, though we may be no neighbours of it.
    if (auto third = entries.find(from); third != entries.end() && r.state != peers::ReachState::no) {
      third->second.asked_until = std::max(third->second.asked_until, now() + kAskedFor);
      third->second.touch();
    }
  }
}

// Whom packets to that peer are handed to; "" = itself. They may still be on their way into the tunnel for a moment
// after a better path was found.
std::string Mesh::Impl::via_of(const PeerEntry& p) const {
  const auto& via = p.third.via();
  if (via.empty() || p.choice.beside() == peers::Use::relay) return via;
  bool tunnel = p.choice.beside() == peers::Use::tunnel || peers::works(p.path(PathKind::tunnel).liveness.state());
  return !tunnel && peers::works(p.path(PathKind::relay).liveness.state()) ? via : "";
}

void Mesh::Impl::send_relay_probe(PeerEntry& p, std::uint64_t sequence, unsigned size) {
  constexpr std::size_t kFrame = 4;  // in front of a packet in the tunnel
  auto body = heartbeat(p, p.way(), sequence);
  auto datagram = p.sealing()->keys.seal(peers::DatagramType::relay_probe, peers::encode(body, size + kFrame));
  bool sent = options.tunnel->send_relayed(p.third.via(), p.member.node, datagram);
  p.path(PathKind::relay).send_error = sent ? "" : fmt::format("{} cannot be sent to", p.third.via());
}

// ---- conversations over a third node
// ----------------------------------------------------------------------------------

void Mesh::Impl::send_splice(const peers::SpliceDesk::Out& out) {
  auto* link = relay_link(out.to);
  if (!link) return;
  link->session().send(out.splice);
  link->flush();
}

// Our end of one: a socket that is read and written like one to the peer.
base::Result<tcp::socket> Mesh::Impl::splice_end(const std::string& third, std::uint32_t id) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
    return base::Error::from_errno(errno, "a socket for a conversation over a third node");
  base::UniqueFd ours(fds[0]), theirs(fds[1]);
  boost::system::error_code ec;
  tcp::socket socket(ex);
  socket.assign(tcp::v4(), ours.get(), ec);
  if (ec) return base::Error(ec, "a socket for a conversation over a third node");
  (void)ours.release();
  auto end = std::make_shared<SpliceEnd>(ex);
  end->fd.assign(theirs.get(), ec);
  if (ec) return base::Error(ec, "a socket for a conversation over a third node");
  (void)theirs.release();
  ends[{third, id}] = end;
  tasks.spawn("a conversation over " + third, pump(third, id, end));
  return socket;
}

awaitable<void> Mesh::Impl::pump(std::string third, std::uint32_t id, std::shared_ptr<SpliceEnd> end) {
  std::array<char, 8 * 1024> buffer;
  std::string why = "it is over";
  while (!end->over) {
    auto room = asio::buffer(buffer);
    auto [ec, n] = co_await end->fd.async_read_some(room, async::kTuple);
    if (ec || end->over) break;
    end->sent += n;
    if (end->sent > peers::SpliceDesk::kMostBytes) {
      why = "it has become too long";
      break;
    }
    peers::Splice data{peers::Splice::Action::data, id, std::string(buffer.data(), n)};
    send_splice({third, std::move(data)});
  }
  if (!end->over) {
    peers::Splice last{peers::Splice::Action::close, id, why};
    send_splice({third, std::move(last)});
  }
  boost::system::error_code ignored;
  end->fd.close(ignored);
  auto it = ends.find({third, id});
  if (it != ends.end() && it->second == end) ends.erase(it);
}

void Mesh::Impl::end_splice(const std::shared_ptr<SpliceEnd>& end) {
  end->over = true;
  boost::system::error_code ignored;
  if (end->fd.is_open()) end->fd.close(ignored);
}

void Mesh::Impl::on_spliced(const std::string& from, const peers::Splice& splice) {
  using Action = peers::Splice::Action;
  if (auto it = ends.find({from, splice.id}); it != ends.end()) {
    auto end = it->second;
    if (splice.action == Action::data) {
      end->came += splice.text.size();
      // The kernel holds that much of a socket that nobody reads.
      bool fits = end->came <= peers::SpliceDesk::kMostBytes &&
                  ::send(end->fd.native_handle(), splice.text.data(), splice.text.size(),
                         MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(splice.text.size());
      if (fits) return;
    } else if (splice.action == Action::close) {
      log->debug("over {}: {}", from, splice.text);
    }
    ends.erase(it);
    end_splice(end);
    return;
  }
  if (splice.action == Action::arrive) return arrived(from, splice);
  auto obstacle = [&](const std::string& to) -> std::string {
    if (!relays()) return fmt::format("{} relays nothing", options.node);
    if (!entries.contains(to)) return fmt::format("{} knows no member {}", options.node, to);
    return relay_link(to) ? "" : fmt::format("{} does not speak with {} now", options.node, to);
  };
  for (const auto& out : desk.take(from, splice, obstacle, now())) send_splice(out);
}

// Somebody wants to speak with us over `from`. Who it is, it has to show like everybody.
void Mesh::Impl::arrived(const std::string& from, const peers::Splice& splice) {
  auto refuse = [&](std::string why) {
    peers::Splice no{peers::Splice::Action::close, splice.id, std::move(why)};
    send_splice({from, std::move(no)});
  };
  auto third = entries.find(from), peer = entries.find(splice.text);
  if (!relays() || !peers::SpliceDesk::is_id_of(splice.id, from, options.node)) return refuse("not here");
  if (third == entries.end() || peer == entries.end() || from == splice.text) return refuse("no member");
  auto counted = third->second.member.underlay;
  if (ends.size() >= kMostEnds || !doorman.enter(counted, true, now())) return refuse("too many at once");
  auto socket = splice_end(from, splice.id);
  if (!socket) {
    doorman.left(counted, true);
    return refuse(socket.error().to_string());
  }
  IpPort remote{peer->second.member.underlay, options.port};
  tasks.spawn("a call over " + from, welcome(std::move(*socket), remote, {counted, true, from, splice.text}));
}

void Mesh::Impl::dial_through_due(PeerEntry& p) {
  if (p.splicing || now() < p.splice_at || p.third.via().empty() || !relay_link(p.third.via())) return;
  const auto* key = p.sealing();
  bool lost = p.path(PathKind::relay).liveness.state() == peers::PathState::down && has_stale_keys(p);
  bool needed = (!key || !key->tunnel) || ((p.renewing || lost) && !reached_directly(p));
  if (!needed || ends.size() >= kMostEnds) return;
  // Of two that want it, the one with the lower name begins.
  bool first = options.node < p.member.node || p.splice_tries > 0 || p.third_said.empty();
  if (!first) {
    p.splice_tries = 1;
    p.splice_at = now() + Millis(500);
    return;
  }
  p.splicing = true;
  p.splice_at = now() + jittered(kSpliceAgain * (1 << std::min(p.splice_tries++, 4u)));
  tasks.spawn("keys over " + p.third.via(), dial_through(p.member.node, p.third.via()));
}

awaitable<void> Mesh::Impl::dial_through(std::string name, std::string via) {
  auto finish = [&](const std::string& why) {
    auto p = entries.find(name);
    if (p == entries.end()) return;
    p->second.splicing = false;
    if (why.empty()) p->second.splice_tries = 0;
    if (!why.empty()) log->info("{} over {}: {}", name, via, why);
  };
  auto entry = entries.find(name);
  if (entry == entries.end()) co_return;
  IpPort remote{entry->second.member.underlay, options.port};
  std::uint32_t id = 0;
  do id = (++splice_ids << 1) | (options.node < via ? 0u : 1u);
  while (ends.contains({via, id}));
  auto socket = splice_end(via, id);
  if (!socket) {
    finish(socket.error().to_string());
    co_return;
  }
  peers::Splice open{peers::Splice::Action::open, id, name};
  send_splice({via, std::move(open)});
  auto link = std::make_shared<Link>(ex, std::move(*socket), Side::dialer, remote);
  link->set_via(via);
  auto agreed = co_await meet(link, name);
  finish(agreed ? "" : agreed.error().to_string());
  if (!agreed) {
    ++handshakes_failed;
    link->shut();
    co_return;
  }
  begin(link);
}

}  // namespace trama::overlay::mesh
