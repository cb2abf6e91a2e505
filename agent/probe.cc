// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/probe.h"

#include <algorithm>

namespace trama::agent {
namespace {

// A number, or the name of one of the container's ports; 0 = neither.
std::uint16_t port_of(const json::object& container, const json::value* port) {
  std::int64_t number = 0;
  if (port && port->is_int64()) number = port->get_int64();
  if (port && port->is_string()) {
    for (const auto& value : api::array_at(container, "ports"))
      if (value.is_object() && api::text_at(value.get_object(), "name") == port->get_string())
        number = api::int_at(value.get_object(), "containerPort");
  }
  return number >= 1 && number <= 65535 ? static_cast<std::uint16_t>(number) : std::uint16_t{0};
}

// "" and a filled action, or why it cannot be carried out.
std::string parse_action(const json::object& container, const json::object& probe, ProbeAction& out) {
  if (auto* tcp = api::at(probe, "tcpSocket"); tcp && tcp->is_object()) {
    out.type = ProbeAction::Type::tcp;
    out.port = port_of(container, api::at(tcp->get_object(), "port"));
    out.host = api::text_at(tcp->get_object(), "host");
    return out.port ? "" : "tcpSocket.port is no port number and no name of one";
  }
  if (auto* http = api::at(probe, "httpGet"); http && http->is_object()) {
    const auto& get = http->get_object();
    out.type = ProbeAction::Type::http;
    out.port = port_of(container, api::at(get, "port"));
    out.host = api::text_at(get, "host");
    out.path = api::text_at(get, "path", "/");
    if (!out.path.starts_with('/')) out.path.insert(0, "/");
    for (const auto& header : api::array_at(get, "httpHeaders"))
      if (header.is_object())
        out.headers.emplace_back(api::text_at(header.get_object(), "name"), api::text_at(header.get_object(), "value"));
    if (api::text_at(get, "scheme") == "HTTPS") return "httpGet with scheme HTTPS is not supported";
    return out.port ? "" : "httpGet.port is no port number and no name of one";
  }
  if (auto* exec = api::at(probe, "exec"); exec && exec->is_object()) {
    out.type = ProbeAction::Type::exec;
    for (const auto& word : api::array_at(exec->get_object(), "command"))
      if (word.is_string()) out.command.emplace_back(word.get_string());
    return out.command.empty() ? "exec.command is empty" : "";
  }
  return "only tcpSocket, httpGet and exec are supported";
}

}  // namespace

const char* to_string(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::readiness: return "readiness";
    case ProbeKind::liveness: return "liveness";
    case ProbeKind::startup: return "startup";
  }
  return "?";
}

std::vector<ProbeSpec> parse_probes(const json::object& container, std::vector<std::string>& refused) {
  std::vector<ProbeSpec> out;
  for (auto kind : {ProbeKind::startup, ProbeKind::readiness, ProbeKind::liveness}) {
    auto field = std::string(to_string(kind)) + "Probe";
    auto* value = api::at(container, field);
    if (!value || !value->is_object()) continue;
    const auto& probe = value->get_object();
    ProbeSpec spec;
    spec.kind = kind;
    auto seconds = [&](std::string_view name, std::int64_t otherwise) {
      return milliseconds(1000 * std::clamp<std::int64_t>(api::int_at(probe, name, otherwise), 0, 24 * 3600));
    };
    spec.initial_delay = seconds("initialDelaySeconds", 0);
    spec.period = std::max(milliseconds(1000), seconds("periodSeconds", 10));
    spec.timeout = std::max(milliseconds(1000), seconds("timeoutSeconds", 1));
    spec.success_threshold =
        static_cast<int>(std::clamp<std::int64_t>(api::int_at(probe, "successThreshold", 1), 1, 1000));
    spec.failure_threshold =
        static_cast<int>(std::clamp<std::int64_t>(api::int_at(probe, "failureThreshold", 3), 1, 1000));
    auto why = parse_action(container, probe, spec.action);
    if (why.empty())
      out.push_back(std::move(spec));
    else
      refused.push_back(fmt::format("container {}: {}: {}", api::text_at(container, "name"), field, why));
  }
  return out;
}

bool ProbeState::passing() const {
  if (verdict_ == Verdict::unknown) return spec_.kind == ProbeKind::liveness;
  return verdict_ == Verdict::success;
}

ProbeState::Verdict ProbeState::answered(bool ok, Time now) {
  bool eager = spec_.kind != ProbeKind::liveness && verdict_ != Verdict::success &&
               now < started_ + spec_.initial_delay + kEagerFor;
  streak_ = ok == last_ ? std::min(streak_ + 1, 1 << 20) : 1;
  last_ = ok;
  if (!ok && eager) streak_ = 0;  // asked more often than was agreed: such failures count for nothing
  if (ok && streak_ >= spec_.success_threshold) verdict_ = Verdict::success;
  if (!ok && streak_ >= spec_.failure_threshold) verdict_ = Verdict::failure;
  next_ = now + (eager && verdict_ != Verdict::success ? std::min(kEager, spec_.period) : spec_.period);
  return verdict_;
}

}  // namespace trama::agent
