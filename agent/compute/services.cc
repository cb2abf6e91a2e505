// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/services.h"

#include <algorithm>
#include <map>

#include "overlay/model.h"

namespace trama::agent {
namespace {

using base::Ip;
using servicelb::Endpoint;
using servicelb::Protocol;

std::optional<Protocol> protocol_of(const std::string& text) {
  if (text.empty() || text == "TCP") return Protocol::tcp;
  if (text == "UDP") return Protocol::udp;
  if (text == "SCTP") return Protocol::sctp;
  return std::nullopt;
}

// "" for a missing text or a null.
std::string text_of(const json::object& o, std::string_view field) { return api::text_at(o, field); }

bool is_ours(const api::Object& service) {
  return !service.labels.contains("service.kubernetes.io/service-proxy-name") &&
         text_of(service.body, "spec.type") != "ExternalName" && text_of(service.body, "spec.clusterIP") != "None" &&
         !text_of(service.body, "spec.clusterIP").empty();
}

// One usable endpoint of one named port, before it is decided whether terminating ones are needed.
struct Candidate {
  Endpoint endpoint;
  bool ready = false;  // otherwise: serving while terminating
};
using PortName = std::pair<std::string, Protocol>;
using Candidates = std::map<PortName, std::map<base::IpPort, Candidate>>;

class Collector {
 public:
  Collector(const ServiceKey& key, const ServiceContext& context, std::vector<std::string>& refusals)
      : key_(key), context_(context), refusals_(refusals) {}

  void add(const api::Object& slice) {
    auto type = text_of(slice.body, "addressType");
    if ((type != "IPv4" && type != "IPv6") || slice.labels.contains("service.kubernetes.io/headless")) return;
    for (const auto& item : api::array_at(slice.body, "endpoints"))
      if (item.is_object()) add(slice, item.get_object());
  }
  const Candidates& found() const { return found_; }

 private:
  void add(const api::Object& slice, const json::object& item) {
    const auto& addresses = api::array_at(item, "addresses");
    if (addresses.empty() || !addresses.front().is_string()) return;
    bool terminating = api::bool_at(item, "conditions.terminating");
    bool ready = api::bool_at(item, "conditions.ready", true);
    bool serving = api::bool_at(item, "conditions.serving", ready);
    if (!ready && !(serving && terminating)) return;
    std::string text(addresses.front().get_string());
    auto ip = Ip::parse(text);
    if (!ip) return refuse(slice, text, "not an IP address");
    auto why = unacceptable(*ip);
    for (const auto& cidr : context_.service_cidrs)
      if (why.empty() && cidr.contains(*ip)) why = "lies in the Service range " + cidr.to_string();
    if (!why.empty()) return refuse(slice, text, why);
    std::string pod;
    if (text_of(item, "targetRef.kind") == "Pod")
      pod = text_of(item, "targetRef.namespace") + "/" + text_of(item, "targetRef.name");
    for (const auto& value : api::array_at(slice.body, "ports")) {
      if (!value.is_object()) continue;
      const auto& port = value.get_object();
      auto number = api::int_at(port, "port");
      auto protocol = protocol_of(text_of(port, "protocol"));
      if (number < 1 || number > 65535 || !protocol) continue;
      if ((number == overlay::kDataPort || number == overlay::kControlPort) && context_.node_addresses.contains(*ip)) {
        refuse(slice, fmt::format("{}:{}", text, number), "port of the overlay on a node");
        continue;
      }
      Endpoint endpoint{*ip, static_cast<std::uint16_t>(number), pod};
      auto& slot = found_[{text_of(port, "name"), *protocol}][{*ip, endpoint.port}];
      // The same endpoint may stand in two slices while it moves; the better one counts.
      if (slot.endpoint.port != 0 && slot.ready) continue;
      slot = Candidate{endpoint, ready};
    }
  }
  void refuse(const api::Object& slice, const std::string& address, const std::string& why) {
    refusals_.push_back(
        fmt::format("{}: endpoint {} of {} refused: {}", key_.to_string(), address, slice.key.name, why));
  }

  const ServiceKey& key_;
  const ServiceContext& context_;
  std::vector<std::string>& refusals_;
  Candidates found_;
};

// Sorted by address and port because the map is.
std::vector<Endpoint> choose(const std::map<base::IpPort, Candidate>& candidates) {
  bool any_ready[2] = {false, false};
  auto family = [](const Candidate& c) { return c.endpoint.ip.is_v4() ? 0 : 1; };
  for (const auto& [where, c] : candidates) any_ready[family(c)] = any_ready[family(c)] || c.ready;
  std::vector<Endpoint> out;
  for (const auto& [where, c] : candidates)
    if (c.ready || !any_ready[family(c)]) out.push_back(c.endpoint);
  return out;
}

}  // namespace

std::string unacceptable(const Ip& ip) {
  if (ip.is_unspecified()) return "unspecified address";
  if (ip.is_loopback()) return "loopback address";
  if (ip.is_link_local()) return "link-local address";
  if (ip.is_multicast()) return "multicast address";
  if (ip == Ip::v4(255, 255, 255, 255)) return "broadcast address";
  if (ip.is_v4() && ip.bytes()[0] == std::byte{0}) return "address of this host on this network";
  if (!ip.is_v4()) {
    auto raw = ip.bytes();
    bool mapped = std::all_of(raw.begin(), raw.begin() + 10, [](std::byte b) { return b == std::byte{0}; }) &&
                  raw[10] == std::byte{0xff} && raw[11] == std::byte{0xff};
    if (mapped) return "IPv4-mapped IPv6 address";
  }
  return "";
}

ServiceOutcome compute_service(const ServiceKey& key, const api::Object* service,
                               const std::vector<api::ObjectPtr>& slices, const ServiceContext& context) {
  ServiceOutcome out;
  if (!service || !is_ours(*service)) return out;
  servicelb::Service result;
  result.key = key;
  std::vector<std::string> ips;
  for (const auto& value : api::array_at(service->body, "spec.clusterIPs"))
    if (value.is_string()) ips.emplace_back(value.get_string());
  if (ips.empty()) ips.push_back(text_of(service->body, "spec.clusterIP"));
  for (const auto& text : ips) {
    auto ip = Ip::parse(text);
    auto why = ip ? unacceptable(*ip) : "not an IP address";
    if (why.empty() && context.node_addresses.contains(*ip)) why = "address of a node";
    if (!why.empty())
      out.refusals.push_back(fmt::format("{}: cluster IP {} refused: {}", key.to_string(), text, why));
    else
      result.cluster_ips.push_back(*ip);
  }
  if (result.cluster_ips.empty()) return out;
  std::sort(result.cluster_ips.begin(), result.cluster_ips.end());

  Collector collector(key, context, out.refusals);
  for (const auto& slice : slices) collector.add(*slice);
  for (const auto& value : api::array_at(service->body, "spec.ports")) {
    if (!value.is_object()) continue;
    const auto& item = value.get_object();
    auto protocol = protocol_of(text_of(item, "protocol"));
    auto number = api::int_at(item, "port");
    if (!protocol || number < 1 || number > 65535) {
      out.refusals.push_back(
          fmt::format("{}: port {} {} refused: no such port", key.to_string(), text_of(item, "protocol"), number));
      continue;
    }
    servicelb::ServicePort port;
    port.name = text_of(item, "name");
    port.protocol = *protocol;
    port.port = static_cast<std::uint16_t>(number);
    auto node_port = api::int_at(item, "nodePort");
    if (node_port >= 1 && node_port <= 65535) port.node_port = static_cast<std::uint16_t>(node_port);
    auto found = collector.found().find({port.name, *protocol});
    if (found != collector.found().end()) port.endpoints = choose(found->second);
    result.ports.push_back(std::move(port));
  }
  std::sort(out.refusals.begin(), out.refusals.end());
  out.refusals.erase(std::unique(out.refusals.begin(), out.refusals.end()), out.refusals.end());
  out.service = std::move(result);
  return out;
}

}  // namespace trama::agent
