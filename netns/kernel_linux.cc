// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/kernel_linux.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "netns/wiring.h"

namespace trama::netns {

using base::Error;
using base::IfIndex;
using base::Result;
using base::UniqueFd;

namespace {
constexpr const char* kForward4 = "/proc/sys/net/ipv4/ip_forward";
constexpr const char* kForward6 = "/proc/sys/net/ipv6/conf/all/forwarding";

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

std::string pod_of(const Sandbox& s) { return s.ns + "/" + s.name; }
}  // namespace

KernelLinux::KernelLinux(Options options, Home home, netlink::Client client, Registry registry,
                         std::unique_ptr<Reaper> reaper, nft::Session& session, ProcessPort& processes)
    : options_(std::move(options)),
      home_(std::move(home)),
      client_(std::move(client)),
      registry_(std::move(registry)),
      reaper_(std::move(reaper)),
      guard_(session),
      processes_(processes) {}

Result<std::unique_ptr<KernelLinux>> KernelLinux::open(Options options, nft::Session& session, ProcessPort& processes) {
  auto home = Home::open();
  if (!home) return std::move(home).error();
  auto client = netlink::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error();
  auto registry = Registry::open(options.paths.run_dir);
  if (!registry) return std::move(registry).error();
  auto reaper = Reaper::start();
  if (!reaper) return std::move(reaper).error();
  (*reaper)->expect(1);  // what a predecessor left in the dying group
  return std::unique_ptr<KernelLinux>(new KernelLinux(std::move(options), std::move(*home), std::move(*client),
                                                      std::move(*registry), std::move(*reaper), session, processes));
}

bool KernelLinux::inside_changed(std::optional<std::int32_t> nsid) {
  std::lock_guard lock(events_);
  if (!nsid) return all_touched_ = true;
  if (!our_nsids_.contains(*nsid)) return false;
  touched_.insert(*nsid);
  return true;
}

bool KernelLinux::is_ours(std::uint32_t link) {
  std::lock_guard lock(events_);
  return our_links_.contains(link);
}

void KernelLinux::step(const char* name) const {
  if (options_.at_step) options_.at_step(name);
}

Result<> KernelLinux::apply(const Op& op) {
  return std::visit(Overload{
                        [&](const EnableForwarding&) { return enable_forwarding(); },
                        [&](const MakeGuard&) { return guard_.rebuild(guard_entries()); },
                        [&](const RemoveGuard&) { return guard_.remove_table(); },
                        [&](const Withdraw& o) { return withdraw(o.uid); },
                        [&](const StopProcesses& o) {
                          return o.start_over ? processes_.remove(o.uid) : processes_.stop(o.uid, o.grace);
                        },
                        [&](const DestroyNetwork& o) { return destroy(o.uid); },
                        [&](const Forget& o) { return forget(o.uid); },
                        [&](const CreateNetwork& o) { return create(o.sandbox); },
                        [&](const RepairPin& o) { return repair_pin(o.sandbox); },
                        [&](const RepairGuard& o) { return repair_guard(o.sandbox); },
                        [&](const RepairLink& o) { return repair_link(o.sandbox); },
                        [&](const RepairInside& o) { return repair_inside(o.sandbox); },
                        [&](const RepairRoutes& o) -> Result<> {
                          auto link = need_link(o.sandbox.uid);
                          if (!link) return std::move(link).error();
                          return put_outside_routes(client_, *link, o.sandbox.network.addresses);
                        },
                        [&](const RepairNeighbours& o) -> Result<> {
                          auto link = need_link(o.sandbox.uid);
                          if (!link) return std::move(link).error();
                          return put_outside_neighbours(client_, *link, o.sandbox.network.addresses,
                                                        pod_mac(o.sandbox.uid));
                        },
                        [&](const WriteFiles& o) { return write_files(o.sandbox); },
                        [&](const SetLimits& o) { return processes_.set_limits(o.sandbox.uid, o.sandbox.limits); },
                        [&](const WriteVolumes& o) { return write_volumes(o); },
                        [&](const ReleaseContainers& o) { return release(o.sandbox); },
                        [&](const StartProcesses& o) { return start_processes(o.sandbox); },
                    },
                    op);
}

// ---- making -------------------------------------------------------------------------------------------------------

Result<> KernelLinux::enable_forwarding() {
  for (const char* knob : {kForward4, kForward6}) {
    auto now = base::read_file(knob);
    if (now && now->starts_with('1')) continue;  // writing it again would reset other switches
    auto r = base::write_knob(knob, "1");
    if (!r && !r.error().is(std::errc::no_such_file_or_directory)) return r;
  }
  return {};
}

Result<> KernelLinux::create(const Sandbox& s) {
  if (auto r = validate(s); !r) return r;
  std::string path = pin_path(s.network.netns_name);
  if (!pins_ready_) {
    if (auto r = prepare_pin_directory(options_.paths.netns_dir); !r) return r;
    pins_ready_ = true;
  }
  Record record{
      s.uid, s.ns, s.name, s.network.netns_name, {}, s.network.addresses, s.network.mtu, s.network.connection_limit};
  int fd = -1;
  if (const Record* before = registry_.find(s.uid)) {
    fd = namespace_fd(*before);
    record.netns = before->netns;
    if (fd < 0)
      if (auto r = unpin(before->netns, pin_path(before->netns_name)); !r) return r;
  } else if (auto lost = ::access(path.c_str(), F_OK) == 0 ? find_pin(s.uid) : std::nullopt) {
    if (lost->first == s.network.netns_name) {
      record.netns = lost->second;
      if (auto r = registry_.put(record); !r) return r;
      fd = namespace_fd(record);
    }
  }
  std::optional<NewNamespace> made;
  if (fd < 0) {
    // Not lasting yet: a namespace that nothing holds ends with this thread.
    auto fresh = home_.make(pod_switches());
    if (!fresh) return std::move(fresh).error().in("sandbox " + pod_of(s));
    made = std::move(*fresh);
    record.netns = made->id;
    fd = made->fd.get();
  }
  step("namespace");
  auto rest = [&]() -> Result<> {
    if (auto r = registry_.put(record); !r) return r;
    step("record");
    if (made) held_.insert_or_assign(s.uid, Held{std::move(made->fd), made->id});
    withdrawn_.erase(s.uid);
    if (auto r = pin(fd, record.netns, path); !r) return r;
    step("pin");
    if (auto r = write_files(s); !r) return r;
    auto nsid = netlink::assign_nsid(fd);
    if (auto r = client_.call(nsid); !r && !r.error().is(std::errc::file_exists)) return std::move(r).error();
    if (auto r = guard_.put(s.uid, guard_entry(s)); !r) return r;
    step("guard");
    auto link = make_pair(client_, s, fd);
    if (!link) return std::move(link).error();
    step("pair");
    // In this order: when the host end goes up, both sides know each other already.
    Result<> wired;
    if (made) {
      wired = put_inside(made->inside, s.network, pod_mac(s.uid));
    } else {
      auto inside = home_.client_inside(fd);
      wired = inside ? put_inside(*inside, s.network, pod_mac(s.uid)) : Result<>(inside.error());
    }
    if (!wired) return wired;
    step("inside");
    if (auto r = put_outside_link(client_, *link, s); !r) return r;
    step("up");
    if (auto r = put_outside_neighbours(client_, *link, s.network.addresses, pod_mac(s.uid)); !r) return r;
    return put_outside_routes(client_, *link, s.network.addresses);
  };
  if (auto r = rest(); !r) return std::move(r).error().in("sandbox " + pod_of(s));
  step("routes");
  return {};
}

Result<> KernelLinux::write_files(const Sandbox& s) {
  std::string directory = etc_path(s.network.netns_name);
  for (const auto& [name, content] : {std::pair{"hosts", &s.network.hosts}, {"resolv.conf", &s.network.resolv_conf}}) {
    std::string path = fmt::format("{}/{}", directory, name);
    if (content->empty() && ::access(path.c_str(), F_OK) < 0) continue;
    if (cached_file(path) == *content && ::access(path.c_str(), F_OK) == 0) continue;
    if (auto r = base::make_directories(directory); !r) return r;
    files_.erase(path);  // two changes within one tick of the clock look alike
    if (auto r = base::write_file_in_place(path, *content); !r) return r;
  }
  return {};
}

Result<> KernelLinux::start_processes(const Sandbox& s) {
  const Record* record = registry_.find(s.uid);
  if (!record || namespace_fd(*record) < 0)
    return Error::text(fmt::format("{} has no network yet; its processes wait for it", pod_of(s)),
                       std::errc::resource_unavailable_try_again);
  return processes_.start(s, surroundings(s));
}

Result<> KernelLinux::release(const Sandbox& s) { return processes_.release(s, surroundings(s)); }

Surroundings KernelLinux::surroundings(const Sandbox& s) const {
  Surroundings where;
  where.netns_path = pin_path(s.network.netns_name);
  std::string directory = etc_path(s.network.netns_name);
  if (!s.network.hosts.empty()) where.hosts_path = directory + "/hosts";
  if (!s.network.resolv_conf.empty()) where.resolv_conf_path = directory + "/resolv.conf";
  return where;
}

Result<> KernelLinux::write_volumes(const WriteVolumes& o) {
  Volumes changed;
  for (const auto& name : o.volumes)
    if (auto it = o.sandbox.volumes.find(name); it != o.sandbox.volumes.end()) changed.insert(*it);
  return processes_.write_volumes(o.sandbox.uid, changed);
}

// ---- repairing ------------------------------------------------------------------------------------------------------

Result<> KernelLinux::repair_pin(const Sandbox& s) {
  const Record* record = registry_.find(s.uid);
  int fd = record ? namespace_fd(*record) : -1;
  if (fd < 0) return Error::from_errno(ENOENT, "namespace of " + pod_of(s));
  if (auto r = prepare_pin_directory(options_.paths.netns_dir); !r) return r;
  return pin(fd, record->netns, pin_path(record->netns_name));
}

Result<> KernelLinux::repair_guard(const Sandbox& s) {
  if (auto r = guard_.put(s.uid, guard_entry(s)); !r) return r;
  const Record* record = registry_.find(s.uid);
  if (!record) return {};
  Record changed = *record;
  changed.connection_limit = s.network.connection_limit;
  return registry_.put(changed);
}

Result<> KernelLinux::repair_link(const Sandbox& s) {
  auto link = need_link(s.uid);
  if (!link) return std::move(link).error();
  if (auto r = put_outside_link(client_, *link, s); !r) return r;
  const Record* record = registry_.find(s.uid);
  if (!record) return {};
  Record changed = *record;
  changed.mtu = s.network.mtu;
  well_inside_.erase(s.uid);
  return registry_.put(changed);
}

Result<> KernelLinux::repair_inside(const Sandbox& s) {
  const Record* record = registry_.find(s.uid);
  int fd = record ? namespace_fd(*record) : -1;
  if (fd < 0) return Error::from_errno(ENOENT, "namespace of " + pod_of(s));
  auto inside = home_.client_inside(fd);
  if (!inside) return std::move(inside).error();
  auto eth = find_link(*inside, kInsideLink);
  if (!eth) return std::move(eth).error();
  if (*eth) return put_inside(*inside, s.network, pod_mac(s.uid));
  // Somebody renamed it or took it away: a new pair.
  auto link = own_link(s.uid);
  if (!link) return std::move(link).error();
  if (*link) {
    auto remove = netlink::delete_link((*link)->index);
    if (auto r = client_.call(remove); !r) return std::move(r).error();
  }
  return create(s);
}

// ---- removing -------------------------------------------------------------------------------------------------------

Result<std::optional<netlink::Link>> KernelLinux::own_link(const Uid& uid) {
  auto link = find_link(client_, veth_name(uid));
  if (!link || !*link) return link;
  auto mark = parse_veth_alias((*link)->alias);
  bool half_made = (*link)->alias.empty() && (*link)->group == kLiveGroup;
  if (!half_made && !(mark && mark->uid == uid)) return std::optional<netlink::Link>();
  return link;
}

Result<IfIndex> KernelLinux::need_link(const Uid& uid) {
  // By name only: a lost alias is what a repair may be about.
  auto link = find_link(client_, veth_name(uid));
  if (!link) return std::move(link).error();
  if (!*link) return Error::from_errno(ENODEV, veth_name(uid));
  return (*link)->index;
}

Result<> KernelLinux::withdraw(const Uid& uid) {
  const Record* record = registry_.find(uid);
  withdrawn_.insert(uid);
  Result<> first;
  if (record) {
    auto link = own_link(uid);
    if (!link) return std::move(link).error();
    if (*link) first = delete_outside(client_, (*link)->index, record->addresses);
    step("withdrawn");
    if (auto r = guard_.remove(uid, guard_entry(*record)); !r) return r;
  }
  return first;
}

Result<> KernelLinux::destroy(const Uid& uid) {
  auto link = own_link(uid);
  if (!link) return std::move(link).error();
  if (*link) {
    if (auto r = doom_link(client_, **link); !r) return r;
    reaper_->expect(1);
  }
  step("doomed");
  held_.erase(uid);
  well_inside_.erase(uid);
  const Record* record = registry_.find(uid);
  std::optional<std::pair<std::string, NamespaceId>> place;
  if (record)
    place = std::pair{record->netns_name, record->netns};
  else if (*link)
    place = find_pin(uid);
  if (!place) return {};
  if (auto r = unpin(place->second, pin_path(place->first)); !r) return r;
  step("unpinned");
  std::string directory = etc_path(place->first);
  for (const char* file : {"/hosts", "/resolv.conf"}) {
    files_.erase(directory + file);
    (void)::unlink((directory + file).c_str());
  }
  (void)::rmdir(directory.c_str());  // stays when somebody keeps a file of his own there
  return {};
}

Result<> KernelLinux::forget(const Uid& uid) {
  if (auto r = processes_.remove(uid); !r) return r;
  if (auto r = registry_.remove(uid); !r) return r;
  withdrawn_.erase(uid);
  return {};
}

}  // namespace trama::netns
