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

// Where it is, if not where it announces to be, or where it sees us.
std::string place_of(const PeerStatus& p) {
  std::string out;
  if (!p.found_at.empty())
    out = fmt::format("{} {}", p.translated ? "behind NAT, seen as" : "moved, now at", p.found_at);
  if (!p.sees_us.empty()) out += fmt::format("{}sees us behind NAT as {}", out.empty() ? "" : ", ", p.sees_us);
  return out;
}

std::string name_of(const WayStatus& w) { return way_text(w.here, w.there); }

// Over which of several uplinks it is reached; "" = there is one alone.
std::string way_of(const PeerStatus& p) {
  for (const auto& w : p.ways)
    if (w.used) return fmt::format("over {}{}{}", name_of(w), p.way_why.empty() ? "" : ", because ", p.way_why);
  return "";
}

std::string why_not(const MeshStatus& s) {
  if (!s.protocol_off.empty()) return s.protocol_off;
  return s.listening;
}

std::string table(const std::vector<std::vector<std::string>>& rows) { return base::columns(rows, 2); }

std::vector<std::pair<const char*, std::uint64_t>> dropped_by(const TunnelTraffic& t) {
  return {{"no_peer", t.no_peer},
          {"no_session", t.no_session},
          {"not_sent", t.not_sent},
          {"forged", t.forged},
          {"replayed", t.replayed},
          {"malformed", t.malformed},
          {"wrong_source", t.wrong_source},
          {"not_delivered", t.not_delivered},
          {"relay_refused", t.relay_refused},
          {"relay_limited", t.relay_limited}};
}

std::string with_via(const PeerStatus& p, const std::string& reason) {
  if (p.via.empty()) return reason;
  return fmt::format("via {}{}{}", p.via, reason.empty() ? "" : ": ", reason);
}

json::object path_page(const PathStatus& p) {
  json::object out;
  out["state"] = to_string(p.state);
  if (!p.reason.empty()) out["reason"] = p.reason;
  out["forSeconds"] = p.age.count() / 1000;
  out["lossPercent"] = p.loss;
  out["lossInPercent"] = p.loss_in;
  out["lossOutPercent"] = p.loss_out;
  if (p.mtu) out["mtu"] = p.mtu;
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
  line("Encryption", s.encrypt ? "required" : "off");
  if (s.encrypt)
    line("WireGuard", s.wireguard_mtu == 0
                          ? (s.wireguard_off.empty() ? "does not stand yet" : "not used: " + s.wireguard_off)
                          : fmt::format("{} of {} peers, on UDP {}, key {}", sum.wireguarded, sum.peers,
                                        s.wireguard_port, s.wireguard_key));
  if (s.tunnel_mtu > 0 || s.encrypt)
    line("Tunnel", s.tunnel_off.empty() ? fmt::format("{} of {} peers, {} packets out, {} in", sum.tunnelled, sum.peers,
                                                      s.tunnel.sent_packets, s.tunnel.received_packets)
                                        : "carries nothing: " + s.tunnel_off);
  if (s.tunnel_mtu > 0)
    line("Relay", s.relay_off.empty()
                      ? fmt::format("{} peers by a third node; {} packets and {} conversations passed on for others",
                                    sum.relayed, s.tunnel.relayed_packets, s.splices)
                      : "off: " + s.relay_off);
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
    const auto& used = p.used();
    bool tunnel = is_sealed(p.use);
    auto mtu = used.mtu;
    std::string detail = fmt::format("{}{}={} {}", is_encrypted(p.use) ? "encrypted " : "", to_string(path_of(p.use)),
                                     to_string(used.state), p.node);
    if (p.use == Use::relay) detail += fmt::format(" via {}", p.via);
    if (mtu > 0 && works(used.state)) detail += fmt::format(" mtu={}", mtu);
    if (works(used.state)) detail += fmt::format(" rtt={} loss={}%", round_trip(used.round_trip), used.loss);
    if (tunnel) detail += fmt::format(" ({})", p.why);
    if (auto way = way_of(p); !way.empty()) detail += " (" + way + ")";
    if (auto place = place_of(p); !place.empty()) detail += " (" + place + ")";
    if (p.connection != Connection::established && !p.trouble.empty()) detail += " error: " + p.trouble;
    bool inbound = p.connection == Connection::established && !p.outbound;
    rows.push_back({inbound ? "<-" : "->", port_of(p, s.port), to_string(p.connection), std::move(detail)});
  }
  return table(rows);
}

std::string overlay_peers(const MeshStatus& s) {
  std::vector<std::vector<std::string>> rows{{"NODE", "ADDRESS", "OVERLAY", "CONNECTION", "KNOWN FROM", "PLACE"}};
  rows.push_back({s.node, s.underlay.to_string(), "", "ourselves", "", ""});
  for (const auto& p : s.peers)
    rows.push_back({p.node, p.underlay.to_string(), p.overlay.empty() ? "-" : p.overlay, to_string(p.connection),
                    p.hearsay ? "other nodes" : "controller", place_of(p)});
  return table(rows);
}

std::string overlay_paths(const MeshStatus& s) {
  std::vector<std::vector<std::string>> rows{
      {"PEER", "PATH", "STATE", "FOR", "RTT", "MTU", "LOSS", "OUT", "IN", "DOWNS", "USED", "REASON"}};
  for (const auto& p : s.peers) {
    for (const auto& w : p.ways)
      rows.push_back({p.node, "uplink", to_string(w.state), age(w.age), round_trip(w.round_trip), "-",
                      fmt::format("{}%", w.loss), "-", "-", std::to_string(w.downs), w.used ? "yes" : "",
                      name_of(w) + (w.used && !p.way_why.empty() ? ", because " + p.way_why : "")});
    for (auto kind : kAllPaths) {
      const auto& path = p.path(kind);
      if (kind == PathKind::tunnel && s.tunnel_mtu == 0) continue;
      if (kind == PathKind::relay && p.via.empty() && p.use != Use::relay) continue;  // not looked at
      if (kind == PathKind::direct && s.direct_mtu == 0) continue;
      if (kind == PathKind::wireguard && s.wireguard_mtu == 0) continue;
      bool used = p.use != Use::undecided && &path == &p.used();
      auto percent = [](unsigned v) { return fmt::format("{}%", v); };
      rows.push_back({p.node, to_string(kind), to_string(path.state), age(path.age), round_trip(path.round_trip),
                      path.mtu ? std::to_string(path.mtu) : "-", percent(path.loss), percent(path.loss_out),
                      percent(path.loss_in), std::to_string(path.downs), used ? "yes" : "",
                      // Why the others do not carry stands in their rows.
                      kind == PathKind::relay       ? with_via(p, path.reason)
                      : path.reason.empty() && used ? p.why
                                                    : path.reason});
    }
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
  out["encryption"] = s.encrypt ? "required" : "off";
  json::object tunnel;
  if (!s.tunnel_off.empty()) tunnel["off"] = s.tunnel_off;
  tunnel["mtu"] = s.tunnel_mtu;
  const auto& t = s.tunnel;
  for (auto [name, n] : {std::pair{"sentPackets", t.sent_packets},
                         {"sentBytes", t.sent_bytes},
                         {"receivedPackets", t.received_packets},
                         {"receivedBytes", t.received_bytes}})
    tunnel[name] = n;
  json::object dropped;
  for (auto [name, n] : dropped_by(t)) dropped[name] = n;
  tunnel["dropped"] = std::move(dropped);
  json::object wireguard;
  if (s.wireguard_mtu > 0) {
    wireguard["mtu"] = s.wireguard_mtu;
    wireguard["port"] = s.wireguard_port;
    wireguard["publicKey"] = s.wireguard_key;
  }
  if (!s.wireguard_off.empty()) wireguard["off"] = s.wireguard_off;
  out["wireguard"] = std::move(wireguard);
  json::object relay;
  if (!s.relay_off.empty()) relay["off"] = s.relay_off;
  relay["passedOnPackets"] = t.relayed_packets;
  relay["passedOnBytes"] = t.relayed_bytes;
  relay["passedOnConversations"] = s.splices;
  relay["refusedConversations"] = s.splices_refused;
  out["relay"] = std::move(relay);
  out["tunnel"] = std::move(tunnel);
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
    if (!p.found_at.empty()) item["foundAt"] = p.found_at;
    item["behindNat"] = p.translated;
    if (!p.sees_us.empty()) item["seesUsAt"] = p.sees_us;
    item["use"] = to_string(p.use);
    if (!p.why.empty()) item["why"] = p.why;
    item["mustEncrypt"] = p.must_encrypt;
    if (!p.cipher.empty()) item["cipher"] = p.cipher;
    if (p.wireguard) {
      json::object end;
      end["publicKey"] = p.wireguard->key.to_string();
      end["port"] = p.wireguard->port;
      item["wireguard"] = std::move(end);
    }
    if (!p.via.empty()) item["via"] = p.via;
    item["switches"] = p.switches;
    if (!p.ways.empty()) {
      json::array ways;
      for (const auto& w : p.ways) {
        json::object way;
        way["from"] = w.here.to_string();
        way["to"] = w.there.to_string();
        way["used"] = w.used;
        way["state"] = to_string(w.state);
        way["forSeconds"] = w.age.count() / 1000;
        way["lossPercent"] = w.loss;
        if (w.round_trip.count() > 0) way["roundTripMs"] = static_cast<double>(w.round_trip.count()) / 1000;
        way["downs"] = w.downs;
        ways.push_back(std::move(way));
      }
      item["uplinks"] = std::move(ways);
      if (!p.way_why.empty()) item["uplinkWhy"] = p.way_why;
      item["uplinkSwitches"] = p.way_switches;
    }
    json::object paths;
    for (auto kind : kAllPaths) paths[to_string(kind)] = path_page(p.path(kind));
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
  for (auto kind : kAllPaths)
    for (auto state : kStates)
      m.value(std::count_if(s.peers.begin(), s.peers.end(), [&](auto& p) { return p.path(kind).state == state; }),
              fmt::format("path=\"{}\",state=\"{}\"", to_string(kind), to_string(state)));
  m.family("trama_overlay_path_downs", "gauge", "How often paths to the present peers went down.");
  std::vector<double> trips;
  for (auto kind : kAllPaths) {
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
  m.family("trama_overlay_peers", "gauge", "Peers, by the path that packets to them take.");
  for (auto use : {Use::undecided, Use::vxlan, Use::tunnel, Use::relay, Use::direct, Use::wireguard})
    m.value(std::count_if(s.peers.begin(), s.peers.end(), [&](auto& p) { return p.use == use; }),
            fmt::format("path=\"{}\"", to_string(use)));
  m.gauge("trama_overlay_wireguard", "1 while this node offers WireGuard to its peers.", s.wireguard_mtu > 0 ? 1 : 0);
  m.gauge("trama_overlay_encryption_required", "1 while nothing goes between nodes in the clear.", s.encrypt ? 1 : 0);
  m.counter("trama_tunnel_sent_packets_total", "Packets that left by the tunnel.", s.tunnel.sent_packets);
  m.counter("trama_tunnel_sent_bytes_total", "Bytes of their datagrams.", s.tunnel.sent_bytes);
  m.counter("trama_tunnel_received_packets_total", "Packets that came by the tunnel.", s.tunnel.received_packets);
  m.counter("trama_tunnel_received_bytes_total", "Their bytes.", s.tunnel.received_bytes);
  m.family("trama_tunnel_dropped_total", "counter", "What the tunnel did not carry, by reason.");
  for (auto [reason, n] : dropped_by(s.tunnel)) m.value(n, fmt::format("reason=\"{}\"", reason));
  m.counter("trama_relay_packets_total", "Packets passed on for other nodes.", s.tunnel.relayed_packets);
  m.counter("trama_relay_bytes_total", "Their bytes.", s.tunnel.relayed_bytes);
  m.counter("trama_relay_conversations_total", "Conversations passed on for other nodes.", s.splices);
  m.counter("trama_relay_conversations_refused_total", "Those that were not.", s.splices_refused);
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
  if (s.encrypt) {
    out["wireguarded"] = sum.wireguarded;
    if (!s.wireguard_off.empty()) out["wireguardOff"] = s.wireguard_off;
  }
  json::array faults;
  for (const auto& p : s.peers) {
    // In the clear and not well, circumvented or not; or, where nothing may be, WireGuard or the tunnel.
    auto kind = !p.must_encrypt ? PathKind::overlay : p.wireguard ? PathKind::wireguard : PathKind::tunnel;
    const auto& path = p.path(kind);
    if (path.state != PathState::down && path.state != PathState::degraded) continue;
    json::object fault;
    fault["path"] = to_string(kind);
    fault["circumvented"] = &path != &p.used() && works(p.used().state);
    if (p.use == Use::relay) fault["via"] = p.via;
    if (kind == PathKind::wireguard) fault["port"] = p.wireguard->port;
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
