// SPDX-License-Identifier: GPL-2.0-or-later
// What a NodeAgent has to do with other agents.
#include <algorithm>

#include "agent/compute/peers.h"
#include "agent/node_agent.h"
#include "agent/peer_pages.h"

namespace trama::agent {

namespace {
constexpr unsigned kWireguardPatience = 3;  // passes of the overlay until peers are spoken with all the same
}

void NodeAgent::open_peers() {
  const auto& options = settings_.options;
  PeerMesh::Options how;
  how.node_name = options.node_name;
  how.port = options.ports.peer;
  how.members_file = options.data_dir + "/view/members";
  how.tunnel = settings_.tunnel();
  how.relay = options.relay;
  peers_ = std::make_unique<PeerMesh>(brain_, files_.executor(), std::move(how),
                                      [this](const MeshStatus& status) { peers_changed(status); });
}

// What Nodes say, and the paths that the mesh has chosen.
void NodeAgent::publish_overlay() {
  if (!topology_.overlay) return;
  auto wanted = *topology_.overlay;
  bool several = std::any_of(wanted.peers.begin(), wanted.peers.end(),
                             [&](const auto& p) { return !wanted.further.empty() || !p.second.further.empty(); });
  if (peers_seen_ && (wanted.tunnel || wanted.direct || several)) use_paths(wanted, *peers_seen_);
  if (overlay_wanted_ && *overlay_wanted_ == wanted) return;
  overlay_wanted_ = std::make_shared<const overlay::Desired>(std::move(wanted));
  overlay_told_ = Clock::now();
  overlay_facts_.generation = rooms_->overlay().publish(overlay_wanted_);
}

std::optional<overlay::peers::World::Plain> NodeAgent::plain_of(const overlay::Status& status) const {
  if (!status.plain_link || !topology_.overlay) return std::nullopt;
  const auto& link = *status.plain_link;
  auto subnet = base::Cidr::of(topology_.overlay->underlay, link.prefix);
  return overlay::peers::World::Plain{link.index, link.mac, subnet, status.direct_mtu};
}

std::vector<overlay::peers::World::Uplink> NodeAgent::uplinks_of(const overlay::Status& status) {
  std::vector<overlay::peers::World::Uplink> out;
  for (const auto& u : status.uplinks) {
    overlay::peers::World::Uplink uplink{u.address, std::nullopt, u.mtu, u.tunnel_mtu};
    if (u.link) uplink.subnet = base::Cidr::of(u.address, u.link->prefix);
    out.push_back(std::move(uplink));
  }
  return out;
}

void NodeAgent::note_wireguard(const overlay::Status& status) {
  std::optional<overlay::peers::World::Wireguard> now;
  if (const auto& w = status.wireguard) now = {w->link, {w->key, w->port}, w->mtu};
  auto why = status.no_wireguard;
  if (why.empty() && settings_.encrypt() && !settings_.wireguard()) why = "switched off (--wireguard off)";
  ++wireguard_passes_;
  if (!why.empty() && why != no_wireguard_) log_->info("overlay: {}: the sealed tunnel is used", why);
  if (now && !wireguard_)
    log_->info("overlay: WireGuard on UDP {}, with peers that have it, too; key {}", now->end.port,
               now->end.key.to_string());
  if (now != wireguard_ || why != no_wireguard_ || wireguard_passes_ <= kWireguardPatience) mesh_world_old_ = true;
  wireguard_ = std::move(now);
  no_wireguard_ = std::move(why);
}

// Once the overlay is known; then whenever Nodes, its MTU or our ear for the controller have changed.
void NodeAgent::update_peers() {
  bool heard = feed_->connected() && view_.synced(Kind::nodes);
  if (heard != std::exchange(controller_heard_, heard)) mesh_world_old_ = true;
  if (!mesh_world_old_ || !topology_.overlay) return;
  // What peers are told at first includes our link's address.
  if (topology_.overlay->direct && !overlay_status_) return;
  // And the key of our WireGuard device, unless something is the matter with it.
  bool settled = wireguard_ || !no_wireguard_.empty() || wireguard_passes_ >= kWireguardPatience;
  if (topology_.overlay->wireguard && !settled) return;
  mesh_world_old_ = false;
  MeshContext context{overlay_mtu_, tunnel_mtu_, heard, settings_.trusted, plain_, uplinks_, wireguard_, no_wireguard_};
  peers_->set_world(compute_mesh_world(view_.nodes(), *topology_.overlay, context));
}

void NodeAgent::peers_changed(const MeshStatus& status) {
  auto events = peers_seen_ ? path_events(*peers_seen_, status) : std::vector<PathEvent>();
  auto node = view_.node(settings_.options.node_name);
  for (const auto& e : events) {
    if (e.warning)
      log_->warn("overlay: {}", e.message);
    else
      log_->info("overlay: {}", e.message);
    if (node) reporter_->event(*node, "Node", e.warning ? "Warning" : "Normal", e.reason, e.message);
  }
  bool news = !peers_seen_ || judge_paths(*peers_seen_) != judge_paths(status);
  peers_seen_ = status;
  publish_overlay();
  if (news) changed_.set();
}

awaitable<void> NodeAgent::serve_overlay(std::string page, HttpExchange& exchange) {
  auto status = co_await peers_->look();
  HttpReply reply;
  reply.content_type = "text/plain; charset=utf-8";
  if (page == "status") {
    reply.body = overlay_summary(status);
  } else if (page == "connections") {
    reply.body = overlay_connections(status);
  } else if (page == "peers") {
    reply.body = overlay_peers(status);
  } else if (page == "paths") {
    reply.body = overlay_paths(status);
  } else if (page == "report") {
    reply.content_type = "application/json";
    reply.body = json::serialize(overlay_report(status)) + "\n";
  } else if (page == "metrics") {
    reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
    reply.body = overlay_metrics(status);
  } else if (page == "healthz") {
    reply.body = "ok\n";  // whoever looks has been answered by the thread of the heartbeats
  } else if (page == "readyz") {
    reply.body = overlay_ready(status, reply.status);
  } else {
    reply.status = 404;
    reply.body =
        "no such page; there are /status, /status/connections, /status/peers, /status/paths, /report, /metrics, "
        "/healthz and /readyz\n";
  }
  co_await exchange.reply(reply);
}

}  // namespace trama::agent
