// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/plan.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace trama::netns {
namespace {

std::string pod_of(const std::string& ns, const std::string& name) { return ns + "/" + name; }

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

std::string join(const std::vector<Ip>& addresses) {
  std::string text;
  for (const auto& ip : addresses) text += (text.empty() ? "" : " and ") + ip.to_string();
  return text;
}

bool has_all(std::vector<Ip> have, std::vector<Ip> want) {
  std::sort(have.begin(), have.end());
  std::sort(want.begin(), want.end());
  return std::includes(have.begin(), have.end(), want.begin(), want.end());
}

// Network, then what is left; processes die between, in the background.
void remove(const ObservedSandbox& s, std::vector<Op>& ops) {
  if (s.leaving) return;
  std::string pod = pod_of(s.ns, s.name);
  ops.push_back(Withdraw{s.uid, pod});
  ops.push_back(DestroyNetwork{s.uid, pod});
  ops.push_back(Forget{s.uid, pod});
}

// Other addresses or another name: not the same network any more.
bool same_network(const Sandbox& want, const ObservedSandbox& have) {
  return want.network.netns_name == have.network.netns_name && want.network.addresses == have.network.addresses;
}

void repair(const Sandbox& want, const ObservedSandbox& have, std::vector<Op>& ops) {
  if (!have.netns) ops.push_back(RepairPin{want});
  if (!have.guarded || have.network.connection_limit != want.network.connection_limit) ops.push_back(RepairGuard{want});
  if (!have.link || have.network.mtu != want.network.mtu) ops.push_back(RepairLink{want});
  if (!have.inside || have.network.mtu != want.network.mtu) ops.push_back(RepairInside{want});
  // A link that was down has lost its neighbours and routes; neighbours first, so that no packet asks in vain.
  if (!has_all(have.neighbours, want.network.addresses)) ops.push_back(RepairNeighbours{want});
  if (!has_all(have.routes, want.network.addresses)) ops.push_back(RepairRoutes{want});
  if (have.network.hosts != want.network.hosts || have.network.resolv_conf != want.network.resolv_conf)
    ops.push_back(WriteFiles{want});
}

// A volume that the running pod does not have is none of its: specs of pods do not change.
std::vector<std::string> old_volumes(const Sandbox& want, const ObservedSandbox& have) {
  std::vector<std::string> out;
  for (const auto& [name, volume] : want.volumes) {
    auto it = have.volumes.find(name);
    if (it != have.volumes.end() && it->second != digest(volume)) out.push_back(name);
  }
  return out;
}

std::vector<std::string> released(const Sandbox& want, const ObservedSandbox& have) {
  std::vector<std::string> out;
  for (const auto& state : have.containers)
    for (const auto& c : want.containers)
      if (c.name == state.name && !c.held && is_held(state)) out.push_back(c.name);
  return out;
}

void keep(const Sandbox& want, const ObservedSandbox* have, std::vector<Op>& ops) {
  bool runs = have && have->processes == ProcessPhase::running;
  if (have && have->leaving) return;  // the same uid was wanted again: after the removal
  if (have && !same_network(want, *have) && !have->network.netns_name.empty()) return remove(*have, ops);
  bool alive = have && (have->netns || have->unpinned);
  if (runs && !alive) {
    // The namespace is gone under its processes: they cannot be moved, so they end and start again.
    if (!have->stopping)
      ops.push_back(StopProcesses{want.uid, pod_of(want.ns, want.name), std::chrono::seconds(0), true});
    return;
  }
  if (!alive || !have->veth)
    ops.push_back(CreateNetwork{want});
  else
    repair(want, *have, ops);

  if (want.stop_with_grace) {
    if (runs && !have->stopping)
      ops.push_back(StopProcesses{want.uid, pod_of(want.ns, want.name), *want.stop_with_grace, false});
    return;
  }
  if (want.containers.empty() || (have && have->stopping)) return;
  if (runs && !(have->limits == want.limits)) ops.push_back(SetLimits{want});
  if (auto old = have ? old_volumes(want, *have) : std::vector<std::string>(); runs && !old.empty())
    ops.push_back(WriteVolumes{want, std::move(old)});
  if (auto names = have ? released(want, *have) : std::vector<std::string>(); runs && !names.empty())
    ops.push_back(ReleaseContainers{want, std::move(names)});
  if ((!have || have->processes == ProcessPhase::none) && !want.hold_processes) ops.push_back(StartProcesses{want});
}

}  // namespace

std::string to_text(const Op& op) {
  auto pod = [](const Sandbox& s) { return pod_of(s.ns, s.name); };
  return std::visit(
      Overload{
          [](const EnableForwarding&) { return std::string("enable forwarding on this node"); },
          [](const MakeGuard&) { return std::string("make table inet trama-pods"); },
          [](const RemoveGuard&) { return std::string("remove table inet trama-pods"); },
          [](const Withdraw& o) { return fmt::format("withdraw {}: routes, neighbours, guard", o.pod); },
          [](const StopProcesses& o) {
            return fmt::format("stop processes {}: grace {} s{}", o.pod, o.grace.count(),
                               o.start_over ? ", to start over" : "");
          },
          [](const DestroyNetwork& o) { return fmt::format("destroy network {}", o.pod); },
          [](const Forget& o) { return fmt::format("forget {} uid {}", o.pod, o.uid); },
          [&](const CreateNetwork& o) {
            return fmt::format("create network {}: netns {}, {}, mtu {}, link {}", pod(o.sandbox),
                               o.sandbox.network.netns_name, join(o.sandbox.network.addresses), o.sandbox.network.mtu,
                               veth_name(o.sandbox.uid));
          },
          [&](const RepairPin& o) {
            return fmt::format("repair pin {}: netns {}", pod(o.sandbox), o.sandbox.network.netns_name);
          },
          [&](const RepairGuard& o) { return fmt::format("repair guard {}", pod(o.sandbox)); },
          [&](const RepairLink& o) {
            return fmt::format("repair link {}: {}, mtu {}", pod(o.sandbox), veth_name(o.sandbox.uid),
                               o.sandbox.network.mtu);
          },
          [&](const RepairInside& o) { return fmt::format("repair inside {}", pod(o.sandbox)); },
          [&](const RepairRoutes& o) {
            return fmt::format("repair routes {}: {}", pod(o.sandbox), join(o.sandbox.network.addresses));
          },
          [&](const RepairNeighbours& o) {
            return fmt::format("repair neighbours {}: {}", pod(o.sandbox), join(o.sandbox.network.addresses));
          },
          [&](const WriteFiles& o) { return fmt::format("write files {}: hosts, resolv.conf", pod(o.sandbox)); },
          [&](const SetLimits& o) {
            return fmt::format("set limits {}: cpu {}m, memory {}, pids {}", pod(o.sandbox),
                               o.sandbox.limits.cpu_millis, o.sandbox.limits.memory_bytes, o.sandbox.limits.pids);
          },
          [&](const WriteVolumes& o) {
            return fmt::format("write volumes {}: {}", pod(o.sandbox), fmt::join(o.volumes, ", "));
          },
          [&](const ReleaseContainers& o) {
            return fmt::format("start held containers {}: {}", pod(o.sandbox), fmt::join(o.containers, ", "));
          },
          [&](const StartProcesses& o) {
            std::string names;
            for (const auto& c : o.sandbox.containers)
              names += (names.empty() ? "" : ", ") + c.name + (c.held ? " (held)" : "");
            return fmt::format("start processes {}: {}", pod(o.sandbox), names);
          },
      },
      op);
}

std::vector<Op> plan(const Desired& want, const Observed& have) {
  std::vector<Op> removals, rest;
  for (const auto& [uid, s] : have.sandboxes)
    if (!want.sandboxes.contains(uid)) remove(s, removals);

  bool any_wanted = false;
  for (const auto& [uid, s] : want.sandboxes) {
    if (!validate(s) || s.uid != uid) continue;
    any_wanted = true;
    auto found = have.sandboxes.find(uid);
    std::vector<Op> own;
    keep(s, found == have.sandboxes.end() ? nullptr : &found->second, own);
    bool leaves = !own.empty() && std::holds_alternative<Withdraw>(own.front());
    auto& to = leaves ? removals : rest;
    to.insert(to.end(), own.begin(), own.end());
  }

  std::vector<Op> ops = std::move(removals);
  if (any_wanted && !have.forwarding) ops.push_back(EnableForwarding{});
  if (any_wanted && have.guard != GuardTable::intact) ops.push_back(MakeGuard{});
  if (want.sandboxes.empty() && have.guard != GuardTable::absent) ops.push_back(RemoveGuard{});
  ops.insert(ops.end(), rest.begin(), rest.end());
  return ops;
}

}  // namespace trama::netns
