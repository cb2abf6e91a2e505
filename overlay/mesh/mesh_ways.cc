// SPDX-License-Identifier: GPL-2.0-or-later
// A Mesh's ways to peers where one of the two has several uplinks; see overlay/peers/ways.h. Of a peer that there is
// one way to, nothing here is probed or chosen.
#include <algorithm>

#include "overlay/mesh/mesh_impl.h"

namespace trama::overlay::mesh {

namespace {

constexpr PathKind kOnWays[] = {PathKind::overlay, PathKind::tunnel};  // whose packets' size a way decides
constexpr Millis kRedialAgain{10'000};
constexpr unsigned kTagShift = 32;

std::string name_of(const peers::WayEnds& ends) { return peers::way_text(ends.here, ends.there); }

}  // namespace

void Mesh::Impl::set_ways(PeerEntry& p) {
  std::vector<Ip> theirs{p.member.underlay};
  if (p.known) theirs.insert(theirs.end(), p.known->further.begin(), p.known->further.end());
  auto wanted = peers::ways_between(world, theirs, options.node < p.member.node);
  if (wanted.empty()) wanted.push_back({0, world.underlay, p.member.underlay});
  auto same = [](const peers::WayEnds& between, const Way& way) { return way.ends == between; };
  if (std::equal(wanted.begin(), wanted.end(), p.ways.begin(), p.ways.end(), same)) return;
  auto old = std::exchange(p.ways, {});
  bool alone = old.size() == 1 && wanted.size() == 1;  // it has moved, or we have
  auto used = p.choice_of_way.used();
  std::optional<std::size_t> kept;
  for (const auto& between : wanted) {
    auto known = std::find_if(old.begin(), old.end(), [&](const Way& way) {
      return alone || (way.ends.here == between.here && way.ends.there == between.there);
    });
    if (known != old.end()) {
      if (static_cast<std::size_t>(known - old.begin()) == used) kept = p.ways.size();
      p.ways.push_back(std::move(*known));
    } else {
      Way way;
      way.liveness = PathLiveness(options.timers, Millis{0});
      way.mtu.fill(peers::MtuSearch(options.mtu));
      way.tag = ++p.ways_made & 0xffff;
      p.ways.push_back(std::move(way));
    }
    auto& way = p.ways.back();
    way.ends = between;
    way.where.announce({between.there, options.port});
  }
  p.choice_of_way.restart(kept);
  if (!kept)
    for (auto kind : kOnWays) p.path(kind).mtu = peers::MtuSearch(options.mtu);
  if (!p.detour()) p.way_why.clear();
  p.touch();
  changed = true;
}

// The way that a datagram came: our address it came to, and the one that its sender says to send from, wherever a
// translation made it come from. An address that is not announced yet is that of the way in use.
Way& Mesh::Impl::way_of(PeerEntry& p, std::size_t uplink, const std::optional<IpPort>& theirs) {
  if (p.ways.size() == 1) return p.ways.front();
  auto exactly = std::find_if(p.ways.begin(), p.ways.end(), [&](const Way& way) {
    return way.ends.uplink == uplink && theirs && way.ends.there == theirs->ip;
  });
  if (exactly != p.ways.end()) return *exactly;
  if (p.way().ends.uplink == uplink) return p.way();
  auto there = std::find_if(p.ways.begin(), p.ways.end(), [&](const Way& way) { return way.ends.uplink == uplink; });
  return there == p.ways.end() ? p.way() : *there;
}

void Mesh::Impl::probe_ways(PeerEntry& p) {
  if (p.ways.size() == 1) return;
  const auto& used = p.way().liveness;
  bool doubt = used.state() != peers::PathState::up || used.doubtful(now());
  for (auto& way : p.ways) {
    auto pace = PathLiveness::Pace::reserve;
    if (&way == &p.way())
      pace = this->pace();
    else if (doubt)
      pace = crowded ? PathLiveness::Pace::calm : PathLiveness::Pace::eager;
    if (!way.liveness.due(now(), pace)) {
      p.rests_until = std::min(p.rests_until, way.liveness.rests_until(now(), pace));
      continue;
    }
    p.touch();
    auto sequence = way.liveness.probe(now());
    way.sent[sequence % way.sent.size()] = {sequence, real_us()};
    auto number = peers::kWayMark | way.tag << kTagShift | (sequence & 0xffff'ffff);
    send_heartbeat(p, way, peers::DatagramType::probe, number);
  }
}

void Mesh::Impl::way_answered(Way& way, std::uint64_t number) {
  if (((number & ~peers::kWayMark) >> kTagShift) != way.tag) return;  // came back another way than it went
  auto sequence = number & 0xffff'ffff;
  const auto& [known, at] = way.sent[sequence % way.sent.size()];
  if (known == sequence) way.liveness.answered(sequence, now(), std::max(real_us() - at, Micros{1}));
}

void Mesh::Impl::tick_ways() {
  for (auto& [name, p] : entries) {
    if (p.ways.size() == 1 || !p.looked_at) continue;
    for (auto& way : p.ways) changed |= way.liveness.tick(now());
    choose_way(p);
    move_conversation(p);
  }
}

void Mesh::Impl::choose_way(PeerEntry& p) {
  std::vector<peers::WaySight> sights;
  auto since = p.way().liveness.last_answer() + options.timers.steady;
  for (const auto& way : p.ways) {
    const auto& l = way.liveness;
    sights.push_back({l.state(), in_vain(l), l.doubtful(now()), l.loss(), l.last_answer() > since});
  }
  auto from = p.choice_of_way.used();
  if (p.choice_of_way.decide(sights)) take_way(p, from);
}

// What is underway on the old one may still come; from now on everything goes the other one.
void Mesh::Impl::take_way(PeerEntry& p, std::size_t from) {
  changed = urgent = true;
  p.touch();
  auto& old = p.ways[from];
  auto& fresh = p.way();
  if (&old == &fresh) return;
  p.way_since = now();
  bool failed = !peers::works(old.liveness.state()) || old.liveness.silent(now(), suspicious_after());
  auto loss = old.liveness.loss();
  if (failed) old.liveness.give_up(now());
  if (!p.detour())
    p.way_why.clear();
  else if (failed)
    p.way_why = fmt::format("{} does not answer", name_of(old.ends));
  else
    p.way_why = fmt::format("{} % are lost on {}", loss, name_of(old.ends));
  log->info("{}: everything goes {} now{}{}", p.member.node, name_of(fresh.ends),
            p.detour() ? ", because " : ", which is the best way", p.way_why);
  // What was lost on the one says nothing about the other.
  for (auto kind : peers::kAllPaths) p.path(kind).liveness.pardon();
  for (auto kind : kOnWays) {
    auto& path = p.path(kind);
    auto i = static_cast<std::size_t>(kind);
    old.mtu[i] = std::exchange(path.mtu, fresh.mtu[i]);
    auto largest = kind == PathKind::overlay ? vxlan_mtu(p) : tunnel_mtu(p);
    if (path.known_mtu == 0 || largest == 0) continue;
    path.mtu.resize(largest, now());
    note_mtu(p, kind);
  }
  tell_tunnel();
}

unsigned Mesh::Impl::vxlan_mtu(const PeerEntry& p) const {
  auto i = p.way().ends.uplink;
  auto own = i < world.uplinks.size() ? world.uplinks[i].mtu : 0;
  return own ? std::min(own, world.mtu) : world.mtu;
}

unsigned Mesh::Impl::tunnel_mtu(const PeerEntry& p) const {
  auto i = p.way().ends.uplink;
  auto own = i < world.uplinks.size() ? world.uplinks[i].tunnel_mtu : 0;
  return own ? std::min(own, world.tunnel_mtu) : world.tunnel_mtu;
}

// The one in use first, unless it is what fails.
std::vector<const Way*> Mesh::Impl::ways_to_dial(const PeerEntry& p) const {
  std::vector<const Way*> out;
  for (const auto& way : p.ways) out.push_back(&way);
  if (p.ways.size() == 1) return out;
  auto later = [&](const Way* way) {
    bool silent = in_vain(way->liveness);
    if (way == &p.way()) return silent || is_silent(p, PathKind::overlay) ? 2 : 0;
    return silent ? 3 : 1;
  };
  std::stable_sort(out.begin(), out.end(), [&](const Way* a, const Way* b) { return later(a) < later(b); });
  return out;
}

bool Mesh::Impl::is_on(const Link& link, const Way& way) const {
  return link.via().empty() && link.local() == way.ends.here && link.remote().ip == way.ends.there;
}

// A conversation over a way that does not answer any more is begun anew over the one in use, beside the old one. Who
// has dialed does it; the other one if that has not helped.
void Mesh::Impl::move_conversation(PeerEntry& p) {
  if (!p.link || p.dialing || now() < p.dial_at || is_on(*p.link, p.way())) return;
  auto over = std::find_if(p.ways.begin(), p.ways.end(), [&](const Way& way) { return is_on(*p.link, way); });
  if (over == p.ways.end() || !over->liveness.silent(now(), suspicious_after())) return;
  auto patience = p.link->side() == Side::dialer ? Millis{0} : options.other_side_first;
  if (now() - p.way_since < patience) return;
  if (begin_dial(p, "redial ")) p.dial_at = now() + kRedialAgain;
}

// A conversation that was agreed on has proved its way, before there are keys to probe any.
void Mesh::Impl::proved(PeerEntry& p, const Link& link) {
  if (p.ways.size() == 1 || (p.choice_of_way.known() && peers::works(p.way().liveness.state()))) return;
  auto over = std::find_if(p.ways.begin(), p.ways.end(), [&](const Way& way) { return is_on(link, way); });
  if (over == p.ways.end()) return;
  auto from = p.choice_of_way.used();
  p.choice_of_way.adopt(static_cast<std::size_t>(over - p.ways.begin()));
  take_way(p, from);
}

}  // namespace trama::overlay::mesh
