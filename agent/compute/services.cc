// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/services.h"

#include <algorithm>

#include "control/api/service_options.h"
#include "overlay/model.h"

namespace trama::agent {
namespace {

using api::text_at;
using base::Ip;
using servicelb::Algorithm;
using servicelb::Policy;

constexpr std::chrono::seconds kUsualAffinity{10'800};
constexpr std::int64_t kLongestAffinity = 86'400;
constexpr const char* kTriggerTime = "endpoints.kubernetes.io/last-change-trigger-time";

bool is_ours(const api::Object& service) {
  return !service.labels.contains("service.kubernetes.io/service-proxy-name") &&
         !service.labels.contains("service.kubernetes.io/headless") &&
         text_at(service.body, "spec.type") != "ExternalName" && text_at(service.body, "spec.clusterIP") != "None" &&
         !text_at(service.body, "spec.clusterIP").empty();
}

Algorithm algorithm_of(api::Balancing wanted) {
  switch (wanted) {
    case api::Balancing::round_robin: return Algorithm::round_robin;
    case api::Balancing::source_hash: return Algorithm::source_hash;
    case api::Balancing::maglev: return Algorithm::maglev;
    case api::Balancing::random: break;
  }
  return Algorithm::random;
}

Policy policy_at(const json::object& body, std::string_view field) {
  return text_at(body, field) == "Local" ? Policy::local : Policy::cluster;
}

std::vector<std::string> texts_at(const json::object& body, std::string_view field) {
  std::vector<std::string> out;
  for (const auto& value : api::array_at(body, field))
    if (value.is_string()) out.emplace_back(value.get_string());
  return out;
}

class Translation {
 public:
  Translation(const ServiceKey& key, const json::object& body, const ServiceContext& context, ServiceOutcome& out)
      : body_(body), context_(context), out_(out) {
    result_.key = key;
  }

  bool cluster_ips() {
    auto ips = texts_at(body_, "spec.clusterIPs");
    if (ips.empty()) ips.push_back(text_at(body_, "spec.clusterIP"));
    for (const auto& text : ips) {
      auto ip = Ip::parse(text);
      auto why = ip ? unacceptable(*ip) : "not an IP address";
      if (why.empty() && context_.node_addresses.contains(*ip)) why = "address of a node";
      if (!why.empty())
        refuse(fmt::format("cluster IP {}", text), why);
      else
        result_.cluster_ips.push_back(*ip);
    }
    std::sort(result_.cluster_ips.begin(), result_.cluster_ips.end());
    return !result_.cluster_ips.empty();
  }

  void ports(EndpointsByPort found, const std::map<std::string, std::uint32_t, std::less<>>& weights) {
    for (const auto& value : api::array_at(body_, "spec.ports")) {
      if (!value.is_object()) continue;
      const auto& item = value.get_object();
      auto protocol = protocol_of(text_at(item, "protocol"));
      auto number = api::int_at(item, "port");
      if (!protocol || number < 1 || number > 65535) {
        refuse(fmt::format("port {} {}", text_at(item, "protocol"), number), "no such port");
        continue;
      }
      servicelb::ServicePort port;
      port.name = text_at(item, "name");
      port.protocol = *protocol;
      port.port = static_cast<std::uint16_t>(number);
      auto node_port = api::int_at(item, "nodePort");
      if (node_port >= 1 && node_port <= 65535) port.node_port = static_cast<std::uint16_t>(node_port);
      if (auto it = found.find({port.name, *protocol}); it != found.end()) {
        port.endpoints.reserve(it->second.size());
        for (auto& [where, endpoint] : it->second) {
          endpoint.weight = weight_of(endpoint, weights);
          port.endpoints.push_back(endpoint);  // the same ones may belong to another port of the Service
        }
      }
      result_.ports.push_back(std::move(port));
    }
  }

  // After ports(): an address must not take the overlay's.
  void external_ips() {
    auto claimed = texts_at(body_, "spec.externalIPs");
    if (!claimed.empty() && !context_.allow_external_ips) {
      refuse(fmt::format("external IP {}", fmt::join(claimed, ", ")),
             "external IPs are not allowed on this node (--allow-external-ips)");
      claimed.clear();
    }
    for (const auto& text : claimed) external_ip("external IP", text, false);
    if (text_at(body_, "spec.type") == "LoadBalancer" && source_ranges()) {
      for (const auto& value : api::array_at(body_, "status.loadBalancer.ingress")) {
        if (!value.is_object()) continue;
        auto text = text_at(value.get_object(), "ip");
        if (!text.empty() && text_at(value.get_object(), "ipMode") != "Proxy")
          external_ip("load balancer address", text, true);
      }
    }
    auto& ips = result_.external_ips;
    std::sort(ips.begin(), ips.end(), [](const auto& a, const auto& b) {
      return a.ip != b.ip ? a.ip < b.ip : a.load_balancer > b.load_balancer;
    });
    // Both at once: the source ranges hold.
    ips.erase(std::unique(ips.begin(), ips.end(), [](const auto& a, const auto& b) { return a.ip == b.ip; }),
              ips.end());
  }

  void policies() {
    result_.internal = policy_at(body_, "spec.internalTrafficPolicy");
    result_.external = policy_at(body_, "spec.externalTrafficPolicy");
    if (text_at(body_, "spec.sessionAffinity") != "ClientIP") return;
    result_.affinity = kUsualAffinity;
    auto* given = api::at(body_, "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
    if (!given || given->is_null()) return;
    auto seconds = api::int_at(body_, "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
    if (seconds < 1 || seconds > kLongestAffinity)
      refuse(fmt::format("session affinity timeout {}", json::serialize(*given)),
             fmt::format("must be 1 to {} seconds; {} are used", kLongestAffinity, kUsualAffinity.count()));
    else
      result_.affinity = std::chrono::seconds(seconds);
  }

  api::ServiceOptions options() {
    auto read = api::read_service_options(api::object_at(body_, "metadata.annotations"));
    for (const auto& fault : read.faults)
      refuse(fmt::format("annotation {}: \"{}\"", fault.annotation, fault.value), fault.why);
    result_.algorithm = algorithm_of(read.options.algorithm);
    result_.slow_start = read.options.slow_start;
    result_.drain = read.options.drain;
    result_.counters = read.options.counters;
    return std::move(read.options);
  }

  // What others than servicelb want to know.
  void facts() {
    bool outside = text_at(body_, "spec.type") == "LoadBalancer" && result_.external == Policy::local;
    auto port = api::int_at(body_, "spec.healthCheckNodePort");
    if (outside && port >= 1 && port <= 65535) out_.health_check_port = static_cast<std::uint16_t>(port);
    std::set<Ip> here;
    for (const auto& p : result_.ports) {
      bool local = false;
      for (const auto& e : p.endpoints) {
        if (e.node != context_.node_name) continue;
        if (e.ready && !e.terminating) here.insert(e.ip);
        local = local || e.ready || (e.serving && e.terminating);
      }
      if (local || p.endpoints.empty()) continue;
      if (result_.internal == Policy::local) ++out_.no_local.internal;
      if (result_.external == Policy::local && (p.node_port != 0 || !result_.external_ips.empty()))
        ++out_.no_local.external;
    }
    out_.local_endpoints = here.size();
  }

  servicelb::Service take() && { return std::move(result_); }

 private:
  void refuse(const std::string& what, const std::string& why) {
    out_.refusals.push_back(fmt::format("{}: {} refused: {}", result_.key.to_string(), what, why));
  }

  void external_ip(const char* kind, const std::string& text, bool load_balancer) {
    auto ip = Ip::parse(text);
    auto why = ip ? unacceptable(*ip) : "not an IP address";
    for (const auto& cidr : context_.service_cidrs)
      if (why.empty() && cidr.contains(*ip)) why = "lies in the Service range " + cidr.to_string();
    for (const auto& port : result_.ports)
      if (why.empty() && context_.node_addresses.contains(*ip) &&
          (port.port == overlay::kDataPort || port.port == overlay::kControlPort))
        why = fmt::format("port {} of a node is the overlay's", port.port);
    if (!why.empty()) return refuse(fmt::format("{} {}", kind, text), why);
    result_.external_ips.push_back({*ip, load_balancer});
  }

  // False: there is a list, and nothing of it could be read.
  bool source_ranges() {
    auto texts = texts_at(body_, "spec.loadBalancerSourceRanges");
    for (const auto& text : texts) {
      if (auto cidr = api::parse_source_range(text))
        result_.source_ranges.push_back(*cidr);
      else
        refuse(fmt::format("source range \"{}\"", text), "must be a prefix such as 10.9.8.0/24 or 2001:db8::/64");
    }
    auto& ranges = result_.source_ranges;
    std::sort(ranges.begin(), ranges.end());
    ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
    if (texts.empty() || !ranges.empty()) return true;
    refuse("every load balancer address", "no source range could be read, so nobody may use them");
    return false;
  }

  static std::uint32_t weight_of(const servicelb::Endpoint& endpoint,
                                 const std::map<std::string, std::uint32_t, std::less<>>& weights) {
    if (weights.empty()) return 1;
    if (auto it = weights.find(endpoint.ip.to_string()); it != weights.end()) return it->second;
    auto slash = endpoint.pod.find('/');
    if (slash == std::string::npos) return 1;
    auto it = weights.find(std::string_view(endpoint.pod).substr(slash + 1));
    return it != weights.end() ? it->second : 1;
  }

  const json::object& body_;
  const ServiceContext& context_;
  ServiceOutcome& out_;
  servicelb::Service result_;
};

std::optional<base::Timestamp> newest_trigger(const std::vector<api::ObjectPtr>& slices) {
  std::optional<base::Timestamp> newest;
  for (const auto& slice : slices) {
    const auto& annotations = api::object_at(slice->body, "metadata.annotations");
    auto* value = annotations.if_contains(kTriggerTime);
    if (!value || !value->is_string()) continue;
    auto time = base::parse_timestamp(std::string_view(value->get_string()));
    if (time && (!newest || *newest < *time)) newest = *time;
  }
  return newest;
}

}  // namespace

std::vector<Ip> cluster_ips(const api::Object& service) {
  std::vector<Ip> out;
  for (const auto& value : api::array_at(service.body, "spec.clusterIPs"))
    if (value.is_string())
      if (auto ip = Ip::parse(std::string_view(value.get_string()))) out.push_back(*ip);
  if (out.empty())
    if (auto ip = Ip::parse(api::text_at(service.body, "spec.clusterIP"))) out.push_back(*ip);
  return out;
}

ServiceOutcome compute_service(const ServiceKey& key, const api::Object* service,
                               const std::vector<api::ObjectPtr>& slices, const ServiceContext& context) {
  ServiceOutcome out;
  if (!service || !is_ours(*service)) return out;
  Translation work(key, service->body, context, out);
  if (!work.cluster_ips()) return out;
  EndpointLimits limits{context.service_cidrs, context.node_addresses};
  auto found = collect_endpoints(key, slices, limits, out.refusals);
  auto options = work.options();
  work.ports(std::move(found), options.weights);
  work.external_ips();
  work.policies();
  work.facts();
  out.triggered = newest_trigger(slices);
  std::sort(out.refusals.begin(), out.refusals.end());
  out.refusals.erase(std::unique(out.refusals.begin(), out.refusals.end()), out.refusals.end());
  out.service = std::move(work).take();
  return out;
}

}  // namespace trama::agent
