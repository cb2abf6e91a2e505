// SPDX-License-Identifier: GPL-2.0-or-later
// A Mesh's conversations on demand: who needs keys and has none, or old ones; and the end of those that were for keys
// alone.
#include <algorithm>

#include "overlay/mesh/mesh_impl.h"

namespace trama::overlay::mesh {

namespace {

constexpr Millis kOtherSideLate{10'000};
constexpr Millis kStale{8'000};      // that nothing comes with keys that are needed: the other side has lost them
constexpr Millis kIdleKeys{60'000};  // that nobody needs and nothing comes with
constexpr const char* kAgreed = "the keys are agreed on, and this conversation was for them alone";

}  // namespace

// Longer than a probe and a second look at what it has asked.
Millis Mesh::Impl::suspicious_after() const { return options.timers.steady + 2 * options.timers.quick; }

// Something was asked there, and nothing has come back for that long.
bool Mesh::Impl::in_vain(const PathLiveness& liveness) const {
  return liveness.state() != peers::PathState::unknown && liveness.silent(now(), suspicious_after());
}

bool Mesh::Impl::is_silent(const PeerEntry& p, PathKind kind) const {
  const auto& liveness = p.path(kind).liveness;
  return liveness.state() == peers::PathState::down || in_vain(liveness);
}

peers::KeyNeed Mesh::Impl::need_of(const PeerEntry& p) const {
  peers::KeyNeed n;
  n.neighbour = p.neighbour;
  if (!p.known) return n;
  n.asked_for = now() < p.asked_until || p.detour();  // without keys nobody sees that the best way is well again
  n.must_encrypt = must_encrypt(p);
  n.sealed = peers::is_sealed(p.choice.beside());
  n.fast_silent = tunnel_works() && is_silent(p, PathKind::overlay);
  return n;
}

// The peer may have begun anew since.
bool Mesh::Impl::has_stale_keys(const PeerEntry& p) const {
  const auto* key = p.sealing();
  return key && p.path(PathKind::control).liveness.state() == peers::PathState::down &&
         now() - std::max(p.heard_sealed, key->made) > kStale;
}

void Mesh::Impl::dial_due() {
  if (!talks() || world.underlay.is_unspecified()) return;
  // From our own place on: else all nodes begin with the same one.
  std::vector<PeerEntry*> order;
  auto own = entries.upper_bound(options.node);
  for (auto it = own; it != entries.end(); ++it) order.push_back(&it->second);
  for (auto it = entries.begin(); it != own; ++it) order.push_back(&it->second);
  std::erase_if(order, [](const PeerEntry* p) { return !p->looked_at; });
  for (auto* p : order) {
    const auto& name = p->member.node;
    if (awaits(*p)) continue;
    auto need = need_of(*p);
    bool wanted = peers::keeps_conversation(need) || (peers::needs_keys(need) && (!p->sealing() || has_stale_keys(*p)));
    if (std::exchange(p->wanted, wanted) != wanted) {
      p->touch();
      if (wanted) p->dial_at = std::max(p->dial_at, now());
    }
    if (!wanted || p->link || p->dialing) continue;
    // Where nothing may pass in the clear, pods wait for keys; what only one side may know, that one begins.
    bool first = options.node < name || p->backoff.delay().count() > 0 || (p->neighbour && must_encrypt(*p)) ||
                 need.fast_silent || need.asked_for;
    auto patience = first ? Millis{0} : options.other_side_first;
    if (now() < p->dial_at + patience) continue;
    if (p->member.underlay.family() != world.underlay.family()) continue;
    begin_dial(*p, p->neighbour ? "dial " : "keys with ");
  }
}

// Towards neighbours at once; else when it is our turn.
bool Mesh::Impl::begin_dial(PeerEntry& p, const char* what) {
  bool metered = !p.neighbour;
  if (metered && !demand.begin(now())) return false;
  p.dialing = true;
  p.dial_began = now();
  auto job = [](Impl* self, std::string name, bool counted) -> awaitable<void> {
    auto dialed = self->dial(std::move(name));
    co_await std::move(dialed);
    if (counted) self->demand.ended();
  };
  tasks.spawn(what + p.member.node, job(this, p.member.node, metered));
  return true;
}

// A new conversation makes new keys, with nothing of the old ones in them.
void Mesh::Impl::renew_keys() {
  for (auto& [name, p] : entries) {
    if (!p.looked_at) continue;
    const auto* key = p.sealing();
    if (!key || !key->tunnel || p.dialing || !peers::is_sealed(p.choice.beside())) continue;
    auto sealed = options.tunnel->sealed(key->keys.my_index());
    // Usually the one that dialed; the other one if that has not helped.
    auto late = key->dialer ? Millis{0} : kOtherSideLate;
    bool old = now() - key->made >= options.renew_after + late;
    bool used = sealed >= options.renew_packets * (key->dialer ? 1 : 2);
    p.renewing = old || used;
    if (!p.renewing || now() < p.dial_at) continue;
    if (!p.link && !reached_directly(p)) continue;  // mesh_relay.cc asks a third node
    if (begin_dial(p, "renew keys with ")) p.dial_at = now() + std::min(kOtherSideLate, options.renew_after);
  }
}

// What we offer a peer has changed since we said it: a new conversation says it anew, beside the old one.
void Mesh::Impl::say_anew() {
  for (auto& [name, p] : entries) {
    if (!p.looked_at || !p.link || !p.link->via().empty() || p.dialing || now() < p.dial_at) continue;
    if (now() - p.link->established < kYoung || p.link->session().mine().capabilities == capabilities(name)) continue;
    if (begin_dial(p, "tell anew ")) p.dial_at = now() + kOtherSideLate;
  }
}

// Ends what was for keys alone, and lets keys go that nobody needs any more.
void Mesh::Impl::tick_demand() {
  for (auto& [name, p] : entries) {
    if (!p.looked_at) continue;
    auto need = need_of(p);
    if (p.link && p.link->side() == Side::dialer && p.is_confirmed(*p.link) &&
        (!peers::keeps_conversation(need) || !p.link->via().empty())) {
      auto link = std::exchange(p.link, nullptr);
      link->session().close(kAgreed);
      link->flush();
      log->debug("{}: {}", name, kAgreed);
      changed = true;
    }
    if (peers::needs_keys(need)) {
      p.needed = now();
      continue;
    }
    bool idle = now() - p.needed > Millis{1'000};
    for (auto kind : {PathKind::control, PathKind::tunnel})
      if (auto& path = p.path(kind); idle && path.liveness.state() != peers::PathState::unknown) {
        path.forget(now());
        changed = true;
      }
    if (p.keys.empty() || now() - std::max(p.needed, p.heard_sealed) < kIdleKeys) continue;
    log->debug("{}: its keys are not needed any more", name);
    for (const auto& key : p.keys) forget(*key);
    p.keys.clear();
    changed = true;
  }
}

// The other side has ended one of those.
bool Mesh::Impl::ended_in_peace(const PeerEntry& p, const Link& link) const {
  return p.is_confirmed(link) && (!peers::keeps_conversation(need_of(p)) || !link.via().empty());
}

}  // namespace trama::overlay::mesh
