// SPDX-License-Identifier: GPL-2.0-or-later
// One peer as the mesh sees it. Private to overlay/mesh.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "overlay/mesh/link.h"
#include "overlay/peers/choice.h"
#include "overlay/peers/mtu_search.h"
#include "overlay/peers/relay_choice.h"
#include "overlay/peers/status.h"
#include "overlay/peers/ways.h"
#include "overlay/peers/whereabouts.h"
#include "overlay/peers/world.h"

namespace trama::overlay::mesh {

using peers::Arrivals;
using peers::kPaths;
using peers::Micros;
using peers::PathKind;
using peers::PathLiveness;

// Keys outlive the connection that made them: the path of datagrams does not need it.
struct Keyed {
  Keyed(peers::DatagramKeys k, std::string name) : keys(std::move(k)), peer(std::move(name)) {}
  peers::DatagramKeys keys;
  std::string peer;
  std::optional<Millis> retires;  // replaced: still opens, does not seal any more
  bool confirmed = false;         // the peer has them too: before that, nothing is sealed with them
  bool tunnel = false;            // there are keys for packets, too
  bool dialer = false;            // we began that conversation
  std::string cipher;             // of those
  Millis made{0};
};

// A path with what was seen on it.
struct Path {
  PathLiveness liveness;
  Arrivals arrivals;
  peers::MtuSearch mtu;    // of VXLAN and the tunnel
  unsigned known_mtu = 0;  // that was told
  std::string send_error;  // of the last probe
  std::string reason;
  std::array<std::pair<std::uint64_t, Micros>, 64> sent{};  // sequence and real time, for round trips

  std::uint64_t probe(Millis now, Micros real) {
    auto sequence = liveness.probe(now);
    mtu.sent(now);
    sent[sequence % sent.size()] = {sequence, real};
    return sequence;
  }
  void forget(Millis now) {
    liveness.forget(now);
    mtu.forget();
    known_mtu = 0;
  }
  bool answered(std::uint64_t sequence, Millis now, Micros real) {
    if (sequence & peers::MtuSearch::kMark) {
      bool known = mtu.answered(sequence, now);
      if (known) liveness.heard(now);
      return known;
    }
    const auto& [known, at] = sent[sequence % sent.size()];
    if (known != sequence) return false;
    if (!liveness.answered(sequence, now, std::max(real - at, Micros{1}))) return false;
    mtu.answered(now);
    return true;
  }
};

// The other side's probes of a path: what came of the numbers that are given out one after the other.
inline void note_arrival(Path& path, std::uint64_t sequence, Millis now) {
  if (!(sequence & peers::MtuSearch::kMark)) path.arrivals.arrived(sequence, now);
}

// One way to a peer: which of our addresses, which of its.
struct Way {
  peers::WayEnds ends;
  peers::Whereabouts where;  // its datagrams
  // The last newest one came from there; it had left, and ours were seen there, at.
  std::optional<IpPort> heard_from, says_from, sees_us;
  bool translated() const { return heard_from && says_from && *heard_from != *says_from; }
  // Looked at only where there are several.
  PathLiveness liveness;
  std::uint64_t tag = 0;  // in the numbers of its probes
  std::array<std::pair<std::uint64_t, Micros>, 16> sent{};
  // What paths carry on it, while another one is in use.
  std::array<peers::MtuSearch, kPaths> mtu;
};

struct PeerEntry {
  peers::Member member;
  std::vector<Way> ways{1};  // best first; one at least
  peers::WayChoice choice_of_way;
  std::uint64_t ways_made = 0;
  Way& way() { return ways[choice_of_way.used()]; }
  const Way& way() const { return ways[choice_of_way.used()]; }
  std::string way_why;  // why not the first one
  Millis way_since{0};  // when it was taken
  bool detour() const { return choice_of_way.used() > 0; }
  bool hearsay = false, neighbour = false;
  bool starting = false;  // so it says
  bool met = false;       // something has come from it, on any path
  Millis first_seen{0};
  std::optional<Ip> overlay;
  const peers::World::Peer* known = nullptr;  // in the present World; null = the overlay is not programmed for it
  std::array<Path, kPaths> paths;
  Path& path(PathKind k) { return paths[static_cast<std::size_t>(k)]; }
  const Path& path(PathKind k) const { return paths[static_cast<std::size_t>(k)]; }

  std::shared_ptr<Link> link;  // the established one
  std::string uid;             // of the life of the peer that the link is with
  bool dialing = false, wanted = false, renewing = false;
  Millis dial_at{0}, dial_began{0};
  Millis asked_until{-1};             // somebody relays to it over us, or we may over it
  Millis needed{0}, heard_sealed{0};  // when its keys were last needed; when something came with them
  base::Backoff backoff{std::chrono::milliseconds(1'000), std::chrono::milliseconds(60'000)};
  std::string trouble;

  std::vector<std::shared_ptr<Keyed>> keys;  // the last confirmed one seals
  Keyed* sealing() const {
    for (auto it = keys.rbegin(); it != keys.rend(); ++it)
      if ((*it)->confirmed && !(*it)->retires) return it->get();
    return nullptr;
  }
  bool is_confirmed(const Link& of) const {
    if (keys.empty() || !keys.back()->confirmed || !of.has_session()) return false;
    return keys.back()->keys.my_index() == of.session().mine().udp_index;
  }

  // The way over a third node; looked at while `third_until` has not come.
  peers::RelayChoice third;
  std::map<std::string, std::pair<peers::Reach, Millis>> third_said;  // what others say about it, and when
  Millis third_until{-1}, ask_at{0}, splice_at{0};
  unsigned asked_in_vain = 0, splice_tries = 0;
  bool splicing = false;
  std::string told_via;  // to the tunnel

  // What it said when it was last spoken with.
  bool has_tunnel = false, relays = false, wants_encryption = false, grants_clear = false;
  std::optional<base::WireguardEnd> wireguard;
  std::optional<base::Mac> plain_mac;  // it takes pods' packets as they are, and sends its own from there
  peers::PathChoice choice;
  std::uint64_t keys_made = 0;

  // Many peers that are well cost little: before that, a tick passes them over, unless touch() was called meanwhile.
  Millis rests_until{0};
  bool looked_at = true;     // by the present tick
  std::size_t hurrying = 0;  // paths
  void touch() { rests_until = Millis{0}; }
  std::optional<peers::Report> report;  // what it receives of us
  Millis reported{0}, told{0};          // when it has said so; when we last told it by TCP

  // How long ago the peer says that it has heard us on that path, if it has said so lately.
  std::optional<Millis> heard_us(PathKind k, Millis now) const {
    constexpr Millis kFresh{3'000};
    if (!report || now - reported > kFresh) return std::nullopt;
    auto age = (*report)[static_cast<std::size_t>(k)].age_ms;
    return age == peers::kNever ? Millis::max() : Millis(age) + (now - reported);
  }
};

}  // namespace trama::overlay::mesh
