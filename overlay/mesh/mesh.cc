// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/mesh/mesh.h"

#include <algorithm>

#include "base/digest.h"
#include "overlay/mesh/mesh_impl.h"

namespace trama::overlay::mesh {

namespace {

constexpr Millis kTick{100};
constexpr std::size_t kCrowd = 32;        // paths
constexpr Millis kLongestSilence{1'000};  // of news that can wait; a report costs what there are peers
constexpr Millis kTell{1'000};            // between two lists of new members
constexpr Millis kNotHeard{2'000};        // a probe that came longer ago says that they do not come any more
constexpr Millis kFarewell{20};
constexpr Millis kLongestRest{500};
constexpr Millis kStarting{60'000};  // that a node may take to begin, until it is treated like one that has

std::uint64_t random_number() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

}  // namespace

Mesh::Impl::Impl(asio::any_io_executor executor, MeshOptions o, Events e)
    : ex(executor),
      options(std::move(o)),
      events(std::move(e)),
      log(base::logger("peers")),
      random(random_number()),
      uid(base::random_hex(16)),
      token(random_number()),
      desk(options.node),
      tasks(executor) {
  if (!options.tunnel) return;
  options.tunnel->set_relaying(options.relay);
  options.tunnel->on_relayed(
      [this, executor, still = std::weak_ptr<bool>(alive)](const std::string& via, std::string datagram) {
        asio::post(executor, [this, still, via, datagram = std::move(datagram)] {
          if (!still.expired()) on_datagram(0, IpPort(), datagram, via);
        });
      });
}

Millis Mesh::Impl::real_ms() {
  return std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now().time_since_epoch());
}
Micros Mesh::Impl::real_us() {
  return std::chrono::duration_cast<Micros>(std::chrono::steady_clock::now().time_since_epoch());
}

Millis Mesh::Impl::jittered(Millis base) {
  return base / 2 + Millis(std::uniform_int_distribution<std::int64_t>(0, base.count())(random));
}

void Mesh::Impl::apply_world() {
  auto news = table.controller_says(world.members, world.controller_heard);
  apply_members(news);
  by_overlay.clear();
  auto own = uplinks_of(world);
  std::erase_if(vxlan_probes, [&](const auto& socket) {
    return std::none_of(own.begin(), own.end(), [&](const auto& u) { return u.address == socket.first; });
  });
  for (auto& [name, p] : entries) {
    auto known = world.peers.find(name);
    auto overlay = known == world.peers.end() ? std::nullopt : known->second.overlay;
    if (known != world.peers.end() && p.member.underlay != known->second.underlay) {
      p.member.underlay = known->second.underlay;
      p.dial_at = now();
    }
    set_ways(p);
    if (p.overlay != overlay) p.path(PathKind::overlay).forget(now());
    p.overlay = overlay;
    if (overlay) by_overlay.emplace(*overlay, name);
  }
  tell_tunnel();
  changed = true;
}

// Entries follow the table; who is new is told soon to those that we speak with.
void Mesh::Impl::apply_members(const std::vector<Member>& news) {
  const auto& members = table.entries();
  for (auto it = entries.begin(); it != entries.end();) {
    auto name = (it++)->first;
    if (!members.contains(name)) forget_peer(name);
  }
  for (const auto& [name, member] : members) {
    if (name == options.node) continue;
    auto [it, fresh] = entries.try_emplace(name);
    auto& p = it->second;
    if (fresh) {
      p.backoff = base::Backoff(options.redial, std::chrono::minutes(1));
      p.first_seen = now();
      auto step = options.timers.steady.count();
      for (auto& path : p.paths) {
        Millis phase(
            static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(std::max<std::int64_t>(1, step / 4))));
        path.liveness = PathLiveness(options.timers, phase);
        path.mtu = peers::MtuSearch(options.mtu);
      }
      // Another third node may do better, at once; this one judges nobody.
      auto eager = options.timers;
      eager.patience = eager.patience * 3 / 5;
      p.path(PathKind::relay).liveness = PathLiveness(eager, Millis{0});
      p.dial_at = now();
    }
    if (p.member.underlay != member.underlay) p.dial_at = now();
    p.member = member;
    p.known = in_world(name);
    if (std::exchange(p.starting, world.starting.contains(name)) && !p.starting) p.dial_at = now();
    set_ways(p);
    p.hearsay = table.hearsay(name);
    p.touch();
  }
  choose_neighbours();
  for (const auto& member : news) untold[member.node] = member;
  if (!news.empty()) changed = true;
}

// Nodes come in crowds: told one by one, each would tell everybody of each.
void Mesh::Impl::tell_members() {
  if (untold.empty() || now() < tell_again) return;
  tell_again = now() + kTell;
  std::vector<Member> news;
  for (auto& [name, member] : std::exchange(untold, {})) news.push_back(std::move(member));
  for (const auto& link : links)
    if (link->session().established()) {
      link->session().send_members(news);
      link->flush();
    }
  if (events.members) events.members(table.all());
}

// Conversations from the address that we had hear nothing any more; their keys are as good as before.
void Mesh::Impl::leave_address() {
  const peers::Session::Closed end{"the address of " + options.node + " has changed", false};
  for (const auto& link : std::vector(links)) {
    if (link->session().closed()) continue;
    link->session().close(end.why);
    link->flush();
    closed(link, end);
  }
}

void Mesh::Impl::choose_neighbours() {
  std::vector<std::string> names;
  for (const auto& [name, p] : entries) names.push_back(name);
  auto chosen = peers::neighbours(options.node, names, options.full_mesh);
  for (auto& [name, p] : entries) p.neighbour = chosen.contains(name);
}

void Mesh::Impl::forget(const Keyed& key) {
  by_index.erase(key.keys.my_index());
  if (key.tunnel) options.tunnel->close(key.keys.my_index());
}

void Mesh::Impl::forget_peer(const std::string& name) {
  auto it = entries.find(name);
  if (it == entries.end()) return;
  for (const auto& key : it->second.keys) forget(*key);
  for (const auto& link : links)
    if (link->who().node == name) {
      link->session().close("this node is no member of the cluster any more");
      link->flush();
    }
  entries.erase(it);
  changed = true;
}

// Its agent begins; when it is ready, it says so or speaks with us. Many nodes that begin together, all asking for what
// is not there yet, would keep each other from it.
bool Mesh::Impl::awaits(const PeerEntry& p) const { return p.starting && !p.met && now() - p.first_seen < kStarting; }

PeerEntry* Mesh::Impl::peer_of_overlay(const Ip& address) {
  auto known = by_overlay.find(address);
  if (known == by_overlay.end()) return nullptr;
  auto entry = entries.find(known->second);
  return entry == entries.end() ? nullptr : &entry->second;
}

bool Mesh::Impl::is_member_address(const Ip& address) const {
  return std::any_of(entries.begin(), entries.end(), [&](const auto& e) {
    return std::any_of(e.second.ways.begin(), e.second.ways.end(),
                       [&](const Way& way) { return way.ends.there == address || way.where.current().ip == address; });
  });
}

peers::Evidence Mesh::Impl::evidence(const PeerEntry& p, PathKind kind) const {
  peers::Evidence e;
  e.self = options.node;
  e.peer = p.member.node;
  e.kind = kind;
  e.via = kind == PathKind::relay ? p.third.via() : "";
  auto other = kind == PathKind::control ? PathKind::overlay : PathKind::control;
  const auto& path = p.path(kind);
  e.other_path_works = peers::works(p.path(other).liveness.state());
  // The control path is not probed while the tunnel answers: when that begins to fail, it says nothing yet.
  if (kind == PathKind::overlay && p.path(PathKind::tunnel).liveness.doubtful(now())) e.other_path_works = false;
  e.heard_lately = path.arrivals.any() && path.arrivals.age(now()) < kNotHeard;
  if (auto age = p.heard_us(kind, now())) e.hears_us = *age < kNotHeard;
  e.send_error = path.send_error;
  e.ever_up = path.liveness.ever_up();
  if (p.wireguard) e.port = p.wireguard->port;
  e.translation = translation(p);
  return e;
}

void Mesh::Impl::update_reasons() {
  for (auto& [name, p] : entries) {
    if (!p.looked_at) continue;
    for (auto kind : peers::kAllPaths) {
      auto& path = p.path(kind);
      std::string reason;
      if (awaits(p) && path.liveness.state() == peers::PathState::unknown) {
        reason = "it is starting";
      } else if (path.liveness.state() == peers::PathState::down) {
        reason = peers::explain_down(evidence(p, kind));
      } else if (path.liveness.state() == peers::PathState::unknown && kind == PathKind::overlay) {
        reason = must_encrypt(p) ? "not in use: nothing may go to it in the clear" : echo_error;
      } else if (path.liveness.state() == peers::PathState::unknown && kind == PathKind::tunnel) {
        reason = why_no_tunnel(p);
      } else if (path.liveness.state() == peers::PathState::unknown && kind == PathKind::wireguard) {
        reason = why_no_wireguard(p);
      } else if (path.liveness.state() == peers::PathState::unknown && kind == PathKind::direct) {
        reason = why_no_direct(p);
      } else if (path.liveness.state() == peers::PathState::unknown && kind == PathKind::relay) {
        reason = why_no_relay(p);
      } else if (path.liveness.state() == peers::PathState::unknown) {
        if (!talks())
          reason = why_silent();
        else if (!p.neighbour && !peers::needs_keys(need_of(p)))
          reason = "not a neighbour: keys are made when they are needed";
      }
      if (reason == path.reason) continue;
      path.reason = std::move(reason);
      changed = true;
    }
  }
}

MeshStatus Mesh::Impl::status() const {
  MeshStatus out;
  out.node = options.node;
  out.underlay = world.underlay;
  out.port = options.port;
  out.protocol_off = talks() ? "" : why_silent();
  out.listening = listen_error;
  out.mtu = world.mtu;
  out.encrypt = world.encrypt;
  out.direct_mtu = world.plain ? world.plain->mtu : 0;
  if (world.wireguard) {
    out.wireguard_mtu = world.wireguard->mtu;
    out.wireguard_port = world.wireguard->end.port;
    out.wireguard_key = world.wireguard->end.key.to_string();
  }
  out.wireguard_off = world.no_wireguard;
  out.tunnel_mtu = options.tunnel ? world.tunnel_mtu : 0;
  out.tunnel_off = !options.tunnel ? "there is no tunnel in this agent" : options.tunnel->trouble();
  if (options.tunnel) out.tunnel = options.tunnel->traffic();
  out.isolated = isolated;
  out.uptime = now() - started;
  out.slept = clock.slept();
  out.handshakes_failed = handshakes_failed;
  out.refused = doorman.refused();
  out.strangers = strangers;
  out.foreign = foreign;
  out.datagrams = datagrams_seen;
  out.forged = forged;
  out.relay_off = !options.relay ? "switched off (--relay off)" : relays() ? "" : why_silent();
  if (out.relay_off.empty() && !relays())
    out.relay_off = out.tunnel_off.empty() ? "there is no tunnel" : out.tunnel_off;
  out.splices = desk.opened();
  out.splices_refused = desk.refused();
  for (const auto& [name, p] : entries) {
    peers::PeerStatus s;
    s.node = name;
    s.underlay = p.member.underlay;
    s.overlay = p.overlay ? p.overlay->to_string() : "";
    s.hearsay = p.hearsay;
    s.trouble = p.trouble;
    s.use = p.choice.use();
    s.why = p.choice.why();
    s.switches = p.choice.switches();
    s.keys = p.keys_made;
    s.must_encrypt = must_encrypt(p);
    s.beside = p.choice.beside();
    s.direct = direct_to(p);
    s.wireguard = wireguard_to(p);
    s.told = !p.uid.empty();
    const auto& way = p.way();
    if (way.where.elsewhere()) s.found_at = way.where.current().to_string();
    s.translated = way.translated();
    if (sees_us_elsewhere(way)) s.sees_us = way.sees_us->to_string();
    s.way_known = p.choice_of_way.known();
    s.way_why = p.way_why;
    s.way_switches = p.choice_of_way.switches();
    if (p.ways.size() > 1)
      for (const auto& w : p.ways)
        s.ways.push_back({w.ends.here, w.ends.there, &w == &way, w.liveness.state(), now() - w.liveness.since(),
                          w.liveness.loss(), w.liveness.round_trip(), w.liveness.downs()});
    if (const auto* key = p.sealing(); key && key->tunnel) s.cipher = key->cipher;
    s.via = p.third.via();
    if (p.link) {
      s.connection = peers::Connection::established;
      s.outbound = p.link->side() == Side::dialer;
      s.remote = p.link->remote().to_string();
      const auto& theirs = p.link->session().theirs();
      s.version = peers::common_version(theirs.mine, peers::Versions{});
      s.capabilities = theirs.capabilities;
    } else if (talks()) {
      s.connection = p.dialing     ? peers::Connection::connecting
                     : p.neighbour ? peers::Connection::waiting
                                   : peers::Connection::unneeded;
    }
    for (std::size_t i = 0; i < kPaths; ++i) {
      auto kind = static_cast<PathKind>(i);
      const auto& path = p.paths[i];
      auto& to = s.paths[i];
      to.state = path.liveness.state();
      to.age = now() - path.liveness.since();
      to.loss = path.liveness.loss();
      to.mtu = kind == PathKind::wireguard ? wireguard_mtu(p) : path.known_mtu;
      to.loss_in = path.arrivals.loss();
      if (p.heard_us(kind, now())) to.loss_out = (*p.report)[i].loss;
      to.round_trip = path.liveness.round_trip();
      to.downs = path.liveness.downs();
      to.reason = path.reason;
      if (to.state == peers::PathState::degraded) {
        auto lost_out = p.heard_us(kind, now()) ? std::optional<unsigned>(to.loss_out) : std::nullopt;
        to.reason = peers::explain_loss(evidence(p, kind), to.loss, to.loss_in, lost_out);
      }
    }
    out.peers.push_back(std::move(s));
  }
  return out;
}

// Its rest ends at the latest after kLongestRest, so what only time changes is late by no more.
void Mesh::Impl::look_at(PeerEntry& p) {
  bool dials = p.dialing || p.splicing || p.renewing || (p.wanted && !p.link);
  bool undecided = p.known && p.choice.use() == peers::Use::undecided && !awaits(p);
  bool relayed = now() < p.third_until;
  p.rests_until = dials || undecided || relayed ? now() : now() + kLongestRest;
  probe(p);
  p.hurrying = 0;
  for (auto kind : peers::kAllPaths) {
    auto& path = p.path(kind);
    p.hurrying += path.liveness.hurries(now());
    if (!path.liveness.tick(now())) continue;
    changed = true;
    p.touch();
    // Back on one path: whatever stood in the way of a conversation may be gone too.
    bool own = kind != PathKind::relay;
    if (own && path.liveness.state() == peers::PathState::up && !p.link) p.dial_at = std::min(p.dial_at, now() + kTick);
  }
  retire_keys(p);
}

void Mesh::Impl::tick() {
  clock.advance(real_ms());
  open_listener();
  open_sockets();
  if (options.tunnel && world.tunnel_mtu > 0) options.tunnel->tick();
  std::size_t hurrying = 0;
  for (auto& [name, p] : entries) {
    p.looked_at = now() >= p.rests_until;
    if (p.looked_at) look_at(p);
    hurrying += p.hurrying;
  }
  tick_ways();
  crowded = hurrying > kCrowd;
  tell_members();
  tick_links();
  tick_demand();
  tick_relays();
  dial_due();
  if (options.tunnel) renew_keys();
  say_anew();
  update_reasons();
  choose_paths();
  if (!changed || (!urgent && now() < report_again)) return;
  report_again = now() + std::min(kTick * (1 + static_cast<int>(entries.size() / 32)), kLongestSilence);
  auto snapshot = status();
  isolated = peers::is_isolated(snapshot.peers);
  snapshot.isolated = isolated;
  changed = urgent = false;
  if (events.changed) events.changed(std::move(snapshot));
}

awaitable<void> Mesh::Impl::run() {
  clock.advance(real_ms());
  started = now();
  for (;;) {
    tick();
    co_await async::sleep_for(kTick);
  }
}

Mesh::Mesh(asio::any_io_executor ex, MeshOptions options, Events events)
    : impl_(std::make_unique<Impl>(std::move(ex), std::move(options), std::move(events))) {}
Mesh::~Mesh() = default;

void Mesh::set_world(World world) {
  if (world == impl_->world) return;
  bool readdressed = world.underlay != impl_->world.underlay;
  impl_->world = std::move(world);
  for (auto& [name, p] : impl_->entries) p.known = impl_->in_world(name);
  if (readdressed) impl_->leave_address();
  impl_->apply_world();
}

void Mesh::remember(const std::vector<Member>& members) {
  auto news = impl_->table.peer_says(members);
  impl_->apply_members(news);
}

void Mesh::set_credentials(Credentials credentials, WhoIs who_is, std::string why_not) {
  auto& self = *impl_;
  self.who_is = std::move(who_is);
  self.why_not = std::move(why_not);
  self.changed = true;
  if (credentials == self.credentials) return;
  self.credentials = std::move(credentials);
  if (!self.credentials.complete()) return;
  auto server = make_context(self.credentials, Role::server);
  auto client = make_context(self.credentials, Role::client);
  if (!server || !client) {
    self.why_not = (server ? client.error() : server.error()).to_string();
    self.log->error("{}", self.why_not);
    self.credentials = {};
    return;
  }
  self.server_context = std::move(*server);
  self.client_context = std::move(*client);
  for (auto& [name, p] : self.entries) p.touch();
}

MeshStatus Mesh::status() const { return impl_->status(); }
awaitable<void> Mesh::run() { return impl_->run(); }

awaitable<void> Mesh::stop() {
  auto& self = *impl_;
  for (const auto& ear : self.ears) {
    boost::system::error_code ignored;
    ear.acceptor->close(ignored);
  }
  self.tell_again = self.now();
  self.tell_members();
  bool any = !self.links.empty();
  for (const auto& link : self.links) {
    link->session().close("this agent stops");
    link->flush();
  }
  if (any) co_await async::sleep_for(kFarewell);
  self.close_ears();
  for (const auto& [address, socket] : self.vxlan_probes)
    if (socket) socket->close();
  for (const auto& [family, socket] : self.echoes) socket->close();
  for (const auto& link : self.links) link->shut();
  for (const auto& [key, end] : self.ends) self.end_splice(end);
  co_await self.tasks.stop();
  self.links.clear();
}

}  // namespace trama::overlay::mesh
