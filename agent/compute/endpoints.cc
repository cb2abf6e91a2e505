// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/endpoints.h"

#include <algorithm>
#include <tuple>

#include "overlay/model.h"

namespace trama::agent {
namespace {

namespace json = boost::json;
using api::text_at;
using base::Ip;
using servicelb::Endpoint;

std::vector<std::string> names_at(const json::object& item, std::string_view path) {
  std::vector<std::string> out;
  for (const auto& value : api::array_at(item, path))
    if (value.is_object())
      if (auto name = text_at(value.get_object(), "name"); !name.empty()) out.push_back(std::move(name));
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool better(const Endpoint& a, const Endpoint& b) {
  auto rank = [](const Endpoint& e) { return std::make_tuple(e.ready, !e.terminating, e.serving); };
  return rank(a) > rank(b);
}

class Collector {
 public:
  Collector(const servicelb::ServiceKey& key, const EndpointLimits& limits, std::vector<std::string>& refusals)
      : key_(key), limits_(limits), refusals_(refusals) {}

  void add(const api::Object& slice) {
    auto type = text_at(slice.body, "addressType");
    if ((type != "IPv4" && type != "IPv6") || slice.labels.contains("service.kubernetes.io/headless")) return;
    for (const auto& item : api::array_at(slice.body, "endpoints"))
      if (item.is_object()) add(slice, item.get_object());
  }
  EndpointsByPort take() && { return std::move(found_); }

 private:
  void add(const api::Object& slice, const json::object& item) {
    const auto& addresses = api::array_at(item, "addresses");
    if (addresses.empty() || !addresses.front().is_string()) return;
    std::string text(addresses.front().get_string());
    auto ip = Ip::parse(text);
    if (!ip) return refuse(slice, text, "not an IP address");
    auto why = unacceptable(*ip);
    for (const auto& cidr : limits_.service_cidrs)
      if (why.empty() && cidr.contains(*ip)) why = "lies in the Service range " + cidr.to_string();
    if (!why.empty()) return refuse(slice, text, why);
    Endpoint endpoint;
    endpoint.ip = *ip;
    if (text_at(item, "targetRef.kind") == "Pod")
      endpoint.pod = text_at(item, "targetRef.namespace") + "/" + text_at(item, "targetRef.name");
    endpoint.node = text_at(item, "nodeName");
    // What is not said: ready, serving as ready says, not terminating (discovery/v1).
    endpoint.ready = api::bool_at(item, "conditions.ready", true);
    endpoint.serving = api::bool_at(item, "conditions.serving", endpoint.ready);
    endpoint.terminating = api::bool_at(item, "conditions.terminating");
    endpoint.zones = names_at(item, "hints.forZones");
    endpoint.nodes = names_at(item, "hints.forNodes");
    for (const auto& value : api::array_at(slice.body, "ports"))
      if (value.is_object()) add(slice, value.get_object(), text, endpoint);
  }
  void add(const api::Object& slice, const json::object& port, const std::string& text, Endpoint endpoint) {
    auto number = api::int_at(port, "port");
    auto protocol = protocol_of(text_at(port, "protocol"));
    if (number < 1 || number > 65535 || !protocol) return;
    if ((number == overlay::kDataPort || number == overlay::kControlPort) &&
        limits_.node_addresses.contains(endpoint.ip))
      return refuse(slice, fmt::format("{}:{}", text, number), "port of the overlay on a node");
    endpoint.port = static_cast<std::uint16_t>(number);
    auto& endpoints = found_[{text_at(port, "name"), *protocol}];
    auto [known, fresh] = endpoints.try_emplace({endpoint.ip, endpoint.port}, endpoint);
    // The same endpoint may stand in two slices while it moves.
    if (!fresh && better(endpoint, known->second)) known->second = std::move(endpoint);
  }
  void refuse(const api::Object& slice, const std::string& address, const std::string& why) {
    refusals_.push_back(
        fmt::format("{}: endpoint {} of {} refused: {}", key_.to_string(), address, slice.key.name, why));
  }

  const servicelb::ServiceKey& key_;
  const EndpointLimits& limits_;
  std::vector<std::string>& refusals_;
  EndpointsByPort found_;
};

}  // namespace

std::optional<servicelb::Protocol> protocol_of(const std::string& text) {
  if (text.empty() || text == "TCP") return servicelb::Protocol::tcp;
  if (text == "UDP") return servicelb::Protocol::udp;
  if (text == "SCTP") return servicelb::Protocol::sctp;
  return std::nullopt;
}

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

EndpointsByPort collect_endpoints(const servicelb::ServiceKey& key, const std::vector<api::ObjectPtr>& slices,
                                  const EndpointLimits& limits, std::vector<std::string>& refusals) {
  Collector collector(key, limits, refusals);
  for (const auto& slice : slices) collector.add(*slice);
  return std::move(collector).take();
}

}  // namespace trama::agent
