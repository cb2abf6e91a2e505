// SPDX-License-Identifier: GPL-2.0-or-later
// A Mesh's probes. Through the overlay: ICMP echo requests of full size between the nodes' overlay addresses, answered
// by the peer's kernel; so what is judged is the path, and an agent that is stopped, killed or updated is not mistaken
// for a broken one. On 6783/udp: sealed datagrams, answered by the peer's agent; they say what each side receives.
#include <algorithm>

#include "overlay/mesh/mesh_impl.h"
#include "overlay/peers/vxlan_probe.h"

namespace trama::overlay::mesh {

namespace {

constexpr std::size_t kEchoHeader = 8, kIp4Header = 20, kIp6Header = 40;
constexpr unsigned kRelayOverhead = 16 + 12 + 16;  // of a datagram around a datagram: header, envelope, tag
constexpr Millis kOpenAgain{5'000};
constexpr std::uint16_t kEchoId = 0x7472;  // "tr"

std::uint32_t age_of(const Arrivals& a, Millis now) {
  return a.any() ? static_cast<std::uint32_t>(std::min<std::int64_t>(a.age(now).count(), peers::kNever - 1))
                 : peers::kNever;
}

}  // namespace

void Mesh::Impl::open_sockets() {
  for (const auto& address : world.overlay) {
    auto& socket = echoes[address.family()];
    if ((socket && socket->local().ip == address) || now() < echo_again) continue;
    auto opened = DatagramSocket::open(ex, DatagramSocket::Kind::icmp, IpPort{address, 0});
    if (!opened) {
      echo_again = now() + kOpenAgain;
      auto why = opened.error().to_string();
      if (why != echo_error) log->warn("{}: paths through the overlay are not watched; trying again", why);
      echo_error = std::move(why);
      continue;
    }
    if (socket) socket->close();
    socket = std::move(*opened);
    echo_error.clear();
    auto handler = [this, family = address.family()](const IpPort& from, std::string_view message) {
      on_icmp(family, from, message);
    };
    tasks.spawn("echoes", DatagramSocket::receive(socket, handler));
  }
}

void Mesh::Impl::probe(PeerEntry& p) {
  if (awaits(p)) return;
  if (p.overlay && world.mtu > 0 && !must_encrypt(p)) {
    auto& path = p.path(PathKind::overlay);
    auto larger = look_for_mtu(p, PathKind::overlay, vxlan_mtu(p));
    if (path.liveness.due(now(), pace())) send_echo(p);
    // Never through the device: it lets routers cut its packets in pieces.
    if (larger) send_vxlan_probe(p, echo_body(p, larger->sequence, larger->size), larger->sequence);
    rest(p, PathKind::overlay, pace());
  }
  probe_direct(p);
  probe_wireguard(p);
  if (!p.sealing() || ears.empty() || !peers::needs_keys(need_of(p))) return;
  probe_ways(p);
  auto& control = p.path(PathKind::control);
  if (control.liveness.state() == peers::PathState::down) ask(p, p.way(), p.way().where.look_for(now(), random()));
  const auto& vxlan = p.path(PathKind::overlay).liveness;
  bool tunnelled = tunnel_works() && p.sealing()->tunnel;
  // Answers of the tunnel say as much; it is the same port.
  bool spared = tunnelled && p.path(PathKind::tunnel).liveness.state() == peers::PathState::up &&
                control.liveness.state() == peers::PathState::up && !control.liveness.doubtful(now());
  if (!spared && control.liveness.due(now(), pace())) {
    auto sequence = control.probe(now(), real_us());
    send_heartbeat(p, p.way(), peers::DatagramType::probe, sequence);
  }
  if (!spared) rest(p, PathKind::control, pace());
  if (!tunnelled) return;
  auto& tunnel = p.path(PathKind::tunnel);
  auto larger = look_for_mtu(p, PathKind::tunnel, tunnel_mtu(p));
  const auto& fast = p.choice.beside() == peers::Use::wireguard ? p.path(PathKind::wireguard).liveness : vxlan;
  bool reserve = (p.choice.beside() == peers::Use::vxlan || p.choice.beside() == peers::Use::wireguard) &&
                 fast.state() == peers::PathState::up && !fast.doubtful(now());
  auto tunnel_pace = reserve ? PathLiveness::Pace::reserve : pace();
  if (tunnel.liveness.due(now(), tunnel_pace)) {
    auto size = tunnel.mtu.mtu();
    send_tunnel_probe(p, tunnel.probe(now(), real_us()), size);
  }
  if (larger) send_tunnel_probe(p, larger->sequence, larger->size);
  rest(p, PathKind::tunnel, tunnel_pace);
  if (p.third.via().empty() || world.tunnel_mtu <= kRelayOverhead) return;
  auto& relay = p.path(PathKind::relay);
  larger = look_for_mtu(p, PathKind::relay, world.tunnel_mtu - kRelayOverhead);
  if (relay.liveness.due(now())) {
    auto size = relay.mtu.mtu();
    send_relay_probe(p, relay.probe(now(), real_us()), size);
  }
  if (larger) send_relay_probe(p, larger->sequence, larger->size);
  rest(p, PathKind::relay, PathLiveness::Pace::usual);
}

// No longer than the path that is probed can do without us.
void Mesh::Impl::rest(PeerEntry& p, PathKind kind, PathLiveness::Pace pace) {
  const auto& path = p.path(kind);
  auto until = path.mtu.rests() ? path.liveness.rests_until(now(), pace) : now();
  p.rests_until = std::min(p.rests_until, until);
}

void Mesh::Impl::probe_direct(PeerEntry& p) {
  auto& path = p.path(PathKind::direct);
  auto to = direct_to(p);
  if (!to || world.mtu == 0) {
    if (path.liveness.state() != peers::PathState::unknown) {
      path.forget(now());
      changed = true;
    }
    return;
  }
  auto larger = look_for_mtu(p, PathKind::direct, world.plain->mtu);
  if (path.liveness.due(now(), pace())) {
    auto size = path.mtu.mtu();
    auto sequence = path.probe(now(), real_us());
    auto socket = echoes.find(p.overlay->family());
    if (p.choice.use() == peers::Use::direct && socket != echoes.end() && socket->second) {
      // Where routes lead there: by them, as packets go.
      auto body = echo_body(p, sequence | peers::kPlainMark, size);
      auto sent = socket->second->send(
          IpPort{*p.overlay, 0},
          icmp_echo_request(p.overlay->family(), kEchoId, static_cast<std::uint16_t>(sequence), body));
      path.send_error = sent ? "" : sent.error().to_string();
    } else {
      send_plain_probe(p, *to, sequence, size);
    }
  }
  if (larger) send_plain_probe(p, *to, larger->sequence, larger->size);
  rest(p, PathKind::direct, pace());
}

bool Mesh::Impl::open_link_socket(std::string& error) {
  if (link_socket) return true;
  auto opened = LinkSocket::open();
  if (opened)
    link_socket.emplace(std::move(*opened));
  else
    error = opened.error().to_string();
  return link_socket.has_value();
}

// Through that device, whichever path packets take: so it is looked at while it is not in use, too. The kernel of the
// peer answers by whichever path it has chosen.
void Mesh::Impl::probe_wireguard(PeerEntry& p) {
  auto& path = p.path(PathKind::wireguard);
  if (!wireguard_to(p)) {
    if (path.liveness.state() != peers::PathState::unknown) {
      path.forget(now());
      changed = true;
    }
    return;
  }
  auto larger = look_for_mtu(p, PathKind::wireguard, world.wireguard->mtu);
  if (path.liveness.due(now(), pace())) {
    auto size = path.mtu.mtu();
    send_wireguard_probe(p, path.probe(now(), real_us()), size);
  }
  if (larger) send_wireguard_probe(p, larger->sequence, larger->size);
  rest(p, PathKind::wireguard, pace());
}

void Mesh::Impl::send_wireguard_probe(PeerEntry& p, std::uint64_t sequence, unsigned size) {
  auto& path = p.path(PathKind::wireguard);
  const auto* own = own_overlay(p.overlay->family());
  if (!own || !open_link_socket(path.send_error)) return;
  auto packet = peers::echo_packet(*own, *p.overlay, kEchoId, static_cast<std::uint16_t>(sequence),
                                   echo_body(p, sequence | peers::kWireguardMark, size));
  auto sent = link_socket->send(world.wireguard->link, base::Mac{}, p.overlay->family(), packet);
  path.send_error = sent ? "" : sent.error().to_string();
}

void Mesh::Impl::send_plain_probe(PeerEntry& p, const base::Mac& to, std::uint64_t sequence, unsigned size) {
  auto& path = p.path(PathKind::direct);
  const auto* own = own_overlay(p.overlay->family());
  if (!own || !open_link_socket(path.send_error)) return;
  auto packet = peers::echo_packet(*own, *p.overlay, kEchoId, static_cast<std::uint16_t>(sequence),
                                   echo_body(p, sequence | peers::kPlainMark, size));
  auto sent = link_socket->send(world.plain->link, to, p.overlay->family(), packet);
  path.send_error = sent ? "" : sent.error().to_string();
}

// A probe of another size that is due. What the path carries may have become less by what was lost.
std::optional<peers::MtuSearch::Probe> Mesh::Impl::look_for_mtu(PeerEntry& p, PathKind kind, unsigned largest) {
  auto& path = p.path(kind);
  path.mtu.resize(largest, now());
  auto out = path.mtu.due(now());
  note_mtu(p, kind);
  return out;
}

void Mesh::Impl::note_mtu(PeerEntry& p, PathKind kind) {
  auto& path = p.path(kind);
  auto mtu = path.mtu.mtu();
  if (mtu == path.known_mtu) return;
  bool news = path.known_mtu != 0;
  if (mtu < path.known_mtu) path.liveness.pardon();
  path.known_mtu = mtu;
  p.touch();
  changed = urgent = true;
  if (news) log->info("{}: {} carries packets of {} bytes now", p.member.node, to_string(kind), mtu);
}

// As large as a packet of that size makes a datagram, so that what is judged is what packets need.
void Mesh::Impl::send_tunnel_probe(PeerEntry& p, std::uint64_t sequence, unsigned size) {
  constexpr std::size_t kFrame = 4;  // in front of a packet in the tunnel
  auto& path = p.path(PathKind::tunnel);
  auto* socket = socket_of(p.way());
  if (!socket) return;
  auto body = peers::encode(heartbeat(p, p.way(), sequence), size + kFrame);
  auto sent = socket->send(p.way().where.current(), p.sealing()->keys.seal(peers::DatagramType::tunnel_probe, body));
  path.send_error = sent ? "" : sent.error().to_string();
}

// Routes lead elsewhere, or nobody knows where they lead: so the request is put into VXLAN here.
void Mesh::Impl::send_vxlan_probe(PeerEntry& p, std::string_view body, std::uint64_t sequence) {
  auto& path = p.path(PathKind::overlay);
  const auto* peer = in_world(p.member.node);
  const auto* own = own_overlay(p.overlay->family());
  if (!peer || !own) return;
  const auto& between = p.way().ends;
  auto& socket = vxlan_probes[between.here];
  if (!socket) {
    auto opened = DatagramSocket::open(ex, DatagramSocket::Kind::udp, IpPort{between.here, 0});
    if (!opened) {
      path.send_error = opened.error().to_string();
      return;
    }
    socket = std::move(*opened);
  }
  peers::VxlanProbe probe{
      world.vni, world.mac, peer->mac, *own, *p.overlay, kEchoId, static_cast<std::uint16_t>(sequence)};
  auto sent = socket->send(IpPort{between.there, world.vxlan_port}, peers::encode(probe, body));
  path.send_error = sent ? "" : sent.error().to_string();
}

const Ip* Mesh::Impl::own_overlay(base::Family family) const {
  auto own =
      std::find_if(world.overlay.begin(), world.overlay.end(), [&](const Ip& ip) { return ip.family() == family; });
  return own == world.overlay.end() ? nullptr : &*own;
}

// Fills a packet of that size.
std::string Mesh::Impl::echo_body(const PeerEntry& p, std::uint64_t sequence, unsigned size) const {
  auto header = (p.overlay->is_v4() ? kIp4Header : kIp6Header) + kEchoHeader;
  return peers::encode(peers::EchoBody{token, sequence}, size > header ? size - header : 0);
}

void Mesh::Impl::send_echo(PeerEntry& p) {
  auto& path = p.path(PathKind::overlay);
  auto socket = echoes.find(p.overlay->family());
  if (socket == echoes.end() || !socket->second) return;
  auto size = path.mtu.mtu();
  auto sequence = path.probe(now(), real_us());
  auto body = echo_body(p, sequence, size);
  bool elsewhere = options.tunnel ? p.choice.use() != peers::Use::vxlan : p.choice.use() == peers::Use::direct;
  if (elsewhere) return send_vxlan_probe(p, body, sequence);
  auto message = icmp_echo_request(p.overlay->family(), kEchoId, static_cast<std::uint16_t>(sequence), body);
  auto sent = socket->second->send(IpPort{*p.overlay, 0}, message);
  path.send_error = sent ? "" : sent.error().to_string();
}

peers::Report Mesh::Impl::report_for(const PeerEntry& p) const {
  peers::Report out;
  for (std::size_t i = 0; i < kPaths; ++i) {
    const auto& path = p.paths[i];
    out[i].age_ms = age_of(path.arrivals, now());
    out[i].loss = static_cast<std::uint8_t>(path.arrivals.loss());
    out[i].state = static_cast<std::uint8_t>(path.liveness.state());
  }
  return out;
}

void Mesh::Impl::send_heartbeat(PeerEntry& p, Way& way, peers::DatagramType type, std::uint64_t sequence) {
  auto* socket = socket_of(way);
  if (!socket) return;
  auto datagram = p.sealing()->keys.seal(type, peers::encode(heartbeat(p, way, sequence)));
  auto sent = socket->send(way.where.current(), datagram);
  if (type == peers::DatagramType::probe && &way == &p.way() && !peers::is_way_probe(sequence))
    p.path(PathKind::control).send_error = sent ? "" : sent.error().to_string();
}

peers::Heartbeat Mesh::Impl::heartbeat(const PeerEntry& p, const Way& way, std::uint64_t sequence) const {
  peers::Heartbeat out{sequence, report_for(p), {}, way.heard_from};
  if (auto* socket = socket_of(way)) out.mine = socket->local();
  return out;
}

// To that place alone, whatever is believed of the peer.
void Mesh::Impl::ask(PeerEntry& p, Way& way, const std::optional<peers::Whereabouts::Question>& question) {
  auto* socket = socket_of(way);
  if (!question || !p.sealing() || !socket) return;
  auto body = peers::encode(heartbeat(p, way, question->number));
  (void)socket->send(question->to, p.sealing()->keys.seal(peers::DatagramType::probe, body));
}

// For what came straight from the peer, sealed after all that has come before, under keys that are not yet replaced.
void Mesh::Impl::note_place(PeerEntry& p, Way& way, const IpPort& from, const peers::Heartbeat& heartbeat) {
  way.heard_from = from;
  way.says_from = heartbeat.mine;
  way.sees_us = heartbeat.seen;
  ask(p, way, way.where.heard(from, now(), random()));
}

void Mesh::Impl::moved(PeerEntry& p, const Way& way) {
  auto where = way.where.elsewhere() ? way.where.current().to_string() : way.ends.there.to_string() + " again";
  log->info("{}: its datagrams come from {}{}", p.member.node, where, way.translated() ? ", it is behind NAT" : "");
  tell_tunnel();
  p.touch();
  changed = true;
}

// Why VXLAN cannot pass, whatever else is well.
std::string Mesh::Impl::translation(const PeerEntry& p) const {
  const auto& way = p.way();
  if (way.translated()) return fmt::format("{} is behind NAT, seen as {}", p.member.node, way.heard_from->to_string());
  if (sees_us_elsewhere(way))
    return fmt::format("{} is behind NAT, {} sees it as {}", options.node, p.member.node, way.sees_us->to_string());
  return "";
}

void Mesh::Impl::on_datagram(std::size_t uplink, const IpPort& from, std::string_view datagram,
                             const std::string& via) {
  ++datagrams_seen;
  auto header = peers::parse_datagram_header(datagram);
  auto keyed = header ? by_index.find(header->index) : by_index.end();
  if (keyed == by_index.end()) {
    ++forged;
    return;
  }
  auto key = keyed->second;
  auto opened = key->keys.open(datagram);
  auto entry = entries.find(key->peer);
  if (!opened || entry == entries.end()) {
    ++forged;
    return;
  }
  auto heartbeat = peers::parse_heartbeat(opened->body);
  if (!heartbeat) return;
  auto& p = entry->second;
  using Type = peers::DatagramType;
  bool relayed = opened->type == Type::relay_probe || opened->type == Type::relay_answer;
  bool tunnel = opened->type == Type::tunnel_probe || opened->type == Type::tunnel_answer;
  if (relayed == via.empty()) return;  // came another way than it says
  auto& path = p.path(relayed ? PathKind::relay : tunnel ? PathKind::tunnel : PathKind::control);
  p.heard_sealed = now();
  p.met = true;
  p.report = heartbeat->report;
  p.reported = now();
  auto& way = via.empty() ? way_of(p, uplink, heartbeat->mine) : p.way();
  if (via.empty() && opened->newest && !key->retires) note_place(p, way, from, *heartbeat);
  if (opened->type == Type::answer && way.where.answered(from, heartbeat->sequence)) return moved(p, way);
  if (opened->type == Type::answer && peers::is_way_probe(heartbeat->sequence))
    return way_answered(way, heartbeat->sequence);
  if (opened->type == Type::answer || opened->type == Type::tunnel_answer || opened->type == Type::relay_answer) {
    if (relayed && via != p.third.via()) return;  // of one that was left meanwhile
    path.answered(heartbeat->sequence, now(), real_us());
    if (tunnel || relayed) note_mtu(p, relayed ? PathKind::relay : PathKind::tunnel);
    if (tunnel) p.path(PathKind::control).liveness.heard(now());
    return;
  }
  if (!peers::is_way_probe(heartbeat->sequence)) note_arrival(path, heartbeat->sequence, now());
  // Packets would not be delivered here: no answer is the truth.
  if ((tunnel || relayed) && !tunnel_works()) return;
  if (relayed) {
    // The way it came: so who asks learns how that third node does, whichever we would choose.
    if (!p.sealing()) return;
    auto answer = this->heartbeat(p, way, heartbeat->sequence);
    auto sealed = p.sealing()->keys.seal(Type::relay_answer, peers::encode(answer));
    (void)options.tunnel->send_relayed(via, p.member.node, sealed);
    return;
  }
  // The way it came.
  if (p.sealing()) send_heartbeat(p, way, tunnel ? Type::tunnel_answer : Type::answer, heartbeat->sequence);
}

void Mesh::Impl::on_icmp(base::Family family, const IpPort& from, std::string_view message) {
  auto echo = parse_icmp(family, message);
  if (!echo) return;
  auto body = peers::parse_echo(echo->payload);
  if (!body) return;
  auto* p = peer_of_overlay(from.ip);
  if (!p) return;
  p->met = true;
  auto kind = body->sequence & peers::kPlainMark       ? PathKind::direct
              : body->sequence & peers::kWireguardMark ? PathKind::wireguard
                                                       : PathKind::overlay;
  auto sequence = body->sequence & ~(peers::kPlainMark | peers::kWireguardMark);
  auto& path = p->path(kind);
  if (!echo->reply)
    note_arrival(path, sequence, now());
  else if (body->token == token && path.answered(sequence, now(), real_us()))
    note_mtu(*p, kind);
}

// Old keys open what is still underway; then they go.
void Mesh::Impl::retire_keys(PeerEntry& p) {
  std::erase_if(p.keys, [&](const auto& key) {
    if (!key->retires || now() < *key->retires) return false;
    forget(*key);
    return true;
  });
}

}  // namespace trama::overlay::mesh
