// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/pod_status.h"

#include <boost/json/serialize.hpp>

#include "netns/json_fields.h"

namespace trama::netns {
namespace json = boost::json;
using base::Error;
using base::Result;

namespace {
const std::vector<std::string_view> kPhases{"waiting", "running", "terminated"};

json::object state_json(const ContainerState& s) {
  return json::object{{"state", kPhases[static_cast<std::size_t>(s.phase)]},
                      {"reason", s.reason},
                      {"message", s.message},
                      {"exitCode", s.exit_code},
                      {"signal", s.signal},
                      {"restartCount", s.restarts},
                      {"startedAt", s.started_at},
                      {"finishedAt", s.finished_at}};
}

void read_state(JsonFields& f, ContainerState& s) {
  int phase = 0;
  f.read_one_of("state", kPhases, phase);
  s.phase = static_cast<ContainerPhase>(phase);
  f.read("reason", s.reason);
  f.read("message", s.message);
  f.read("exitCode", s.exit_code);
  f.read("signal", s.signal);
  f.read("restartCount", s.restarts);
  f.read("startedAt", s.started_at);
  f.read("finishedAt", s.finished_at);
}

Result<ContainerStatus> parse_container(const json::object& o, const std::string& where) {
  ContainerStatus c;
  JsonFields f(o, where);
  f.read("name", c.state.name);
  read_state(f, c.state);
  f.read("pid", c.pid);
  f.read("startTime", c.start_time);
  if (const json::object* last = f.object("last")) {
    JsonFields l(*last, where + ".last");
    ContainerState state;
    state.name = c.state.name;
    read_state(l, state);
    if (auto r = l.result(); !r) return std::move(r).error();
    c.last = std::move(state);
  }
  if (auto r = f.result(); !r) return std::move(r).error();
  return c;
}
}  // namespace

std::string to_json(const PodStatus& s) {
  json::array containers;
  for (const ContainerStatus& c : s.containers) {
    json::object o = state_json(c.state);
    o["name"] = c.state.name;
    o["pid"] = c.pid;
    o["startTime"] = c.start_time;
    if (c.last) o["last"] = state_json(*c.last);
    containers.push_back(std::move(o));
  }
  json::object o{
      {"uid", s.uid}, {"sequence", s.sequence}, {"finished", s.finished}, {"containers", std::move(containers)}};
  return json::serialize(o) + "\n";
}

Result<PodStatus> parse_pod_status(std::string_view text) {
  auto object = parse_json_object(text, "pod status");
  if (!object) return std::move(object).error();
  PodStatus s;
  JsonFields f(*object, "status");
  f.read("uid", s.uid);
  f.read("sequence", s.sequence);
  f.read("finished", s.finished);
  if (const json::array* containers = f.array("containers")) {
    for (std::size_t i = 0; i < containers->size(); ++i) {
      const json::object* one = (*containers)[i].if_object();
      if (!one) return Error::text(fmt::format("status.containers[{}]: expected an object", i));
      auto c = parse_container(*one, fmt::format("status.containers[{}]", i));
      if (!c) return std::move(c).error();
      s.containers.push_back(std::move(*c));
    }
  }
  if (auto r = f.result(); !r) return std::move(r).error();
  return s;
}

}  // namespace trama::netns
