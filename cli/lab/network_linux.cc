// SPDX-License-Identifier: GPL-2.0-or-later
#include <filesystem>

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include "base/file.h"
#include "base/netlink/find_link.h"
#include "base/netlink/rtnl.h"
#include "cli/lab/network.h"

namespace trama::cli {

using base::Error;
using base::IfIndex;
using base::Result;
namespace nl = netlink;

namespace {

Result<> call(nl::Client& client, nl::Request request) {
  auto reply = client.call(request);
  if (!reply) return std::move(reply).error();
  return {};
}

// Independent requests in one go; the first failure is the result.
Result<> call_all(nl::Client& client, std::vector<nl::Request> requests) {
  for (auto& r : client.batch(requests))
    if (!r) return std::move(r).error();
  return {};
}

nl::Request neighbour(base::IfIndex link, const base::Ip& ip, const base::Mac& mac) {
  nl::Neighbour n;
  n.link = link;
  n.ip = ip;
  n.mac = mac;
  return nl::put_neighbour(n);
}

}  // namespace

Result<LabNetwork> LabNetwork::open(const std::string& netns_dir) {
  auto home = netns::Home::open();
  if (!home) return std::move(home).error();
  if (auto r = netns::prepare_pin_directory(netns_dir); !r) return std::move(r).error();
  return LabNetwork(netns_dir, std::move(*home));
}

int LabNetwork::fd(const std::string& name) const {
  auto it = made_.find(name);
  return it == made_.end() ? -1 : it->second.fd.get();
}

Result<> LabNetwork::inside(const std::string& name, const std::function<Result<>()>& job) const {
  int there = fd(name);
  if (there < 0) return Error::from_errno(ENOENT, "namespace " + name);
  return home_.inside(there, job);
}

Result<netns::NewNamespace*> LabNetwork::find(const std::string& name) {
  auto it = made_.find(name);
  if (it == made_.end()) return Error::from_errno(ENOENT, "namespace " + name);
  return &it->second;
}

Result<> LabNetwork::apply(const LabOp& op) {
  auto done = std::visit([this](const auto& step) { return make(step); }, op);
  if (!done) return std::move(done).error().in(to_text(op));
  return {};
}

Result<> LabNetwork::make(const MakeNamespace& op) {
  auto made = home_.make(op.switches);
  if (!made) return std::move(made).error();
  auto pinned = netns::pin(made->fd.get(), made->id, dir_ + "/" + op.name);
  if (!pinned) return pinned;
  auto& kept = made_.insert_or_assign(op.name, std::move(*made)).first->second;
  auto lo = nl::find_link(kept.inside, "lo");
  if (!lo) return std::move(lo).error();
  return call(kept.inside, nl::set_link_up(lo->index, true));
}

Result<> LabNetwork::make(const MakeSwitch& op) {
  auto ns = find(op.netns);
  if (!ns) return std::move(ns).error();
  auto& client = (*ns)->inside;
  if (auto r = call(client, nl::create_bridge(op.link)); !r) return r;
  auto bridge = nl::find_link(client, op.link);
  if (!bridge) return std::move(bridge).error();
  nl::Address address;
  address.link = bridge->index;
  address.ip = op.address;
  address.length = op.length;
  std::vector<nl::Request> steps;
  // A fixed address: otherwise the bridge takes that of the lowest port, and changes it as nodes come and go.
  steps.push_back(nl::set_link_mac(bridge->index, base::Mac::from_seed(op.netns)));
  steps.push_back(nl::set_addr_gen_none(bridge->index));
  steps.push_back(nl::put_address(address));
  steps.push_back(nl::set_link_up(bridge->index, true));
  return call_all(client, std::move(steps));
}

Result<> LabNetwork::make(const PlugIn& op) {
  auto hub = find(op.switch_netns);
  if (!hub) return std::move(hub).error();
  auto node = find(op.node_netns);
  if (!node) return std::move(node).error();
  auto& outside = (*hub)->inside;
  auto& inside = (*node)->inside;
  nl::VethSpec veth;
  veth.name = op.port;
  veth.mac = op.port_mac;
  veth.mtu = op.mtu;
  veth.peer_name = op.link;
  veth.peer_mac = op.node_mac;
  veth.peer_netns_fd = (*node)->fd.get();
  if (auto r = call(outside, nl::create_veth(veth)); !r) return r;
  auto bridge = nl::find_link(outside, op.switch_link);
  if (!bridge) return std::move(bridge).error();
  auto port = nl::find_link(outside, op.port);
  if (!port) return std::move(port).error();
  std::vector<nl::Request> there;
  there.push_back(nl::set_link_alias(port->index, "trama lab port of " + op.node_netns));
  there.push_back(nl::set_addr_gen_none(port->index));
  there.push_back(nl::set_link_master(port->index, bridge->index));
  there.push_back(nl::set_link_up(port->index, true));
  if (!op.neighbours.empty()) there.push_back(neighbour(bridge->index, op.address, op.node_mac));
  if (auto r = call_all(outside, std::move(there)); !r) return r;

  auto link = nl::find_link(inside, op.link);
  if (!link) return std::move(link).error();
  nl::Address address;
  address.link = link->index;
  address.ip = op.address;
  address.length = op.length;
  nl::Route route;
  route.destination = base::Cidr::of(base::Ip(), 0);
  route.link = link->index;
  route.gateway = op.via;
  route.protocol = RTPROT_STATIC;
  std::vector<nl::Request> here;
  here.push_back(nl::put_address(address));
  here.push_back(nl::set_link_up(link->index, true));
  if (!op.via.is_unspecified()) here.push_back(nl::put_route(route));
  for (const auto& [ip, mac] : op.neighbours) here.push_back(neighbour(link->index, ip, mac));
  return call_all(inside, std::move(here));
}

Result<std::vector<std::string>> remove_namespaces(const std::string& netns_dir, const std::vector<std::string>& names,
                                                   const std::vector<std::string>& prefixes) {
  std::vector<std::string> found;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(netns_dir, ec)) {
    auto name = entry.path().filename().string();
    bool ours = std::find(names.begin(), names.end(), name) != names.end();
    for (const auto& p : prefixes) ours = ours || name.starts_with(p);
    if (ours) found.push_back(name);
  }
  for (const auto& name : found) {
    auto path = netns_dir + "/" + name;
    netns::NamespaceId id;  // a plain file has none: unpin() then removes the empty file
    if (auto there = netns::open_namespace(path)) id = there->second;
    if (auto r = netns::unpin(id, path); !r) return std::move(r).error();
  }
  return found;
}

bool is_mount_point(const std::string& directory) {
  auto mounts = base::read_file("/proc/self/mountinfo", 64u << 20);
  return mounts && mounts->find(" " + directory + " ") != std::string::npos;
}

}  // namespace trama::cli
