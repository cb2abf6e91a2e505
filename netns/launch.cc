// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/launch.h"

#include <boost/json/serialize.hpp>

#include "netns/json_fields.h"

namespace trama::netns {
namespace json = boost::json;
using base::Error;
using base::Result;

namespace {
json::array strings(const std::vector<std::string>& v) { return json::array(v.begin(), v.end()); }
}  // namespace

std::string to_json(const PodLaunch& l) {
  json::array containers;
  for (const auto& directories : l.container_cgroups)
    containers.push_back(json::object{{"cgroups", strings(directories)}});
  json::object o{{"spec", to_json(l.spec)},  // a text, so that one parser reads it here and in spec.json
                 {"directory", l.directory},
                 {"executable", l.executable},
                 {"initCgroups", strings(l.init_cgroups)},
                 {"containers", std::move(containers)}};
  return json::serialize(o);
}

Result<PodLaunch> parse_pod_launch(std::string_view text) {
  auto object = parse_json_object(text, "pod launch");
  if (!object) return std::move(object).error();
  PodLaunch l;
  std::string spec;
  JsonFields f(*object, "launch");
  f.read("spec", spec);
  f.read("directory", l.directory);
  f.read("executable", l.executable);
  f.read("initCgroups", l.init_cgroups);
  if (const json::array* containers = f.array("containers"))
    for (const json::value& v : *containers) {
      const json::object* one = v.if_object();
      if (!one) return Error::text("launch.containers: expected objects");
      JsonFields c(*one, "launch.containers");
      c.read("cgroups", l.container_cgroups.emplace_back());
      if (auto r = c.result(); !r) return std::move(r).error();
    }
  if (auto r = f.result(); !r) return std::move(r).error();
  auto parsed = parse_pod_spec(spec);
  if (!parsed) return std::move(parsed).error();
  l.spec = std::move(*parsed);
  if (l.container_cgroups.size() != l.spec.containers.size())
    return Error::text("launch.containers: not as many as in the spec");
  return l;
}

std::string to_json(const ExecLaunch& l) {
  json::object env;
  for (const auto& [key, value] : l.container.env) env[key] = value;
  json::object o{{"name", l.container.name},
                 {"image", l.container.image},
                 {"env", std::move(env)},
                 {"user", l.container.user},
                 {"workingDir", l.container.working_dir},
                 {"hostname", l.hostname},
                 {"command", strings(l.command)},
                 {"cgroups", strings(l.cgroups)},
                 {"terminal", l.terminal},
                 {"rows", l.size.rows},
                 {"columns", l.size.columns}};
  return json::serialize(o);
}

Result<ExecLaunch> parse_exec_launch(std::string_view text) {
  auto object = parse_json_object(text, "exec launch");
  if (!object) return std::move(object).error();
  ExecLaunch l;
  JsonFields f(*object, "launch");
  f.read("name", l.container.name);
  f.read("image", l.container.image);
  f.read("env", l.container.env);
  f.read("user", l.container.user);
  f.read("workingDir", l.container.working_dir);
  f.read("hostname", l.hostname);
  f.read("command", l.command);
  f.read("cgroups", l.cgroups);
  f.read("terminal", l.terminal);
  f.read("rows", l.size.rows);
  f.read("columns", l.size.columns);
  if (auto r = f.result(); !r) return std::move(r).error();
  return l;
}

}  // namespace trama::netns
