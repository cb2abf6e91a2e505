// SPDX-License-Identifier: GPL-2.0-or-later
// The looking half of KernelLinux.
#include <algorithm>
#include <filesystem>

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "netns/kernel_linux.h"
#include "netns/wiring.h"

namespace trama::netns {

using base::Error;
using base::Family;
using base::IfIndex;
using base::Result;

struct KernelLinux::Outside {
  std::map<std::string, netlink::Link> links;  // pod links, by name
  std::map<IfIndex, std::vector<Ip>> routes;   // host routes of ours, by link
  std::map<IfIndex, std::vector<netlink::Neighbour>> neighbours;
  std::set<std::int32_t> touched;
  bool all_touched = false;
};

Result<KernelLinux::Outside> KernelLinux::read_outside() {
  Outside out;
  {
    // Before the reading: what happens meanwhile counts for the next time.
    std::lock_guard lock(events_);
    out.touched = std::exchange(touched_, {});
    out.all_touched = std::exchange(all_touched_, false);
  }
  auto list = netlink::list_links();
  auto reply = client_.dump(list);
  if (!reply) return std::move(reply).error();
  for (const auto& part : *reply) {
    auto link = netlink::decode_link(part);
    if (!link) return std::move(link).error();
    if (link->kind == "veth" && link->group != kDyingGroup && link->name.starts_with("tr"))
      out.links.emplace(link->name, std::move(*link));
  }
  for (Family f : {Family::v4, Family::v6}) {
    auto routes = netlink::list_routes(f, kRouteProtocol);
    reply = client_.dump(routes);
    if (!reply) return std::move(reply).error();
    for (const auto& part : *reply) {
      auto r = netlink::decode_route(part);
      if (!r) return std::move(r).error();
      if (r->protocol == kRouteProtocol && r->destination.length() == r->destination.address().bits() && !r->gateway)
        out.routes[r->link].push_back(r->destination.address());
    }
    auto neighbours = netlink::list_neighbours(f);
    reply = client_.dump(neighbours);
    if (!reply) return std::move(reply).error();
    for (const auto& part : *reply) {
      auto n = netlink::decode_neighbour(part);
      if (n && (n->state & NUD_PERMANENT)) out.neighbours[n->link].push_back(*n);
    }
  }
  return out;
}

Result<bool> KernelLinux::forwarding() const {
  auto v4 = base::read_file("/proc/sys/net/ipv4/ip_forward");
  if (!v4) return std::move(v4).error();
  auto v6 = base::read_file("/proc/sys/net/ipv6/conf/all/forwarding");
  return v4->starts_with('1') && (!v6 || v6->starts_with('1'));
}

std::map<Uid, GuardEntry> KernelLinux::guard_entries() const {
  std::map<Uid, GuardEntry> out;
  for (const auto& [uid, record] : registry_.all())
    if (!withdrawn_.contains(uid)) out.emplace(uid, guard_entry(record));
  return out;
}

int KernelLinux::namespace_fd(const Record& record) {
  auto it = held_.find(record.uid);
  if (it != held_.end() && it->second.id == record.netns) return it->second.fd.get();
  auto hold = [&](base::UniqueFd fd) {
    return held_.insert_or_assign(record.uid, Held{std::move(fd), record.netns}).first->second.fd.get();
  };
  if (auto pinned = open_namespace(pin_path(record.netns_name)); pinned && pinned->second == record.netns)
    return hold(std::move(pinned->first));
  // Its name was taken away, but processes live in it still.
  auto lived_in = processes_.namespace_of(record.uid);
  if (!lived_in) return -1;
  auto id = namespace_id(lived_in.get());
  return id && *id == record.netns ? hold(std::move(lived_in)) : -1;
}

std::optional<std::pair<std::string, NamespaceId>> KernelLinux::find_pin(const Uid& uid) {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(options_.paths.netns_dir, ec)) {
    auto there = open_namespace(entry.path());
    if (!there) continue;
    auto inside = home_.client_inside(there->first.get());
    if (!inside) continue;
    auto eth = find_link(*inside, kInsideLink);
    if (eth && *eth && (*eth)->mac == pod_mac(uid)) return std::pair{entry.path().filename().string(), there->second};
  }
  return std::nullopt;
}

// The content of a small file, read only when it changed.
std::string KernelLinux::cached_file(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) < 0) {
    files_.erase(path);
    return {};
  }
  FileSeen& seen = files_[path];
  bool same = seen.size == st.st_size && seen.inode == st.st_ino && seen.seconds == st.st_mtim.tv_sec &&
              seen.nanoseconds == st.st_mtim.tv_nsec;
  if (!same) {
    seen.content = base::read_file(path).value_or(std::string());
    seen.size = st.st_size, seen.inode = st.st_ino;
    seen.seconds = st.st_mtim.tv_sec, seen.nanoseconds = st.st_mtim.tv_nsec;
  }
  return seen.content;
}

void KernelLinux::observe_inside(const Record& record, const netlink::Link& link, ObservedSandbox& s) {
  int fd = namespace_fd(record);
  if (well_inside_.contains(record.uid)) {
    s.inside = true;
    return;
  }
  auto client = home_.client_inside(fd);
  Network network;
  network.addresses = record.addresses;
  network.mtu = record.mtu;
  auto damage = client ? inside_damage(*client, network, pod_mac(record.uid)) : Result<std::string>(client.error());
  // A namespace that cannot be read is treated as damaged: the repair will say why.
  if (!damage)
    base::logger("netns")->warn("look inside {}: {}", record.netns_name, damage.error().to_string());
  else if (!damage->empty())
    base::logger("netns")->debug("inside {} ({}): {}", record.netns_name, link.name, *damage);
  s.inside = damage && damage->empty();
  if (s.inside) well_inside_.insert(record.uid);
}

void KernelLinux::observe_network(const Record& record, const Outside& outside, ObservedSandbox& s) {
  s.uid = record.uid;
  s.ns = record.ns, s.name = record.name;
  s.network.netns_name = record.netns_name;
  s.network.addresses = record.addresses;
  s.network.mtu = record.mtu;
  s.network.connection_limit = record.connection_limit;
  std::string directory = etc_path(record.netns_name);
  s.network.hosts = cached_file(directory + "/hosts");
  s.network.resolv_conf = cached_file(directory + "/resolv.conf");

  auto pinned = open_namespace(pin_path(record.netns_name));
  s.netns = pinned && pinned->second == record.netns;
  bool alive = namespace_fd(record) >= 0;
  s.unpinned = alive && !s.netns;

  auto it = outside.links.find(veth_name(record.uid));
  if (it == outside.links.end()) return;
  const netlink::Link& link = it->second;
  s.ifname = link.name;
  s.veth = true;
  Sandbox as_recorded;
  as_recorded.uid = record.uid;
  as_recorded.ns = record.ns, as_recorded.name = record.name;
  as_recorded.network = s.network;
  std::string damage = outside_damage(link, as_recorded);
  if (!damage.empty()) base::logger("netns")->debug("link {}: {}", link.name, damage);
  s.link = damage.empty();
  if (auto r = outside.routes.find(link.index); r != outside.routes.end())
    for (const auto& ip : record.addresses)
      if (std::find(r->second.begin(), r->second.end(), ip) != r->second.end()) s.routes.push_back(ip);
  if (auto n = outside.neighbours.find(link.index); n != outside.neighbours.end())
    for (const auto& ip : record.addresses)
      if (std::any_of(n->second.begin(), n->second.end(),
                      [&](const auto& e) { return e.ip == ip && e.mac == pod_mac(record.uid); }))
        s.neighbours.push_back(ip);
  if (outside.all_touched || !link.peer_nsid || outside.touched.contains(*link.peer_nsid) || !link.carrier)
    well_inside_.erase(record.uid);
  if (alive) observe_inside(record, link, s);
}

Result<Observed> KernelLinux::observe() {
  auto outside = read_outside();
  if (!outside) {
    (void)inside_changed(std::nullopt);
    return std::move(outside).error().in("observe sandboxes");
  }
  {
    std::lock_guard lock(events_);
    our_nsids_.clear();
    our_links_.clear();
    for (const auto& [name, link] : outside->links) {
      our_links_.insert(link.index.value);
      if (link.peer_nsid) our_nsids_.insert(*link.peer_nsid);
    }
  }
  auto processes = processes_.observe();
  if (!processes) return std::move(processes).error().in("observe sandboxes");
  auto guard = guard_.look(guard_entries());
  if (!guard) return std::move(guard).error().in("observe table trama-pods");
  auto forward = forwarding();
  if (!forward) return std::move(forward).error();

  Observed out;
  out.guard = guard->table;
  out.forwarding = *forward;
  for (const auto& [uid, record] : registry_.all()) {
    auto& s = out.sandboxes[uid];
    observe_network(record, *outside, s);
    s.guarded = guard->guarded.contains(uid);
  }
  // What has our marks but no record: somebody emptied the registry. The planner sees it and removes or remakes it.
  for (const auto& [name, link] : outside->links) {
    auto mark = parse_veth_alias(link.alias);
    if (!mark || out.sandboxes.contains(mark->uid) || veth_name(mark->uid) != name) continue;
    auto& s = out.sandboxes[mark->uid];
    s.uid = mark->uid, s.ns = mark->ns, s.name = mark->name;
    s.ifname = name;
    s.veth = true;
  }
  for (auto& [uid, seen] : *processes) {
    auto& s = out.sandboxes[uid];
    if (s.uid.empty()) s.uid = uid, s.name = uid;
    s.processes = seen.phase;
    s.stopping = seen.stopping;
    s.leaving = seen.leaving;
    s.limits = seen.limits;
    s.containers = std::move(seen.containers);
    s.volumes = std::move(seen.volumes);
  }
  return out;
}

}  // namespace trama::netns
