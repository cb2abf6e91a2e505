// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/context.h"

#include <cstdlib>

#include <unistd.h>

#include "cli/lab/registry.h"
#include "control/client/kubeconfig.h"
#include "control/pki/certificate.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {
std::string variable(const char* name) {
  const char* v = std::getenv(name);
  return v ? v : "";
}

Result<std::string> of_lab(const LabRegistry& labs, const std::string& name) {
  auto record = labs.read(name);
  if (!record)
    return Error::text(record.error().to_string() + " (see: trama lab ls)", std::errc::no_such_file_or_directory);
  if (state_of(*record) == LabState::broken)
    return Error::text(
        fmt::format("the controller of lab \"{}\" is not running (clean up: trama lab down {})", name, name),
        std::errc::connection_refused);
  return labs.kubeconfig(name);
}
}  // namespace

Result<std::string> kubeconfig_path(const Globals& g) {
  if (!g.kubeconfig.empty()) return g.kubeconfig;
  LabRegistry labs;
  auto lab = g.lab.empty() ? variable("TRAMA_LAB") : g.lab;
  if (!lab.empty()) return of_lab(labs, lab);
  std::vector<std::string> running;
  for (const auto& r : labs.list())
    if (state_of(r) != LabState::broken) running.push_back(r.name);
  if (running.size() == 1) return labs.kubeconfig(running[0]);
  if (running.size() > 1)
    return Error::text(fmt::format("several labs are running: which one? Give --lab NAME or TRAMA_LAB=NAME ({})",
                                   fmt::join(running, ", ")));
  if (auto k = variable("KUBECONFIG"); !k.empty()) return k.substr(0, k.find(':'));
  if (access("/etc/trama/admin.kubeconfig", F_OK) == 0) return std::string("/etc/trama/admin.kubeconfig");
  return Error::text(
      "no controller to talk to: no lab is running, KUBECONFIG is not set and "
      "/etc/trama/admin.kubeconfig does not exist (start a lab: sudo trama lab up)",
      std::errc::connection_refused);
}

Result<client::Kubeconfig> session_config(const Globals& g) {
  auto path = kubeconfig_path(g);
  if (!path) return std::move(path).error();
  auto config = client::read_kubeconfig(*path);
  if (!config) return std::move(config).error();
  if (!g.server.empty()) {
    config->server.clear();  // each of several, divided by commas
    for (std::string_view rest = g.server; !rest.empty();) {
      auto one = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(one.size() + 1, rest.size()));
      config->server += fmt::format("{}{}{}", config->server.empty() ? "" : ",",
                                    one.find("://") == std::string::npos ? "https://" : "", one);
    }
  }
  return config;
}

Result<Session> open_session(const Globals& g) {
  auto path = kubeconfig_path(g);
  if (!path) return std::move(path).error();
  auto config = session_config(g);
  if (!config) return std::move(config).error();
  auto api = Api::open(*config);
  if (!api) return std::move(api).error();
  Session s;
  s.api = std::move(*api);
  s.ns = !g.ns.empty() ? g.ns : config->ns.empty() ? "default" : config->ns;
  s.ca_pem = config->ca_pem;
  LabRegistry labs;
  for (const auto& r : labs.list())
    if (labs.kubeconfig(r.name) == *path) s.lab = r.name;
  return s;
}

std::string trusted_ca(Session& session) {
  Call c;
  c.path = "/trama/ca";
  auto said = session.api->call(std::move(c));
  if (!said || !said->ok() || !pki::Certificate::from_pem(said->text)) return session.ca_pem;
  return said->text;
}

}  // namespace trama::cli
