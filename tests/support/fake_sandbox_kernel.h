// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "netns/kernel.h"

namespace trama::netns::test {

// A machine in memory, for the planner's properties. It obeys the same contract suite as the real one, and knows what
// depends on what: a link that goes takes its routes and neighbours along, nothing starts without a namespace.
class FakeKernel final : public Kernel {
 public:
  struct Box {
    Sandbox made;  // as last told
    bool record = false, pinned = false, alive = false, veth = false, up = false, inside = false, guarded = false;
    std::set<Ip> routes, neighbours;
    std::string hosts, resolv_conf;
    ProcessPhase processes = ProcessPhase::none;
    Volumes volumes;             // as written
    std::set<std::string> held;  // containers
    bool leaving = false;
  };
  std::map<Uid, Box> boxes;
  GuardTable guard = GuardTable::absent;
  bool forwarding = false;
  std::function<bool(const Op&)> fails = [](const Op&) { return false; };

  base::Result<Observed> observe() override {
    Observed out;
    out.guard = guard;
    out.forwarding = forwarding;
    for (auto it = boxes.begin(); it != boxes.end();) {
      const Box& b = it->second;
      if (!b.record && !b.veth && b.processes == ProcessPhase::none) {
        it = boxes.erase(it);
        continue;
      }
      auto& s = out.sandboxes[it->first];
      s.uid = it->first, s.ns = b.made.ns, s.name = b.made.name;
      s.network = b.made.network;
      s.network.hosts = b.hosts, s.network.resolv_conf = b.resolv_conf;
      s.netns = b.alive && b.pinned;
      s.unpinned = b.alive && !b.pinned;
      s.veth = b.veth;
      s.link = b.veth && b.up;
      s.inside = b.veth && b.inside;
      s.guarded = b.guarded && guard == GuardTable::intact;
      if (b.veth) {
        s.routes.assign(b.routes.begin(), b.routes.end());
        s.neighbours.assign(b.neighbours.begin(), b.neighbours.end());
        s.ifname = veth_name(it->first);
      }
      s.limits = b.made.limits;
      s.processes = b.processes;
      if (b.processes == ProcessPhase::running)
        for (const auto& [name, volume] : b.volumes)
          if (!volume.scratch) s.volumes[name] = digest(volume);
      if (b.processes != ProcessPhase::none)
        for (const auto& c : b.made.containers) {
          ContainerState state;
          state.name = c.name;
          state.phase = b.held.contains(c.name) ? ContainerPhase::waiting : ContainerPhase::running;
          state.reason = b.held.contains(c.name) ? kHeldReason : "";
          s.containers.push_back(std::move(state));
        }
      s.leaving = b.leaving;
      ++it;
    }
    return out;
  }

  base::Result<> apply(const Op& op) override {
    if (fails(op)) return base::Error::from_errno(EIO, "injected: " + to_text(op));
    return std::visit([this](const auto& o) { return run(o); }, op);
  }

  // Hands that do damage; each returns whether there was something to damage.
  static std::vector<std::pair<std::string, std::function<void(FakeKernel&, const Uid&)>>> damages() {
    return {
        {"route", [](FakeKernel& k, const Uid& u) { k.boxes[u].routes.clear(); }},
        {"neighbour", [](FakeKernel& k, const Uid& u) { k.boxes[u].neighbours.clear(); }},
        {"link down", [](FakeKernel& k, const Uid& u) { k.down(k.boxes[u]); }},
        {"link", [](FakeKernel& k, const Uid& u) { k.unplug(k.boxes[u]); }},
        {"pin", [](FakeKernel& k, const Uid& u) { k.boxes[u].pinned = false; }},
        {"namespace",
         [](FakeKernel& k, const Uid& u) {
           auto& b = k.boxes[u];
           b.pinned = b.alive = false;
           k.unplug(b);
         }},
        {"inside", [](FakeKernel& k, const Uid& u) { k.boxes[u].inside = false; }},
        {"guard entry", [](FakeKernel& k, const Uid& u) { k.boxes[u].guarded = false; }},
        {"guard", [](FakeKernel& k, const Uid&) { k.guard = GuardTable::absent; }},
        {"guard rules", [](FakeKernel& k, const Uid&) { k.guard = GuardTable::damaged; }},
        {"files", [](FakeKernel& k, const Uid& u) { k.boxes[u].hosts = "somebody's"; }},
        {"forwarding", [](FakeKernel& k, const Uid&) { k.forwarding = false; }},
        {"processes", [](FakeKernel& k, const Uid& u) { k.boxes[u].processes = ProcessPhase::none; }},
    };
  }

 private:
  base::Error no(const char* what) { return base::Error::from_errno(ENOENT, what); }
  void down(Box& b) {
    b.up = false;
    b.routes.clear();
    b.neighbours.clear();
  }
  void unplug(Box& b) {
    down(b);
    b.veth = b.inside = false;
  }
  std::set<Ip> addresses(const Sandbox& s) { return {s.network.addresses.begin(), s.network.addresses.end()}; }

  base::Result<> run(const EnableForwarding&) {
    forwarding = true;
    return {};
  }
  base::Result<> run(const MakeGuard&) {
    guard = GuardTable::intact;
    for (auto& [uid, b] : boxes) b.guarded = b.record;
    return {};
  }
  base::Result<> run(const RemoveGuard&) {
    guard = GuardTable::absent;
    for (auto& [uid, b] : boxes) b.guarded = false;
    return {};
  }
  base::Result<> run(const Withdraw& o) {
    auto& b = boxes[o.uid];
    b.routes.clear(), b.neighbours.clear(), b.guarded = false;
    return {};
  }
  base::Result<> run(const StopProcesses& o) {
    auto& b = boxes[o.uid];
    if (b.processes == ProcessPhase::running) b.processes = ProcessPhase::finished;
    if (o.start_over) b.processes = ProcessPhase::none;
    return {};
  }
  base::Result<> run(const DestroyNetwork& o) {
    auto& b = boxes[o.uid];
    unplug(b);
    b.pinned = b.alive = false;
    b.hosts.clear(), b.resolv_conf.clear();
    return {};
  }
  base::Result<> run(const Forget& o) {
    boxes.erase(o.uid);
    return {};
  }
  base::Result<> run(const CreateNetwork& o) {
    if (auto r = validate(o.sandbox); !r) return r;
    if (guard != GuardTable::intact) return no("table inet trama-pods");
    for (const auto& [uid, b] : boxes)
      if (uid != o.sandbox.uid && b.pinned && b.made.network.netns_name == o.sandbox.network.netns_name)
        return base::Error::from_errno(EEXIST, "pin");
    auto& b = boxes[o.sandbox.uid];
    b.made = o.sandbox;
    b.record = b.pinned = b.alive = b.veth = b.up = b.inside = b.guarded = true;
    b.routes = b.neighbours = addresses(o.sandbox);
    b.hosts = o.sandbox.network.hosts, b.resolv_conf = o.sandbox.network.resolv_conf;
    return {};
  }
  base::Result<> run(const RepairPin& o) {
    auto& b = boxes[o.sandbox.uid];
    if (!b.alive) return no("namespace");
    b.pinned = true;
    return {};
  }
  base::Result<> run(const RepairGuard& o) {
    if (guard != GuardTable::intact) return no("table inet trama-pods");
    auto& b = boxes[o.sandbox.uid];
    b.guarded = true;
    b.made.network.connection_limit = o.sandbox.network.connection_limit;
    return {};
  }
  base::Result<> run(const RepairLink& o) {
    auto& b = boxes[o.sandbox.uid];
    if (!b.veth) return no("link");
    b.up = true;
    b.made.network.mtu = o.sandbox.network.mtu;
    return {};
  }
  base::Result<> run(const RepairInside& o) {
    auto& b = boxes[o.sandbox.uid];
    if (!b.alive || !b.veth) return no("namespace");
    b.inside = true;
    return {};
  }
  base::Result<> run(const RepairRoutes& o) {
    auto& b = boxes[o.sandbox.uid];
    if (!b.veth || !b.up) return base::Error::from_errno(ENETDOWN, "put route");
    b.routes = addresses(o.sandbox);
    return {};
  }
  base::Result<> run(const RepairNeighbours& o) {
    auto& b = boxes[o.sandbox.uid];
    if (!b.veth || !b.up) return base::Error::from_errno(ENETDOWN, "put neighbour");
    b.neighbours = addresses(o.sandbox);
    return {};
  }
  base::Result<> run(const WriteFiles& o) {
    auto& b = boxes[o.sandbox.uid];
    b.hosts = o.sandbox.network.hosts, b.resolv_conf = o.sandbox.network.resolv_conf;
    return {};
  }
  base::Result<> run(const SetLimits& o) {
    boxes[o.sandbox.uid].made.limits = o.sandbox.limits;
    return {};
  }
  base::Result<> run(const WriteVolumes& o) {
    auto& b = boxes[o.sandbox.uid];
    for (const auto& name : o.volumes) b.volumes[name] = o.sandbox.volumes.at(name);
    return {};
  }
  base::Result<> run(const ReleaseContainers& o) {
    auto& b = boxes[o.sandbox.uid];
    if (b.processes != ProcessPhase::running) return base::Error::from_errno(ESRCH, "init");
    for (const auto& name : o.containers) b.held.erase(name);
    return {};
  }
  base::Result<> run(const StartProcesses& o) {
    auto& b = boxes[o.sandbox.uid];
    if (!b.alive || !b.pinned) return base::Error::from_errno(EAGAIN, "no network yet");
    b.processes = ProcessPhase::running;
    b.made.limits = o.sandbox.limits;
    b.volumes = o.sandbox.volumes;
    b.made.containers = o.sandbox.containers;
    b.held.clear();
    for (const auto& c : o.sandbox.containers)
      if (c.held) b.held.insert(c.name);
    return {};
  }
};

}  // namespace trama::netns::test
