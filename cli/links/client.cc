// SPDX-License-Identifier: GPL-2.0-or-later
#include <climits>

#include <unistd.h>

#include "base/file.h"
#include "cli/lab/daemon.h"
#include "cli/lab/plan.h"
#include "cli/links/service.h"
#include "cli/links/unix_line.h"
#include "control/api/object.h"
#include "netns/namespace.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

constexpr const char* kNetnsDir = "/run/netns";
constexpr const char* kRole = "links";

bool served(const LabRegistry& registry, const std::string& lab) {
  return static_cast<bool>(connect_for_lines(links_socket(registry, lab)));
}

Result<> start_service(const LabRegistry& registry, LabRecord& record) {
  char path[PATH_MAX];
  auto n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n < 0) return Error::from_errno(errno, "find this program");
  auto there = netns::open_namespace(std::string(kNetnsDir) + "/" + switch_netns(record.name));
  if (!there) return std::move(there).error();
  DaemonSpec d;
  d.program = std::string(path, static_cast<std::size_t>(n));
  d.netns_fd = there->first.get();
  d.log_path = registry.directory(record.name) + "/links.log";
  d.arguments = {"link", "serve", record.name};
  if (const char* backend = std::getenv("TRAMA_LINK_BACKEND"))
    d.arguments.insert(d.arguments.end(), {"--backend", backend});
  // One that is recorded and does not answer would hold the switch's table.
  std::vector<ProcessId> before;
  for (const auto& p : record.processes)
    if (p.role == kRole) before.push_back(p.id);
  if (auto r = end_processes(before, std::chrono::seconds(2)); !r) return r;
  auto started = start_daemon(d);
  if (!started) return std::move(started).error();
  std::erase_if(record.processes, [](const LabProcess& p) { return p.role == kRole; });
  record.processes.push_back(LabProcess{kRole, "", started->id});
  if (auto r = registry.write(record); !r) return r;
  std::vector<Daemon> daemons;
  daemons.push_back(std::move(*started));
  auto ready = wait_ready(daemons, {d.log_path}, std::chrono::steady_clock::now() + std::chrono::seconds(15));
  if (!ready) return std::move(ready).error().in("the service of the lab's links");
  return {};
}

}  // namespace

LinkPlace link_place(const LabRecord& record, const std::string& netns_dir) {
  LabSpec lab;
  lab.name = record.name;
  for (const auto& n : record.nodes) {
    NodeSpec node;
    node.name = n.name;
    lab.nodes.push_back(std::move(node));
  }
  LinkPlace place;
  place.bridge_mac = base::Mac::from_seed(switch_netns(record.name));
  for (const auto& n : lab.nodes)
    place.nodes.push_back(
        {n.name, port_name(lab, n), node_mac(lab, n), netns_dir + "/" + node_netns(record.name, n.name)});
  return place;
}

std::string links_socket(const LabRegistry& registry, const std::string& lab) {
  return registry.directory(lab) + "/links.sock";
}
std::string links_file(const LabRegistry& registry, const std::string& lab) {
  return registry.directory(lab) + "/links.json";
}

Result<json::object> ask_links(const LabRegistry& registry, const std::string& lab, const json::object& request) {
  auto fd = connect_for_lines(links_socket(registry, lab));
  if (!fd) return std::move(fd).error();
  if (auto r = write_line(fd->get(), json::serialize(request)); !r) return std::move(r).error();
  auto line = read_line(fd->get());
  if (!line) return std::move(line).error();
  boost::system::error_code ec;
  auto v = json::parse(*line, ec);
  if (ec || !v.is_object()) return Error::text("the service of the lab's links answered no JSON");
  const auto& o = v.get_object();
  if (!o.contains("error")) return o;
  auto errc = static_cast<std::errc>(api::int_at(o, "code"));
  return Error::text(api::text_at(o, "error"), errc);
}

Result<> change_links(const LabRegistry& registry, LabRecord& record, const LinkChange& change) {
  if (!served(registry, record.name)) {
    bool gives = change.what == LinkChange::What::set || change.what == LinkChange::What::cut || !change.specs.empty();
    auto seen = look_at_links(registry, record.name);
    // Nothing is there, and nothing shall be: no service is needed to say so.
    if (!gives && seen.state.rules().empty()) return seen.state.apply(change, link_clock());
    if (auto r = start_service(registry, record); !r) return r;
  }
  auto done = ask_links(registry, record.name, to_json(change));
  if (!done) return std::move(done).error();
  return {};
}

Result<bool> restore_links(const LabRegistry& registry, LabRecord& record) {
  auto seen = look_at_links(registry, record.name);
  if (seen.served || seen.state.rules().empty()) return false;
  if (auto r = start_service(registry, record); !r) return std::move(r).error();
  return true;
}

LinksSeen look_at_links(const LabRegistry& registry, const std::string& lab) {
  LinksSeen seen;
  if (auto text = base::read_file(links_file(registry, lab)))
    if (auto state = LinkState::parse(*text)) seen.state = std::move(*state);
  seen.state.expire(link_clock());
  seen.served = served(registry, lab);
  return seen;
}

std::string LinksSeen::warning(const std::string& lab) const {
  if (served || state.rules().empty()) return "";
  return fmt::format("nobody keeps up the {} rules of lab {}'s links: frames may pass as if there were none",
                     state.rules().size(), lab);
}

}  // namespace trama::cli
