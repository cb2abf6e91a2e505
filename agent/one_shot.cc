// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/one_shot.h"

#include <cstdio>

#include <unistd.h>

#include "agent/identity.h"
#include "agent/view_file.h"
#include "base/file.h"
#include "control/client/paths.h"

namespace trama::agent {

namespace {

constexpr auto kLongest = std::chrono::minutes(2);

struct Seen {
  std::vector<std::string> sandbox_failures, overlay_problems;
  bool overlay_gone = false;
};

awaitable<base::Result<>> read_view(client::ApiClient& client, ClusterView& view, const std::string& node, bool pods) {
  for (auto kind : kKinds) {
    if (kind == Kind::pods && !pods) continue;
    std::string query;
    if (kind == Kind::pods) query = "fieldSelector=" + client::url_encode("spec.nodeName=" + node);
    auto listed = co_await client.list(client::collection_path(to_string(kind)), query);
    if (!listed) co_return base::Error(listed.error()).in(fmt::format("list {}", to_string(kind)));
    std::vector<api::ObjectPtr> all;
    for (auto& body : listed->items) {
      api::Key key{to_string(kind), api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
      all.push_back(api::make_object(std::move(key), std::move(body), 0));
    }
    view.list(kind, all, 0);
  }
  co_return base::Result<>();
}

void print_service(const servicelb::Service& service) {
  for (const auto& port : service.ports) {
    std::string ips;
    for (const auto& ip : service.cluster_ips) ips += (ips.empty() ? "" : ",") + ip.to_string();
    fmt::print("services: {}{}{} {} port {}: {} endpoints\n", service.key.to_string(), port.name.empty() ? "" : ":",
               port.name, ips, port.port, port.endpoints.size());
  }
}

}  // namespace

awaitable<base::Result<>> uninstall(Settings settings) {
  auto ex = co_await async::asio::this_coro::executor;
  Seen seen;
  std::shared_ptr<const netns::Observed> observed;
  RoomsOptions how;
  how.paths = settings.paths();
  how.resync = std::chrono::milliseconds(200);
  RoomsEvents events;
  events.observed = [&](std::shared_ptr<const netns::Observed> o) { observed = std::move(o); };
  events.outcome = [](const SandboxPort::Outcome&) {};
  events.sandboxes = [&](const async::PassReport& report) { seen.sandbox_failures = report.failures; };
  events.overlay = [&](const overlay::Status& status) {
    seen.overlay_gone = status.in_sync;
    seen.overlay_problems = status.problems;
  };
  events.services = [](const servicelb::Reconciler::Report&) {};
  auto rooms = Rooms::open(ex, how, std::move(events));
  if (!rooms) co_return rooms.error();
  auto& r = **rooms;
  auto services_gone = co_await r.remove_services();
  r.start();
  r.sandboxes().publish(std::make_shared<const netns::Desired>());
  r.overlay().publish(std::make_shared<const overlay::Desired>());
  auto give_up = std::chrono::steady_clock::now() + kLongest;
  auto all_gone = [&] {
    return seen.overlay_gone && observed && observed->sandboxes.empty() &&
           observed->guard == netns::GuardTable::absent && seen.sandbox_failures.empty();
  };
  while (!all_gone() && std::chrono::steady_clock::now() < give_up) {
    r.wake_sandboxes();
    co_await async::sleep_for(std::chrono::milliseconds(50));
  }
  co_await r.stop();
  base::Result<> result;
  if (!services_gone) {
    result = base::Error(services_gone.error()).in("remove the services' tables");
  } else if (!all_gone()) {
    std::vector<std::string> left = seen.sandbox_failures;
    left.insert(left.end(), seen.overlay_problems.begin(), seen.overlay_problems.end());
    result = base::Error::text(fmt::format("not everything could be removed: {}", fmt::join(left, "; ")),
                               std::errc::timed_out);
  }
  if (result) result = base::remove_tree(settings.options.data_dir + "/view");
  // Only when empty: what others put there stays.
  ::rmdir(settings.options.etc_netns_dir.c_str());
  auto groups = netns::CgroupRoot::open(settings.options.cgroup_root);
  if (result && groups) result = groups->remove_root();
  co_return result;
}

awaitable<base::Result<>> dry_run(Settings settings) {
  auto ex = co_await async::asio::this_coro::executor;
  const auto& options = settings.options;
  IdentityOptions who;
  who.node_name = options.node_name;
  who.server = options.server;
  who.kubeconfig = options.kubeconfig;
  who.data_dir = options.data_dir;
  auto identity = co_await obtain_identity(who);
  if (!identity) co_return identity.error();
  auto client = client::ApiClient::make(ex, identity->client_options());
  if (!client) co_return client.error();
  ClusterView view;
  auto read = co_await read_view(**client, view, options.node_name, !options.network_only());
  if (!read) co_return read;

  RoomsOptions how;
  how.paths = settings.paths();
  how.wireguard = settings.wireguard();
  RoomsEvents events;
  events.observed = [](std::shared_ptr<const netns::Observed>) {};
  events.outcome = [](const SandboxPort::Outcome&) {};
  auto rooms = Rooms::open(ex, how, std::move(events));
  if (!rooms) co_return rooms.error();
  auto overlay_seen = co_await (*rooms)->look_at_overlay();
  if (!overlay_seen) co_return overlay_seen.error();
  auto boxes_seen = co_await (*rooms)->look_at_sandboxes();
  if (!boxes_seen) co_return boxes_seen.error();

  auto topology = compute_topology(view.nodes(), settings.topology(settings.dns_servers));
  for (const auto& line : topology.refusals) fmt::print("overlay: {}\n", line);
  if (topology.overlay)
    for (const auto& op : overlay::plan(*topology.overlay, *overlay_seen)) fmt::print("overlay: {}\n", to_text(op));

  AddressPool pool;
  pool.set_cidrs(topology.pod_cidrs);
  SandboxContext context;
  context.node_name = options.node_name;
  context.netns_prefix = options.netns_prefix;
  context.host_ips = settings.host_ips();
  if (topology.overlay) context.mtu = overlay::pod_mtu(*topology.overlay, *overlay_seen);
  context.node_resolv_conf = base::read_file(options.resolv_conf).value_or("");
  context.dns = settings.cluster_dns();
  auto now = std::chrono::steady_clock::now();
  for (const auto& [uid, box] : boxes_seen->sandboxes) {
    context.existing.insert(uid);
    pool.adopt(uid, box.network.addresses);
  }
  pool.adopted(now);
  ServiceNames names(view.services(), options.cluster_domain);
  AddressSource addresses = [&](const api::Object& pod) { return pool.assign(pod.uid, now); };
  auto boxes = compute_sandboxes(view.pods(), names, context, addresses);
  for (const auto& [uid, trouble] : boxes.troubles) fmt::print("sandboxes: pod {}: {}\n", uid, trouble.message);
  for (const auto& op : netns::plan(boxes.desired, *boxes_seen)) fmt::print("sandboxes: {}\n", to_text(op));

  auto services = settings.services(topology);
  for (const auto& [name, object] : view.services()) {
    ServiceKey key{object->key.ns, object->key.name};
    auto out = compute_service(key, object.get(), view.slices_of(key), services);
    for (const auto& line : out.refusals) fmt::print("services: {}\n", line);
    if (out.service) print_service(*out.service);
  }
  co_return base::Result<>();
}

}  // namespace trama::agent
