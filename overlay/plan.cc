// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/plan.h"

#include <algorithm>

#include "base/digest.h"
#include "overlay/plan_remotes.h"

namespace trama::overlay {
namespace {

class Planner {
 public:
  Planner(const Desired& desired, const Observed& observed) : want_(desired), have_(observed) {}

  std::vector<Op> install() {
    auto admitted = admit(want_);
    remotes_ = resolve(want_, admitted.peers);
    guards(wanted_guards(admitted.peers));
    for (const auto& s : global_sysctls(want_)) sysctl(s, false);
    fences();
    bool fresh = device();
    if (fresh) lost_with_device(Through::vxlan);
    if (fresh) lost_with_device_alone();
    mtu_ = wanted_mtu(want_, have_);
    tunnel_mtu_ = wanted_tunnel_mtu(want_, have_);
    wireguard_mtu_ = wanted_wireguard_mtu(want_, have_);
    bool shrinks = !fresh && mtu_ < have_.device->mtu;
    if (!fresh && mtu_ > have_.device->mtu) emit(SetMtu{mtu_});
    for (const auto& s : device_sysctls(want_, kDevice)) sysctl(s, fresh);
    addresses(Through::vxlan);
    if (fresh || !have_.device->up) emit(SetUp{want_.port});
    bool tunnel_shrinks = tunnel_device();
    bool wireguard_shrinks = wireguard_device();
    neighbours();
    choose_paths();
    nexthops();
    routes();
    if (shrinks) emit(SetMtu{mtu_});
    if (tunnel_shrinks) emit(SetTunnelMtu{tunnel_mtu_});
    if (wireguard_shrinks) emit(SetWireguardMtu{wireguard_mtu_});
    finish_removals();
    return std::move(ops_);
  }

  std::vector<Op> remove() {
    for (const auto& [key, route] : have_.routes)
      if (!route.unreachable) emit(DeleteRoute{route});
    for (const auto& [id, nexthop] : have_.nexthops) emit(DeleteNexthop{id});
    if (have_.device) emit(DeleteDevice{});
    if (have_.tunnel) emit(DeleteTunnel{});
    if (have_.wireguard) emit(DeleteWireguard{});
    for (const auto& [key, route] : have_.routes)
      if (route.unreachable) emit(DeleteRoute{route});
    if (have_.guards) emit(RemoveGuards{});
    return std::move(ops_);
  }

 private:
  void emit(Op op) { ops_.push_back(std::move(op)); }

  bool plain_routes() const { return want_.direct && !want_.encrypt && have_.mode == Mode::nexthop; }
  // The link that carries our underlay address, if plain routes may lead over it.
  const Uplink* plain_link() const {
    auto link = have_.uplinks.find(want_.underlay);
    return plain_routes() && link != have_.uplinks.end() ? &link->second : nullptr;
  }

  // Who has not said anything since the agent began keeps what it may send.
  Guards wanted_guards(const std::vector<const Peer*>& peers) const {
    const auto* link = plain_link();
    auto wanted = desired_guards(want_, peers, link ? link->name : "");
    if (!wireguarded()) wanted.frame.wireguard = 0;  // the port may be somebody else's
    if (!link || !have_.guards) return wanted;
    for (const auto* peer : peers)
      for (const auto& [plain, element] : have_.guards->direct)
        if (!peer->told && !peer->direct && element.comment == element_comment(peer->node) &&
            std::count(peer->pod_cidrs.begin(), peer->pod_cidrs.end(), plain.pods))
          wanted.direct.emplace(plain, peer->node);
    return wanted;
  }

  void guards(Guards wanted) {
    if (!have_.guards || have_.guards->rules != rules_text(wanted.frame)) {
      emit(LoadGuards{std::move(wanted)});
      return;
    }
    auto change = change_between(wanted, *have_.guards);
    if (!change.empty()) emit(ChangeGuards{std::move(change)});
  }

  void sysctl(const SetSysctl& s, bool always) {
    auto found = have_.sysctls.find(s.key);
    if (!always) {
      if (found == have_.sysctls.end() && s.optional) return;
      if (found != have_.sysctls.end() && found->second == s.value) return;
    }
    emit(s);
  }

  // `unreachable` for our own range, so that unused pod addresses do not loop through the default route, and for the
  // whole cluster, so that traffic to a removed peer does not leave by the uplink in the clear.
  void fences() {
    std::set<Cidr> wanted(want_.pod_cidrs.begin(), want_.pod_cidrs.end());
    wanted.insert(want_.cluster_cidrs.begin(), want_.cluster_cidrs.end());
    for (const auto& c : wanted) {
      Route route;
      route.to = c;
      route.metric = kFenceMetric;
      route.unreachable = true;
      put_route(route, "");
    }
    for (const auto& [key, route] : have_.routes)
      if (key.second == kFenceMetric && !wanted.count(key.first)) last_.push_back(DeleteRoute{route});
  }

  // Returns whether the device is made anew.
  bool device() {
    auto vxlan = wanted_vxlan(want_, have_.mode);
    auto mac = vtep_mac(want_.cluster_id, want_.node);
    const auto& d = have_.device;
    auto here = d ? d->vxlan : netlink::Vxlan{};
    bool moved =
        d && here.local && vxlan.local && here.local != vxlan.local && here.local->family() == vxlan.local->family();
    if (moved) here.local = vxlan.local;
    bool right = d && d->kind == "vxlan" && here == vxlan && d->mac == mac;
    if (right) {
      if (moved) emit(SetLocal{*vxlan.local});
      if (d->alias != kAlias) emit(SetAlias{});
      return false;
    }
    if (d) emit(DeleteDevice{});
    emit(CreateDevice{vxlan, mac, wanted_mtu(want_, have_)});
    return true;
  }

  // With a deleted device the kernel drops everything that points at it.
  void lost_with_device(Through device) {
    auto gone = [&](const Route& r) {
      if (r.unreachable) return false;
      auto through = have_.nexthops.find(r.nexthop);
      return (through == have_.nexthops.end() ? Through::vxlan : through->second.through()) == device;
    };
    std::erase_if(have_.routes, [&](const auto& r) { return gone(r.second); });
    std::erase_if(have_.nexthops, [&](const auto& n) { return n.second.through() == device; });
  }
  void lost_with_device_alone() {
    have_.neighbours.clear();
    have_.forwards.clear();
    have_.addresses.clear();
  }

  bool tunnelled() const { return want_.tunnel && have_.mode == Mode::nexthop && have_.no_tunnel.empty(); }

  // Returns whether its MTU is to shrink once the routes are smaller.
  bool tunnel_device() {
    auto& t = have_.tunnel;
    if (!tunnelled()) {
      // At once: the kernel takes no gateway over trama0 that it has a route to over this one.
      if (t) emit(DeleteTunnel{});
      lost_with_device(Through::tunnel);
      return false;
    }
    bool right = t && t->kind == "tun";
    if (!right) {
      if (t) emit(DeleteTunnel{});
      emit(CreateTunnel{});
      lost_with_device(Through::tunnel);
      have_.tunnel_addresses.clear();
    }
    if (right && !(t->up && t->carrier)) emit(HoldTunnel{});
    if (right && t->alias != kAlias) emit(SetTunnelAlias{});
    bool shrinks = right && tunnel_mtu_ < t->mtu;
    if (!right || tunnel_mtu_ > t->mtu) emit(SetTunnelMtu{tunnel_mtu_});
    for (const auto& s : device_sysctls(want_, kTunnelDevice)) sysctl(s, !right);
    addresses(Through::tunnel);
    if (!right || !t->up) emit(SetTunnelUp{});
    return shrinks;
  }

  // Both name gateways in the same way, so either can go without the other.
  bool can_seal() const { return want_.tunnel && have_.mode == Mode::nexthop; }
  bool wireguarded() const { return want_.wireguard && can_seal() && have_.no_wireguard.empty(); }
  // Not wanted any more, but packets to peers that have not been spoken with yet still take it.
  bool wireguard_lingers() const {
    auto through = [](const auto& n) { return n.second.through() == Through::wireguard; };
    return !wireguarded() && have_.wireguard && can_seal() &&
           std::any_of(have_.nexthops.begin(), have_.nexthops.end(), through) &&
           std::any_of(remotes_.begin(), remotes_.end(), [](const auto& r) { return r.peer->path == Path::keep; });
  }

  // Returns whether its MTU is to shrink once the routes are smaller. Ends with the keys of the peers, before any
  // nexthop leads there.
  bool wireguard_device() {
    auto& w = have_.wireguard;
    if (!wireguarded()) {
      if (!w) return false;
      if (wireguard_lingers()) {
        wireguard_mtu_ = w->mtu;
        return false;
      }
      if (can_seal()) {  // after its last nexthop
        last_.insert(last_.begin(), DeleteWireguard{});
        return false;
      }
      emit(DeleteWireguard{});
      lost_with_device(Through::wireguard);
      return false;
    }
    bool right = w && w->kind == "wireguard";
    if (!right) {
      if (w) emit(DeleteWireguard{});
      emit(CreateWireguard{wireguard_mtu_, want_.wireguard_port});
      lost_with_device(Through::wireguard);
      have_.wireguard_addresses.clear();
    }
    if (right && (!w->own_key || w->port != want_.wireguard_port || w->mark != 0))
      emit(SetWireguard{want_.wireguard_port});
    if (right && w->alias != kAlias) emit(SetWireguardAlias{});
    bool shrinks = right && wireguard_mtu_ < w->mtu;
    if (right && wireguard_mtu_ > w->mtu) emit(SetWireguardMtu{wireguard_mtu_});
    for (const auto& s : device_sysctls(want_, kWireguardDevice)) sysctl(s, !right);
    addresses(Through::wireguard);
    if (!right || !w->up) emit(SetWireguardUp{want_.wireguard_port});
    auto wish = wanted_wireguard(want_, have_);
    wireguard_nodes_ = std::move(wish.nodes);
    static const std::map<base::WireguardKey, netlink::WireguardPeer> kNone;
    const auto& peers = right ? w->peers : kNone;
    for (const auto& [key, entry] : wish.peers) {
      auto found = peers.find(key);
      if (found == peers.end() || found->second != entry.peer) emit(PutWireguardPeer{entry.peer, entry.node});
    }
    for (const auto& [key, peer] : peers)
      if (!wish.peers.contains(key)) after_nexthops_.push_back(DeleteWireguardPeer{key});
    return shrinks;
  }

  // The same addresses on all devices: masquerading speaks as the one that packets leave by.
  void addresses(Through on) {
    std::set<Ip> wanted;
    bool vxlan = on == Through::vxlan;
    const auto& have = vxlan                   ? have_.addresses
                       : on == Through::tunnel ? have_.tunnel_addresses
                                               : have_.wireguard_addresses;
    for (const auto& c : want_.pod_cidrs) wanted.insert(vtep_ip(c));
    if (vxlan) wanted.insert(want_.dns.begin(), want_.dns.end());
    for (const auto& ip : wanted) {
      auto found = have.find(ip);
      bool dns = std::find(want_.dns.begin(), want_.dns.end(), ip) != want_.dns.end();
      if (found == have.end() || found->second != ip.bits()) emit(PutAddress{ip, dns, on});
    }
    for (const auto& [ip, length] : have)
      if (!wanted.count(ip) || length != ip.bits()) after_routes_.push_back(DeleteAddress{ip, length, on});
  }

  void choose_paths() {
    std::map<Ip, Path> now;
    for (const auto& [id, nexthop] : have_.nexthops) {
      auto path = path_of(nexthop.through());
      now.emplace(nexthop.gateway, path);
      if (path == Path::vxlan) ways_now_.emplace(nexthop.gateway, Way{nexthop.from, nexthop.to});
    }
    for (auto& r : remotes_) {
      bool sealed = want_.encrypt && !r.peer->clear;
      auto path = r.peer->path;
      if (path == Path::keep) {
        auto kept = now.find(r.gateway);
        if (kept == now.end() && r.plain) kept = now.find(r.peer->underlay);
        path = kept == now.end() ? Path::vxlan : kept->second;
      }
      if (path == Path::wireguard && !wireguard_nodes_.contains(r.peer->node) && !wireguard_lingers())
        path = Path::tunnel;
      if (sealed && path != Path::wireguard) path = Path::tunnel;
      if (path == Path::direct && !r.plain) path = r.peer->beside;
      if (path == Path::direct && !plain_link()) path = Path::vxlan;
      r.path = path == Path::tunnel && !tunnelled() ? Path::vxlan : path;
      r.way = way_of(r);
    }
  }

  // Nobody knows better while the mesh has not looked: what the kernel has may be the one that works.
  Way way_of(const Remote& r) const {
    Way first{want_.underlay, r.peer->underlay};
    if (have_.mode != Mode::nexthop || (want_.further.empty() && r.peer->further.empty())) return first;
    auto ours = uplinks_of(want_), theirs = uplinks_of(*r.peer);
    auto fits = [&](const Way& w) {
      return std::count(ours.begin(), ours.end(), w.from) && std::count(theirs.begin(), theirs.end(), w.to);
    };
    if (r.peer->way) return fits(*r.peer->way) ? *r.peer->way : first;
    auto kept = ways_now_.find(r.gateway);
    if (kept == ways_now_.end()) kept = ways_now_.find(r.former);
    return kept != ways_now_.end() && fits(kept->second) ? kept->second : first;
  }

  void neighbours() {
    std::map<Ip, Mac> wanted;
    std::map<Mac, Ip> wanted_forwards;
    for (const auto& r : remotes_) {
      std::vector<Ip> gateways;
      if (have_.mode == Mode::nexthop)
        gateways = {r.gateway};
      else
        for (const auto& [cidr, source] : r.pods) gateways.push_back(vtep_ip(cidr));
      for (const auto& gateway : gateways) {
        wanted.emplace(gateway, r.mac);
        auto found = have_.neighbours.find(gateway);
        if (found == have_.neighbours.end() || found->second != r.mac) emit(PutNeighbour{gateway, r.mac, r.peer->node});
      }
      if (have_.mode == Mode::nexthop) continue;
      wanted_forwards.emplace(r.mac, r.peer->underlay);
      auto found = have_.forwards.find(r.mac);
      if (found == have_.forwards.end() || found->second != std::set<Ip>{r.peer->underlay})
        emit(PutForward{r.mac, r.peer->underlay, r.peer->node});
    }
    for (const auto& [mac, destinations] : have_.forwards)
      if (!wanted_forwards.count(mac))
        for (const auto& to : destinations) after_nexthops_.push_back(DeleteForward{mac, to});
    for (const auto& [ip, mac] : have_.neighbours)
      if (!wanted.count(ip)) after_nexthops_.push_back(DeleteNeighbour{ip});
  }

  // A peer's nexthop is found again by its gateway, so the id survives restarts without being written anywhere. A new
  // one gets the first free id from a place that its gateway decides.
  void nexthops() {
    std::map<Ip, std::uint32_t> by_gateway;
    std::set<std::uint32_t> taken = have_.foreign_nexthops;
    for (const auto& [id, nexthop] : have_.nexthops) {
      by_gateway.emplace(nexthop.gateway, id);  // of two, the lower id stays
      taken.insert(id);
    }
    std::set<std::uint32_t> used;
    if (have_.mode == Mode::nexthop) {
      for (const auto& r : remotes_) {
        Nexthop wanted{0, r.gateway, want_.vni, r.way.from, r.way.to, true, false};
        if (r.path == Path::tunnel) wanted = Nexthop{0, r.gateway, {}, {}, {}, true, true};
        if (r.path == Path::wireguard) wanted = Nexthop{0, r.gateway, {}, {}, {}, true, false, {}, true};
        if (r.path == Path::direct) wanted = Nexthop{0, r.peer->underlay, {}, {}, {}, true, false, plain_link()->index};
        auto known = by_gateway.find(r.gateway);
        if (known == by_gateway.end()) known = by_gateway.find(r.former);
        if (known == by_gateway.end() && r.plain) known = by_gateway.find(r.peer->underlay);
        if (known != by_gateway.end())
          wanted.id = known->second;
        else
          wanted.id = free_id(r.gateway, taken);
        taken.insert(wanted.id);
        used.insert(wanted.id);
        ids_.emplace(r.gateway, wanted.id);
        auto found = have_.nexthops.find(wanted.id);
        if (found != have_.nexthops.end() && found->second == wanted) continue;
        // On a path with a smaller MTU packets must be smaller before; on one with a larger one they may be, after.
        shrink_routes(r, wanted.id);
        emit(PutNexthop{wanted, r.peer->node});
      }
    }
    for (const auto& [id, nexthop] : have_.nexthops)
      if (!used.count(id)) after_routes_.push_back(DeleteNexthop{id});
  }

  static std::uint32_t free_id(const Ip& gateway, const std::set<std::uint32_t>& taken) {
    std::uint32_t place = base::crc32c(gateway.to_string()) % kNexthopRange;
    while (taken.count(kNexthopBase + place)) place = (place + 1) % kNexthopRange;
    return kNexthopBase + place;
  }

  unsigned mtu_of(const Remote& r) const {
    auto whole = r.path == Path::tunnel      ? tunnel_mtu_
                 : r.path == Path::wireguard ? wireguard_mtu_
                 : r.path == Path::direct    ? wanted_direct_mtu(want_, have_)
                                             : mtu_;
    if (auto there = uplink_mtu(want_, have_, r.way.from); there && r.path != Path::direct)
      whole = std::min(whole, r.path == Path::tunnel      ? tunnel_mtu(want_, there)
                              : r.path == Path::wireguard ? wireguard_mtu(want_, there)
                                                          : overlay_mtu(want_, there));
    auto known = r.peer->path == Path::direct && r.path != Path::direct ? r.peer->beside_mtu : r.peer->mtu;
    return known ? std::min(whole, known) : whole;
  }

  void shrink_routes(const Remote& r, std::uint32_t nexthop) {
    for (const auto& [cidr, source] : r.pods) {
      auto found = have_.routes.find({cidr, 0});
      if (found == have_.routes.end() || found->second.nexthop != nexthop || found->second.mtu <= mtu_of(r)) continue;
      found->second.mtu = mtu_of(r);
      emit(ReplaceRoute{found->second, r.peer->node});
    }
  }

  void routes() {
    std::set<RouteKey> wanted;
    for (const auto& r : remotes_) {
      for (const auto& [cidr, source] : r.pods) {
        Route route{cidr, 0, false, 0, {}, source, mtu_of(r)};
        if (have_.mode == Mode::nexthop)
          route.nexthop = ids_.at(r.gateway);
        else
          route.gateway = vtep_ip(cidr);
        wanted.insert({cidr, 0});
        put_route(route, r.peer->node);
      }
    }
    for (const auto& [key, route] : have_.routes)
      if (key.second != kFenceMetric && !wanted.count(key)) stale_routes_.push_back(DeleteRoute{route});
  }

  void put_route(const Route& route, const std::string& node) {
    auto found = have_.routes.find({route.to, route.metric});
    if (found == have_.routes.end())
      emit(AddRoute{route, node});
    else if (!(found->second == route))
      emit(ReplaceRoute{route, node});
  }

  void finish_removals() {
    for (auto* list : {&stale_routes_, &after_routes_, &after_nexthops_, &last_})
      for (auto& op : *list) emit(std::move(op));
  }

  const Desired& want_;
  Observed have_;  // a copy: what the plan itself destroys is taken out of it
  std::vector<Remote> remotes_;
  std::map<Ip, std::uint32_t> ids_;
  std::map<Ip, Way> ways_now_;  // by gateway: what the kernel has
  std::set<std::string> wireguard_nodes_;
  unsigned mtu_ = 0, tunnel_mtu_ = 0, wireguard_mtu_ = 0;
  std::vector<Op> ops_, stale_routes_, after_routes_, after_nexthops_, last_;
};

}  // namespace

std::vector<Op> plan(const Desired& desired, const Observed& observed) {
  Planner planner(desired, observed);
  return desired.absent() ? planner.remove() : planner.install();
}

std::vector<std::string> problems(const Desired& desired, const Observed& observed) {
  if (desired.absent()) return {};
  auto out = admit(desired).refused;
  auto uplink = observed.uplinks.find(desired.underlay);
  auto uncarried = [&](const Ip& address, const char* what) {
    if (!observed.uplinks.contains(address))
      out.push_back(fmt::format(
          "no interface carries {}, {} that this node announces to its peers: add it to an interface, or give "
          "the agent another node address",
          address.to_string(), what));
  };
  uncarried(desired.underlay, "the address");
  if (!desired.further.empty() && observed.mode != Mode::nexthop)
    out.push_back(
        fmt::format("this kernel has no nexthop objects (Linux 5.3), so of this node's addresses {} alone is used; "
                    "update the kernel, or announce one address",
                    desired.underlay.to_string()));
  else
    for (const auto& ip : desired.further) uncarried(ip, "one of the addresses");
  if (desired.encrypt && observed.mode != Mode::nexthop)
    out.push_back(
        "encryption is required, but this kernel has no nexthop objects (Linux 5.3), which the tunnel needs: nothing "
        "passes to other nodes; update the kernel, or run the cluster with --encryption off");
  if (desired.encrypt && !observed.no_tunnel.empty())
    out.push_back(fmt::format("encryption is required, but there can be no tunnel, so {}: {}",
                              wanted_wireguard_mtu(desired, observed) > 0
                                  ? "only nodes that have WireGuard, too, are reached, and only while its port is open"
                                  : "nothing passes to other nodes",
                              observed.no_tunnel));
  if (wanted_wireguard_mtu(desired, observed) > 0)
    for (auto& line : wanted_wireguard(desired, observed).refused) out.push_back(std::move(line));
  unsigned underlay_mtu =
      desired.underlay_mtu ? desired.underlay_mtu : (uplink == observed.uplinks.end() ? 0 : uplink->second.mtu);
  unsigned mtu = wanted_mtu(desired, observed);
  if (underlay_mtu && mtu + overhead(desired.underlay.family()) > underlay_mtu)
    out.push_back(
        fmt::format("the underlay MTU of {} leaves less than the {} that pods need: packets will be "
                    "fragmented underway; raise it to {}",
                    underlay_mtu, mtu, mtu + overhead(desired.underlay.family())));
  return out;
}

}  // namespace trama::overlay
