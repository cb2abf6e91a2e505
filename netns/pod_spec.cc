// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/pod_spec.h"

#include <set>

#include <boost/json/serialize.hpp>

#include "netns/json_fields.h"

namespace trama::netns {
namespace json = boost::json;
using base::Error;
using base::Result;

namespace {
const std::vector<std::string_view> kPolicies{"Always", "OnFailure", "Never"};

json::object limits_json(const Limits& l) {
  return json::object{{"cpuMillis", l.cpu_millis},
                      {"cpuRequestMillis", l.cpu_request_millis},
                      {"memoryBytes", l.memory_bytes},
                      {"pids", l.pids}};
}

Result<Limits> parse_limits(const json::object& o, const std::string& where) {
  Limits l;
  JsonFields f(o, where);
  f.read("cpuMillis", l.cpu_millis);
  f.read("cpuRequestMillis", l.cpu_request_millis);
  f.read("memoryBytes", l.memory_bytes);
  f.read("pids", l.pids);
  if (auto r = f.result(); !r) return std::move(r).error();
  return l;
}

void read_milliseconds(JsonFields& f, std::string_view key, std::chrono::milliseconds& out) {
  std::int64_t n = out.count();
  f.read(key, n);
  constexpr std::int64_t kYear = 366LL * 86'400'000;
  if (n < 0 || n > kYear) return f.fail(key, "milliseconds up to a year");
  out = std::chrono::milliseconds(n);
}

Result<VolumeMount> parse_mount(const json::value& v, const std::string& where) {
  const json::object* o = v.if_object();
  if (!o) return Error::text(where + ": expected an object");
  VolumeMount m;
  JsonFields f(*o, where);
  f.read("volume", m.volume);
  f.read("path", m.path);
  f.read("subPath", m.sub_path);
  f.read("readOnly", m.read_only);
  if (auto r = f.result(); !r) return std::move(r).error();
  return m;
}

Result<std::map<std::string, VolumeShape>> parse_volumes(const json::object& o) {
  std::map<std::string, VolumeShape> out;
  for (const auto& item : o) {
    std::string name(item.key()), where = "spec.volumes." + name;
    const json::object* one = item.value().if_object();
    if (!one) return Error::text(where + ": expected an object");
    VolumeShape shape;
    JsonFields f(*one, where);
    f.read("scratch", shape.scratch);
    f.read("sizeBytes", shape.size_bytes);
    if (auto r = f.result(); !r) return std::move(r).error();
    out[name] = shape;
  }
  return out;
}

Result<ContainerSpec> parse_container(const json::object& o, const std::string& where) {
  ContainerSpec c;
  JsonFields f(o, where);
  f.read("name", c.name);
  f.read("image", c.image);
  f.read("command", c.command);
  f.read("args", c.args);
  f.read("env", c.env);
  f.read("workingDir", c.working_dir);
  f.read("user", c.user);
  f.read("held", c.held);
  f.read("oomScoreAdj", c.oom_score_adj);
  if (const json::object* limits = f.object("limits")) {
    auto l = parse_limits(*limits, where + ".limits");
    if (!l) return std::move(l).error();
    c.limits = *l;
  }
  if (const json::array* mounts = f.array("mounts"))
    for (std::size_t i = 0; i < mounts->size(); ++i) {
      auto m = parse_mount((*mounts)[i], fmt::format("{}.mounts[{}]", where, i));
      if (!m) return std::move(m).error();
      c.mounts.push_back(std::move(*m));
    }
  if (auto r = f.result(); !r) return std::move(r).error();
  return c;
}

// Names become file names, cgroup names and command line words.
bool plain_name(std::string_view s, std::size_t longest) {
  if (s.empty() || s.size() > longest || s.front() == '.' || s.front() == '-') return false;
  for (char c : s)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
          c == '_'))
      return false;
  return true;
}

bool has_nul(const std::string& s) { return s.find('\0') != std::string::npos; }

// "" = it can be mounted.
std::string wrong_mount(const VolumeMount& m) {
  if (!plain_name(m.volume, 63)) return fmt::format("\"{}\" cannot name a volume", m.volume);
  if (!m.path.starts_with('/') || !is_file_path(m.path.substr(1)))
    return fmt::format("path \"{}\": expected an absolute path without \"..\" that is not the root", m.path);
  auto top = m.path.substr(0, m.path.find('/', 1));
  if (top == "/proc" || top == "/sys") return fmt::format("path \"{}\": {} is the kernel's", m.path, top);
  if (!m.sub_path.empty() && !is_file_path(m.sub_path))
    return fmt::format("subPath \"{}\": expected a relative path without \"..\"", m.sub_path);
  return "";
}

Result<> validate(const ContainerSpec& c, std::size_t index) {
  auto wrong = [&](std::string_view field, std::string_view why) {
    return Error::text(fmt::format("containers[{}].{}: {}", index, field, why));
  };
  if (!plain_name(c.name, 63)) return wrong("name", "expected letters, digits, '-', '.', '_', at most 63");
  if (c.name == "init") return wrong("name", "\"init\" is the pod's own init; choose another name");
  bool directory = c.image.starts_with("dir:/") || c.image.starts_with("bind:/");
  if ((c.image != "host" && !directory) || has_nul(c.image))
    return wrong("image", fmt::format("\"{}\" is not host, dir:/path or bind:/path", c.image));
  if (c.command.empty() && c.args.empty()) return wrong("command", "nothing to run; give command or args");
  for (const auto& word : c.command)
    if (has_nul(word)) return wrong("command", "contains a NUL byte");
  for (const auto& word : c.args)
    if (has_nul(word)) return wrong("args", "contains a NUL byte");
  for (const auto& [key, value] : c.env)
    if (key.empty() || key.find('=') != std::string::npos || has_nul(key) || has_nul(value))
      return wrong("env", fmt::format("\"{}\" cannot be the name of a variable, or its value has a NUL byte", key));
  if (!c.working_dir.empty() && (c.working_dir.front() != '/' || has_nul(c.working_dir)))
    return wrong("workingDir", "expected an absolute path");
  if (has_nul(c.user)) return wrong("user", "contains a NUL byte");
  if (c.oom_score_adj < 0 || c.oom_score_adj > 1000) return wrong("oomScoreAdj", "expected 0 to 1000");
  for (std::size_t m = 0; m < c.mounts.size(); ++m)
    if (auto why = wrong_mount(c.mounts[m]); !why.empty()) return wrong(fmt::format("mounts[{}]", m), why);
  return {};
}
}  // namespace

Result<> validate(const PodSpec& spec) {
  if (!plain_name(spec.uid, 128)) return Error::text("uid: expected letters, digits, '-', '.', '_', at most 128");
  if (!spec.hostname.empty() && !plain_name(spec.hostname, 63))
    return Error::text(fmt::format("hostname: \"{}\" is not a host name of at most 63 characters", spec.hostname));
  for (const auto* path : {&spec.netns_path, &spec.hosts_path, &spec.resolv_conf_path})
    if (!path->empty() && (path->front() != '/' || has_nul(*path)))
      return Error::text(fmt::format("\"{}\": expected an absolute path", *path));
  if (spec.netns_path.empty()) return Error::text("netnsPath: a pod needs a network namespace");
  if (spec.containers.empty()) return Error::text("containers: a pod needs at least one");
  if (spec.containers.size() > 64) return Error::text("containers: at most 64");
  std::set<std::string> names;
  for (std::size_t i = 0; i < spec.containers.size(); ++i) {
    if (auto r = validate(spec.containers[i], i); !r) return r;
    if (!names.insert(spec.containers[i].name).second)
      return Error::text(fmt::format("containers[{}].name: \"{}\" is used twice", i, spec.containers[i].name));
  }
  for (const auto& [name, shape] : spec.volumes)
    if (!plain_name(name, 63)) return Error::text(fmt::format("volumes: \"{}\" cannot name a volume", name));
  for (const ContainerSpec& c : spec.containers)
    for (const VolumeMount& m : c.mounts)
      if (!spec.volumes.contains(m.volume))
        return Error::text(fmt::format("container {}: volume \"{}\" is not one of the pod's", c.name, m.volume));
  if (spec.grace < std::chrono::milliseconds(0)) return Error::text("grace: expected a time of at least 0");
  if (spec.timing.base.count() < 0 || spec.timing.highest < spec.timing.base)
    return Error::text("timing: expected 0 <= base <= highest");
  if (spec.log.file_bytes < 65536 || spec.log.files < 1 || spec.log.files > 100)
    return Error::text("log: expected at least 65536 bytes a file and 1 to 100 files");
  return {};
}

std::string to_json(const PodSpec& s) {
  json::array containers;
  for (const ContainerSpec& c : s.containers) {
    json::object env;
    for (const auto& [key, value] : c.env) env[key] = value;
    json::array mounts;
    for (const VolumeMount& m : c.mounts)
      mounts.push_back(
          json::object{{"volume", m.volume}, {"path", m.path}, {"subPath", m.sub_path}, {"readOnly", m.read_only}});
    containers.push_back(json::object{{"name", c.name},
                                      {"image", c.image},
                                      {"command", json::array(c.command.begin(), c.command.end())},
                                      {"args", json::array(c.args.begin(), c.args.end())},
                                      {"env", std::move(env)},
                                      {"workingDir", c.working_dir},
                                      {"user", c.user},
                                      {"mounts", std::move(mounts)},
                                      {"held", c.held},
                                      {"limits", limits_json(c.limits)},
                                      {"oomScoreAdj", c.oom_score_adj}});
  }
  json::object volumes;
  for (const auto& [name, shape] : s.volumes)
    volumes[name] = json::object{{"scratch", shape.scratch}, {"sizeBytes", shape.size_bytes}};
  json::object o{{"uid", s.uid},
                 {"namespace", s.ns},
                 {"name", s.name},
                 {"hostname", s.hostname},
                 {"netnsPath", s.netns_path},
                 {"hostsPath", s.hosts_path},
                 {"resolvConfPath", s.resolv_conf_path},
                 {"containers", std::move(containers)},
                 {"volumes", std::move(volumes)},
                 {"limits", limits_json(s.limits)},
                 {"restartPolicy", kPolicies[static_cast<std::size_t>(s.restart)]},
                 {"graceMs", s.grace.count()},
                 {"restart", json::object{{"baseMs", s.timing.base.count()},
                                          {"highestMs", s.timing.highest.count()},
                                          {"healthyMs", s.timing.healthy.count()}}},
                 {"log", json::object{{"fileBytes", s.log.file_bytes}, {"files", s.log.files}}}};
  return json::serialize(o);
}

Result<PodSpec> parse_pod_spec(std::string_view text) {
  auto object = parse_json_object(text, "pod spec");
  if (!object) return std::move(object).error();
  PodSpec s;
  JsonFields f(*object, "spec");
  f.read("uid", s.uid);
  f.read("namespace", s.ns);
  f.read("name", s.name);
  f.read("hostname", s.hostname);
  f.read("netnsPath", s.netns_path);
  f.read("hostsPath", s.hosts_path);
  f.read("resolvConfPath", s.resolv_conf_path);
  int policy = 0;
  f.read_one_of("restartPolicy", kPolicies, policy);
  s.restart = static_cast<RestartPolicy>(policy);
  read_milliseconds(f, "graceMs", s.grace);
  if (const json::object* limits = f.object("limits")) {
    auto l = parse_limits(*limits, "spec.limits");
    if (!l) return std::move(l).error();
    s.limits = *l;
  }
  if (const json::object* restart = f.object("restart")) {
    JsonFields r(*restart, "spec.restart");
    read_milliseconds(r, "baseMs", s.timing.base);
    read_milliseconds(r, "highestMs", s.timing.highest);
    read_milliseconds(r, "healthyMs", s.timing.healthy);
    if (auto ok = r.result(); !ok) return std::move(ok).error();
  }
  if (const json::object* log = f.object("log")) {
    JsonFields r(*log, "spec.log");
    r.read("fileBytes", s.log.file_bytes);
    r.read("files", s.log.files);
    if (auto ok = r.result(); !ok) return std::move(ok).error();
  }
  if (const json::array* containers = f.array("containers")) {
    for (std::size_t i = 0; i < containers->size(); ++i) {
      const json::object* one = (*containers)[i].if_object();
      if (!one) return Error::text(fmt::format("spec.containers[{}]: expected an object", i));
      auto c = parse_container(*one, fmt::format("spec.containers[{}]", i));
      if (!c) return std::move(c).error();
      s.containers.push_back(std::move(*c));
    }
  }
  if (const json::object* volumes = f.object("volumes")) {
    auto parsed = parse_volumes(*volumes);
    if (!parsed) return std::move(parsed).error();
    s.volumes = std::move(*parsed);
  }
  if (auto r = f.result(); !r) return std::move(r).error();
  if (auto r = validate(s); !r) return std::move(r).error();
  return s;
}

}  // namespace trama::netns
