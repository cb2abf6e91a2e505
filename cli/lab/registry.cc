// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/lab/registry.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <filesystem>

#include <fcntl.h>
#include <sys/file.h>

#include "base/file.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;
namespace json = boost::json;

Result<ProcessId> identify(pid_t pid) {
  auto gone = [&] { return Error::from_errno(ESRCH, fmt::format("process {}", pid)); };
  auto stat = base::read_file(fmt::format("/proc/{}/stat", pid));
  if (!stat) return gone();
  // The name may hold blanks and parentheses: fields are counted from the last ")".
  auto at = stat->rfind(')');
  if (at == std::string::npos || at + 2 >= stat->size()) return gone();
  std::string_view rest = std::string_view(*stat).substr(at + 2);
  if (rest.starts_with('Z') || rest.starts_with('X')) return gone();
  for (int field = 3; field < 22; ++field) {
    auto blank = rest.find(' ');
    if (blank == std::string_view::npos) return gone();
    rest.remove_prefix(blank + 1);
  }
  ProcessId id{pid, 0};
  std::from_chars(rest.data(), rest.data() + rest.size(), id.start_time);
  return id;
}

bool is_alive(const ProcessId& p) {
  if (p.pid <= 0) return false;
  auto now = identify(p.pid);
  return now && *now == p;
}

namespace {

json::object to_json(const ProcessId& p) {
  json::object o;
  o["pid"] = p.pid;
  o["startTime"] = p.start_time;
  return o;
}
ProcessId process_id(const json::object& o) {
  return {static_cast<pid_t>(api::int_at(o, "pid")), static_cast<std::uint64_t>(api::int_at(o, "startTime"))};
}

}  // namespace

std::string to_json_text(const LabRecord& r) {
  json::object o;
  o["name"] = r.name;
  o["state"] = r.state;
  o["creator"] = to_json(r.creator);
  json::array processes;
  for (const auto& p : r.processes) {
    auto e = to_json(p.id);
    e["role"] = p.role;
    e["name"] = p.name;
    processes.push_back(std::move(e));
  }
  o["processes"] = std::move(processes);
  json::array nodes;
  for (const auto& n : r.nodes) {
    json::object e;
    e["name"] = n.name;
    e["address"] = n.address;
    nodes.push_back(std::move(e));
  }
  o["nodes"] = std::move(nodes);
  o["switchAddress"] = r.switch_address;
  o["apiPort"] = r.api_port;
  json::array made;
  for (const auto& d : r.made_directories) made.push_back(json::value(json::string(d)));
  o["madeDirectories"] = std::move(made);
  o["madeNetnsMount"] = r.made_netns_mount;
  o["file"] = r.file;
  o["createdAt"] = r.created_at;
  return json::serialize(o) + "\n";
}

Result<LabRecord> parse_lab_record(std::string_view text) {
  boost::system::error_code ec;
  auto v = json::parse(text, ec);
  if (ec || !v.is_object()) return Error::text("the lab's record is not JSON");
  const auto& o = v.get_object();
  LabRecord r;
  r.name = api::text_at(o, "name");
  r.state = api::text_at(o, "state");
  r.creator = process_id(api::object_at(o, "creator"));
  for (const auto& e : api::array_at(o, "processes"))
    if (const auto* p = e.if_object())
      r.processes.push_back(LabProcess{api::text_at(*p, "role"), api::text_at(*p, "name"), process_id(*p)});
  for (const auto& e : api::array_at(o, "nodes"))
    if (const auto* n = e.if_object())
      r.nodes.push_back(LabNode{api::text_at(*n, "name"), api::text_at(*n, "address")});
  r.switch_address = api::text_at(o, "switchAddress");
  r.api_port = static_cast<std::uint16_t>(api::int_at(o, "apiPort"));
  for (const auto& d : api::array_at(o, "madeDirectories"))
    if (d.is_string()) r.made_directories.emplace_back(d.get_string());
  r.made_netns_mount = api::bool_at(o, "madeNetnsMount");
  r.file = api::text_at(o, "file");
  r.created_at = api::int_at(o, "createdAt");
  if (r.name.empty()) return Error::text("the lab's record has no name");
  return r;
}

bool is_lab_name(std::string_view s) {
  if (s.empty() || s.size() > 30 || s.front() == '-' || s.back() == '-') return false;
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::string switch_netns(const std::string& lab) { return lab + ".switch"; }
std::string node_netns(const std::string& lab, const std::string& node) { return lab + "." + node; }
std::string pod_netns_prefix(const std::string& lab, const std::string& node) { return lab + "." + node + "."; }
std::string cgroup_root(const std::string& lab, const std::string& node) {
  return fmt::format("trama.slice/{}.{}", lab, node);
}

LabState state_of(const LabRecord& r) {
  if (r.state == "starting" && is_alive(r.creator)) return LabState::starting;
  if (r.state != "up") return LabState::broken;
  auto controller =
      std::find_if(r.processes.begin(), r.processes.end(), [](const LabProcess& p) { return p.role == "controller"; });
  return controller != r.processes.end() && is_alive(controller->id) ? LabState::running : LabState::broken;
}

std::vector<LabRecord> LabRegistry::list() const {
  std::vector<LabRecord> labs;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(root_, ec)) {
    auto name = entry.path().filename().string();
    if (!is_lab_name(name)) continue;
    auto r = read(name);
    LabRecord broken;
    broken.name = name;
    labs.push_back(r ? std::move(*r) : std::move(broken));
  }
  std::sort(labs.begin(), labs.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return labs;
}

Result<LabRecord> LabRegistry::read(const std::string& lab) const {
  auto text = is_lab_name(lab) ? base::read_file(directory(lab) + "/lab.json")
                               : Result<std::string>(Error::from_errno(ENOENT, lab));
  if (!text && text.error().is(std::errc::no_such_file_or_directory))
    return Error::text(fmt::format("there is no lab \"{}\" on this machine", lab),
                       std::errc::no_such_file_or_directory);
  if (!text) return std::move(text).error();
  auto r = parse_lab_record(*text);
  if (!r) return std::move(r).error().in(directory(lab));
  return r;
}

Result<> LabRegistry::write(const LabRecord& r) const {
  if (auto made = base::make_directories(directory(r.name), 0755); !made) return made;
  return base::write_file_atomic(directory(r.name) + "/lab.json", to_json_text(r));
}

Result<base::UniqueFd> LabRegistry::lock(const std::string& lab) const {
  base::UniqueFd fd(open(directory(lab).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, directory(lab));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0)
    return Error::text(fmt::format("another `trama lab` command is working on lab \"{}\" right now", lab),
                       std::errc::resource_unavailable_try_again);
  return fd;
}

}  // namespace trama::cli
