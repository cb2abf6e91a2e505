// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/age.h"
#include "cli/exit.h"
#include "cli/lab/daemon.h"
#include "cli/lab/lab.h"
#include "cli/lab/network.h"
#include "cli/links/service.h"
#include "cli/table.h"
#include "cli/yaml/emit.h"
#include "netns/cgroup.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

constexpr const char* kNetnsDir = "/run/netns";
constexpr const char* kEtcNetnsDir = "/etc/netns";

// Everything that can be tried is tried; the first failure is what is told.
class FirstFailure {
 public:
  void note(Result<> r) {
    if (!r && !failure_) failure_ = std::move(r).error();
  }
  Result<> take() {
    if (failure_) return std::move(*failure_);
    return {};
  }

 private:
  std::optional<Error> failure_;
};

Result<> remove_cgroups(const std::string& root) {
  auto groups = netns::CgroupRoot::open(root);
  if (!groups) return std::move(groups).error();
  FirstFailure failure;
  for (const auto& name : groups->list()) failure.note(groups->kill_all(name));
  for (const auto& name : groups->list()) failure.note(groups->remove(name));
  failure.note(groups->remove_root());
  return failure.take();
}

void remove_etc_netns(const LabRecord& r, FirstFailure& failure) {
  std::vector<std::string> found;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(kEtcNetnsDir, ec)) {
    auto name = entry.path().filename().string();
    bool ours = name == switch_netns(r.name);
    for (const auto& n : r.nodes)
      ours = ours || name == node_netns(r.name, n.name) || name.starts_with(pod_netns_prefix(r.name, n.name));
    if (ours) found.push_back(entry.path().string());
  }
  for (const auto& path : found) failure.note(base::remove_tree(path));
}

// What the first lab had to make for all of them goes with the last one. While others live, one of them inherits it.
void remove_shared(const LabRegistry& registry, const LabRecord& r, FirstFailure& failure) {
  auto others = registry.list();
  if (!others.empty()) {
    auto heir = others.front();
    heir.made_netns_mount = heir.made_netns_mount || r.made_netns_mount;
    for (const auto& d : r.made_directories)
      if (std::find(heir.made_directories.begin(), heir.made_directories.end(), d) == heir.made_directories.end())
        heir.made_directories.push_back(d);
    failure.note(registry.write(heir));
    return;
  }
  auto empty = [](const std::string& d) {
    std::error_code ec;
    return std::filesystem::is_empty(d, ec) && !ec;
  };
  if (r.made_netns_mount && empty(kNetnsDir) && is_mount_point(kNetnsDir)) umount2(kNetnsDir, MNT_DETACH);
  auto directories = r.made_directories;
  std::sort(directories.begin(), directories.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  for (const auto& d : directories) rmdir(d.c_str());  // only when empty: what others put there stays
}

}  // namespace

Result<> require_root(std::string_view verb) {
  if (geteuid() == 0) return {};
  return Error::text(
      fmt::format("trama lab {} makes and removes network namespaces: it needs root (sudo trama lab {})", verb, verb),
      std::errc::operation_not_permitted);
}

Result<> tear_down(const LabRegistry& registry, const LabRecord& record) {
  FirstFailure failure;
  auto r = record;
  r.state = "stopping";
  failure.note(registry.write(r));
  std::vector<ProcessId> processes;
  for (const auto& p : r.processes) processes.push_back(p.id);
  failure.note(end_processes(processes, std::chrono::milliseconds(3000)));
  for (const auto& n : r.nodes) failure.note(remove_cgroups(cgroup_root(r.name, n.name)));
  std::vector<std::string> names{switch_netns(r.name)}, prefixes;
  for (const auto& n : r.nodes) {
    names.push_back(node_netns(r.name, n.name));
    prefixes.push_back(pod_netns_prefix(r.name, n.name));
  }
  if (auto gone = remove_namespaces(kNetnsDir, names, prefixes); !gone) failure.note(std::move(gone).error());
  remove_etc_netns(r, failure);
  if (auto problem = failure.take(); !problem) return problem;  // the record stays: the next try knows what is left
  if (auto gone = base::remove_tree(registry.directory(r.name)); !gone) return gone;
  remove_shared(registry, r, failure);
  return failure.take();
}

namespace {

int down_one(const LabRegistry& registry, const std::string& name) {
  auto record = registry.read(name);
  std::error_code ec;
  if (!record && is_lab_name(name) && std::filesystem::exists(registry.directory(name), ec)) {
    // Died between making the directory and writing the record: nothing else can have been made yet.
    LabRecord nothing;
    nothing.name = name;
    record = std::move(nothing);
  }
  if (!record) return fail(record.error(), "trama lab ls");
  if (state_of(*record) == LabState::starting)
    return fail(Exit::conflict,
                fmt::format("lab \"{}\" is being started right now (process {})", name, record->creator.pid),
                "wait for it, or end that process first");
  auto lock = registry.lock(name);
  if (!lock) return fail(lock.error());
  auto begin = std::chrono::steady_clock::now();
  if (auto r = tear_down(registry, *record); !r)
    return fail(r.error(), fmt::format("trama lab down {}   (again: it goes on where it stopped)", name));
  auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print(stderr, "lab {} is down ({:.2f} s)\n", name, took);
  return code(Exit::ok);
}

}  // namespace

int lab_down(const LabDownOptions& options) {
  if (auto r = require_root("down"); !r) return fail(r.error());
  LabRegistry registry;
  auto labs = registry.list();
  if (options.all) {
    int rc = code(Exit::ok);
    for (const auto& l : labs)
      if (int one = down_one(registry, l.name)) rc = one;
    if (labs.empty()) fmt::print(stderr, "no lab is running\n");
    return rc;
  }
  if (!options.name.empty()) return down_one(registry, options.name);
  if (labs.empty()) return fail(Exit::not_found, "no lab is running", "trama lab up");
  if (labs.size() > 1) {
    std::string names;
    for (const auto& l : labs) names += " " + l.name;
    return fail(Exit::usage, "there are several labs:" + names, "trama lab down NAME, or trama lab down --all");
  }
  return down_one(registry, labs[0].name);
}

int lab_list(const std::string& output) {
  auto labs = LabRegistry().list();
  auto state_text = [](const LabRecord& r) {
    switch (state_of(r)) {
      case LabState::running: return "running";
      case LabState::starting: return "starting";
      case LabState::broken: return "broken";
    }
    return "";
  };
  if (output == "json" || output == "yaml") {
    json::array all;
    for (const auto& r : labs) {
      boost::system::error_code ec;
      auto v = json::parse(to_json_text(r), ec);
      v.get_object()["state"] = state_text(r);
      v.get_object()["kubeconfig"] = LabRegistry().kubeconfig(r.name);
      all.push_back(std::move(v));
    }
    json::object list;
    list["apiVersion"] = "trama.dev/v1";
    list["kind"] = "LabList";
    list["items"] = std::move(all);
    json::value v = std::move(list);
    std::fputs((output == "json" ? to_pretty_json(v) : to_yaml(v)).c_str(), stdout);
    return code(Exit::ok);
  }
  if (labs.empty()) {
    fmt::print(stderr, "no lab is running (start one: sudo trama lab up)\n");
    return code(Exit::ok);
  }
  Table t;
  t.header = {"NAME", "STATE", "NODES", "API", "AGE", "KUBECONFIG"};
  for (const auto& r : labs) {
    std::string nodes;
    for (const auto& n : r.nodes) nodes += (nodes.empty() ? "" : ",") + n.name;
    t.rows.push_back({r.name, state_text(r), nodes, r.api_port ? fmt::format("127.0.0.1:{}", r.api_port) : "-",
                      r.created_at ? age_since(r.created_at) : "-", LabRegistry().kubeconfig(r.name)});
  }
  std::fputs(t.to_text().c_str(), stdout);
  for (const auto& r : labs)
    if (auto warning = geteuid() == 0 ? look_at_links(LabRegistry(), r.name).warning(r.name) : ""; !warning.empty())
      fmt::print(stderr, "note: {} (sudo trama --lab {} link restore)\n", warning, r.name);
  return code(Exit::ok);
}

int lab_prune(bool dry_run) {
  if (auto r = require_root("prune"); !r && !dry_run) return fail(r.error());
  LabRegistry registry;
  int rc = code(Exit::ok);
  bool found = false;
  for (const auto& record : registry.list()) {
    if (state_of(record) != LabState::broken) continue;
    found = true;
    if (dry_run) {
      fmt::print("lab {}: broken; would remove its processes, control groups, namespaces and files\n", record.name);
      for (const auto& p : record.processes)
        if (is_alive(p.id)) fmt::print("  process {} ({} {})\n", p.id.pid, p.role, p.name);
      for (const auto& n : record.nodes)
        fmt::print("  {}*, {}\n", node_netns(record.name, n.name), cgroup_root(record.name, n.name));
      continue;
    }
    auto lock = registry.lock(record.name);
    if (!lock) {
      rc = fail(lock.error());
      continue;
    }
    if (auto r = tear_down(registry, record); !r)
      rc = fail(r.error());
    else
      fmt::print("lab {} removed\n", record.name);
  }
  if (!found) fmt::print(stderr, "nothing to remove: no lab is broken\n");
  return rc;
}

}  // namespace trama::cli
