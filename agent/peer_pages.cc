// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/peer_pages.h"

#include <algorithm>

#include <fmt/format.h>

#include "agent/metrics_text.h"
#include "base/columns.h"
#include "base/short_duration.h"

namespace trama::agent {

namespace json = boost::json;
using namespace overlay::peers;

namespace {

constexpr PathKind kKinds[] = {PathKind::overlay, PathKind::control};
constexpr PathState kStates[] = {PathState::unknown, PathState::probing, PathState::up, PathState::degraded,
                                 PathState::down};
constexpr Connection kConnections[] = {Connection::established, Connection::connecting, Connection::waiting,
                                       Connection::unneeded};

std::string round_trip(Micros t) {
  if (t.count() == 0) return "-";
  return fmt::format("{:.{}f}ms", static_cast<double>(t.count()) / 1000, t.count() < 10'000 ? 2 : 0);
}

std::string age(Millis t) { return base::short_duration(std::chrono::duration_cast<std::chrono::seconds>(t)); }

std::string port_of(const PeerStatus& p, std::uint16_t port) {
  return p.remote.empty() ? base::IpPort{p.underlay, port}.to_string() : p.remote;
}

std::string why_not(const MeshStatus& s) {
  if (!s.protocol_off.empty()) return s.protocol_off;
  return s.listening;
}

std::string table(const std::vector<std::vector<std::string>>& rows) { return base::columns(rows, 2); }

json::object path_page(const PathStatus& p) {
  json::object out;
  out["state"] = to_string(p.state);
  if (!p.reason.empty()) out["reason"] = p.reason;
  out["forSeconds"] = p.age.count() / 1000;
  out["lossPercent"] = p.loss;
  out["lossInPercent"] = p.loss_in;
  out["lossOutPercent"] = p.loss_out;
  if (p.round_trip.count() > 0) out["roundTripMs"] = static_cast<double>(p.round_trip.count()) / 1000;
  out["downs"] = p.downs;
  return out;
}

}  // namespace

std::string overlay_summary(const MeshStatus& s) {
  auto sum = summarize(s);
  auto off = why_not(s);
  std::string out;
  auto line = [&](const char* name, const std::string& value) { out += fmt::format("{:>14}: {}\n", name, value); };
  line("Version", TRAMA_VERSION);
  line("Name", s.node);
  line("Address", s.underlay.to_string());
  line("Protocol",
       off.empty() ? fmt::format("trama {}..{} on {}", kLowestVersion, kHighestVersion, s.port) : "off: " + off);
  line("Encryption", "off");
  line("Peers", fmt::format("{}", s.peers.size()));
  line("Connections", fmt::format("{} established", sum.established));
  line("Paths",
       fmt::format("{} up, {} degraded, {} down, {} not known yet", sum.up, sum.degraded, sum.down, sum.pending));
  if (s.isolated) line("Isolated", "no peer answers on any path; nothing was taken down");
  line("MTU", s.mtu == 0 ? "the overlay does not stand yet" : fmt::format("{}", s.mtu));
  line("Refused", fmt::format("{} callers, {} handshakes, {} foreign programs, {} datagrams", s.refused,
                              s.handshakes_failed, s.foreign, s.forged));
  return out;
}

std::string overlay_connections(const MeshStatus& s) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& p : s.peers) {
    const auto& vxlan = p.path(PathKind::overlay);
    std::string detail = fmt::format("vxlan={} {}", to_string(vxlan.state), p.node);
    if (s.mtu > 0 && works(vxlan.state)) detail += fmt::format(" mtu={}", s.mtu);
    if (works(vxlan.state)) detail += fmt::format(" rtt={} loss={}%", round_trip(vxlan.round_trip), vxlan.loss);
    if (p.connection != Connection::established && !p.trouble.empty()) detail += " error: " + p.trouble;
    bool inbound = p.connection == Connection::established && !p.outbound;
    rows.push_back({inbound ? "<-" : "->", port_of(p, s.port), to_string(p.connection), std::move(detail)});
  }
  return table(rows);
}

std::string overlay_peers(const MeshStatus& s) {
  std::vector<std::vector<std::string>> rows{{"NODE", "ADDRESS", "OVERLAY", "CONNECTION", "KNOWN FROM"}};
  rows.push_back({s.node, s.underlay.to_string(), "", "ourselves", ""});
  for (const auto& p : s.peers)
    rows.push_back({p.node, p.underlay.to_string(), p.overlay.empty() ? "-" : p.overlay, to_string(p.connection),
                    p.hearsay ? "other nodes" : "controller"});
  return table(rows);
}

std::string overlay_paths(const MeshStatus& s) {
  std::vector<std::vector<std::string>> rows{
      {"PEER", "PATH", "STATE", "FOR", "RTT", "LOSS", "OUT", "IN", "DOWNS", "REASON"}};
  for (const auto& p : s.peers)
    for (auto kind : kKinds) {
      const auto& path = p.path(kind);
      auto percent = [](unsigned v) { return fmt::format("{}%", v); };
      rows.push_back({p.node, to_string(kind), to_string(path.state), age(path.age), round_trip(path.round_trip),
                      percent(path.loss), percent(path.loss_out), percent(path.loss_in), std::to_string(path.downs),
                      path.reason});
    }
  return table(rows);
}

json::object overlay_report(const MeshStatus& s) {
  json::object out;
  out["node"] = s.node;
  out["version"] = "v" TRAMA_VERSION;
  out["address"] = s.underlay.to_string();
  out["port"] = s.port;
  if (auto off = why_not(s); !off.empty()) out["protocolOff"] = off;
  out["encryption"] = "off";
  out["mtu"] = s.mtu;
  out["isolated"] = s.isolated;
  out["upSeconds"] = s.uptime.count() / 1000;
  out["sleptMs"] = s.slept.count();
  out["refusedCallers"] = s.refused;
  out["failedHandshakes"] = s.handshakes_failed;
  out["foreignPrograms"] = s.foreign;
  out["datagrams"] = s.datagrams;
  out["refusedDatagrams"] = s.forged;
  json::array peers;
  for (const auto& p : s.peers) {
    json::object item;
    item["node"] = p.node;
    item["address"] = p.underlay.to_string();
    if (!p.overlay.empty()) item["overlayAddress"] = p.overlay;
    item["hearsay"] = p.hearsay;
    json::object connection;
    connection["state"] = to_string(p.connection);
    if (p.connection == Connection::established) {
      connection["outbound"] = p.outbound;
      connection["remote"] = p.remote;
      connection["version"] = p.version;
      json::array capabilities;
      for (const auto& c : p.capabilities) capabilities.emplace_back(c);
      connection["capabilities"] = std::move(capabilities);
    }
    if (!p.trouble.empty()) connection["trouble"] = p.trouble;
    item["connection"] = std::move(connection);
    json::object paths;
    for (auto kind : kKinds) paths[to_string(kind)] = path_page(p.path(kind));
    item["paths"] = std::move(paths);
    peers.push_back(std::move(item));
  }
  out["peers"] = std::move(peers);
  return out;
}

std::string overlay_metrics(const MeshStatus& s) {
  MetricsText m;
  m.family("trama_connections", "gauge", "Conversations with peers on 6783/tcp, by state.");
  for (auto state : kConnections)
    m.value(std::count_if(s.peers.begin(), s.peers.end(), [&](auto& p) { return p.connection == state; }),
            fmt::format("state=\"{}\",type=\"peer\",encryption=\"\"", to_string(state)));
  m.family("trama_overlay_paths", "gauge", "Paths to peers, by kind and state.");
  for (auto kind : kKinds)
    for (auto state : kStates)
      m.value(std::count_if(s.peers.begin(), s.peers.end(), [&](auto& p) { return p.path(kind).state == state; }),
              fmt::format("path=\"{}\",state=\"{}\"", to_string(kind), to_string(state)));
  m.family("trama_overlay_path_downs", "gauge", "How often paths to the present peers went down.");
  std::vector<double> trips;
  for (auto kind : kKinds) {
    std::uint64_t downs = 0;
    for (const auto& p : s.peers) downs += p.path(kind).downs;
    m.value(downs, fmt::format("path=\"{}\"", to_string(kind)));
  }
  for (const auto& p : s.peers)
    if (auto t = p.path(PathKind::overlay).round_trip; t.count() > 0)
      trips.push_back(static_cast<double>(t.count()) / 1e6);
  std::sort(trips.begin(), trips.end());
  if (!trips.empty()) {
    m.family("trama_overlay_round_trip_seconds", "gauge", "Smoothed round trips through the overlay, over all peers.");
    for (auto [name, at] : {std::pair{"min", std::size_t{0}}, {"median", trips.size() / 2}, {"max", trips.size() - 1}})
      m.value(trips[at], fmt::format("stat=\"{}\"", name));
  }
  m.gauge("trama_overlay_isolated", "1 while no peer answers on any path.", s.isolated ? 1 : 0);
  m.gauge("trama_overlay_protocol", "1 while this agent speaks with others on 6783.", why_not(s).empty() ? 1 : 0);
  m.counter("trama_peer_callers_refused_total", "Connections to 6783/tcp that were closed at once.", s.refused);
  m.counter("trama_peer_handshakes_failed_total", "Conversations that were not agreed on.", s.handshakes_failed);
  m.counter("trama_peer_datagrams_total", "Datagrams that came to 6783/udp.", s.datagrams);
  m.counter("trama_peer_datagrams_refused_total", "Those that were not genuine.", s.forged);
  return std::move(m).text();
}

json::object overlay_brief(const MeshStatus& s) {
  auto sum = summarize(s);
  json::object out;
  if (auto off = why_not(s); !off.empty()) out["protocolOff"] = off;
  out["isolated"] = s.isolated;
  out["peers"] = sum.peers;
  out["up"] = sum.up;
  out["pending"] = sum.pending;
  out["established"] = sum.established;
  json::array faults;
  for (const auto& p : s.peers) {
    const auto& path = p.path(PathKind::overlay);
    if (path.state != PathState::down && path.state != PathState::degraded) continue;
    json::object fault;
    fault["peer"] = p.node;
    fault["address"] = p.underlay.to_string();
    fault["state"] = to_string(path.state);
    fault["reason"] = path.reason;
    faults.push_back(std::move(fault));
  }
  out["faults"] = std::move(faults);
  return out;
}

std::string overlay_ready(const MeshStatus& s, int& code) {
  auto sum = summarize(s);
  code = !s.isolated && sum.down == 0 && sum.pending == 0 && s.mtu > 0 ? 200 : 503;
  if (code == 200) return "ok\n";
  if (s.mtu == 0) return "the overlay does not stand yet\n";
  if (s.isolated) return "isolated: no peer answers on any path\n";
  return fmt::format("{} peers down, {} not known yet\n", sum.down, sum.pending);
}

}  // namespace trama::agent
