// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/service_allocation.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "control/api/service_options.h"

namespace trama::control {

namespace json = api::json;
using api::Status;
using base::Family;
using base::Ip;
using Refusal = std::optional<Status>;

namespace {

// How many addresses of a prefix can be given out: not the network's, and for IPv4 not the broadcast address.
std::uint64_t usable(const base::Cidr& c) {
  unsigned bits = c.address().bits() - c.length();
  if (bits >= 48) return 1ULL << 48;
  std::uint64_t all = 1ULL << bits;
  std::uint64_t lost = c.family() == Family::v4 ? 2 : 1;
  return all > lost ? all - lost : 0;
}

std::uint64_t address_band(std::uint64_t size) {
  return std::min<std::uint64_t>(std::max<std::uint64_t>(16, size / 16), 256);
}
std::uint64_t port_band(std::uint64_t size) {
  return std::min<std::uint64_t>(std::max<std::uint64_t>(16, size / 32), 128);
}

std::string text_of(Family f) { return f == Family::v4 ? "IPv4" : "IPv6"; }

Refusal invalid(const api::Key& key, std::string field, std::string message) {
  api::Cause cause;
  cause.reason = "FieldValueInvalid";
  cause.field = field;
  cause.message = std::move(message);
  return Status::invalid(key, "Service", {cause});
}

std::vector<std::string> texts(const json::object& spec, std::string_view field) {
  std::vector<std::string> out;
  for (const auto& v : api::array_at(spec, field))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

void put_texts(json::object& spec, std::string_view field, const std::vector<std::string>& values) {
  if (values.empty()) {
    spec.erase(field);
    return;
  }
  json::array a;
  for (const auto& v : values) a.emplace_back(v);
  spec[field] = std::move(a);
}

std::string type_of(const json::object& spec) { return api::text_at(spec, "type", "ClusterIP"); }
bool wants_node_ports(const json::object& spec) {
  auto type = type_of(spec);
  if (type == "LoadBalancer") return api::bool_at(spec, "allocateLoadBalancerNodePorts", true);
  return type == "NodePort";
}
bool wants_health_port(const json::object& spec) {
  return type_of(spec) == "LoadBalancer" && api::text_at(spec, "externalTrafficPolicy") == "Local";
}
bool is_headless(const json::object& spec) {
  return api::text_at(spec, "clusterIP") == "None" || texts(spec, "clusterIPs") == std::vector<std::string>{"None"};
}

// Addresses and ports of a stored Service, as the pools count them.
std::vector<Ip> addresses_of(const json::object& spec) {
  auto all = texts(spec, "clusterIPs");
  if (all.empty()) all = {api::text_at(spec, "clusterIP")};
  std::vector<Ip> out;
  for (const auto& t : all)
    if (auto ip = Ip::parse(t)) out.push_back(*ip);
  return out;
}

std::vector<std::int64_t> node_ports_of(const json::object& spec) {
  std::vector<std::int64_t> out;
  for (const auto& v : api::array_at(spec, "ports"))
    if (const auto* p = v.if_object())
      if (auto n = api::int_at(*p, "nodePort"); n != 0) out.push_back(n);
  if (auto n = api::int_at(spec, "healthCheckNodePort"); n != 0) out.push_back(n);
  return out;
}

std::string port_guard(std::int64_t port) { return fmt::format("node port {}", port); }

api::Key key_of(const std::string& holder) {
  api::Key key;
  key.resource = "services";
  auto slash = holder.find('/');
  key.ns = holder.substr(0, slash);
  key.name = holder.substr(slash + 1);
  return key;
}

}  // namespace

ServiceAllocator::ServiceAllocator(ServiceRanges ranges)
    : port_first_(ranges.node_port_first),
      ports_(static_cast<std::uint64_t>(ranges.node_port_last - ranges.node_port_first + 1),
             port_band(static_cast<std::uint64_t>(ranges.node_port_last - ranges.node_port_first + 1))) {
  for (const auto& c : ranges.addresses) {
    std::set<std::uint64_t> kept{api::kDnsHost - 1};  // number 0 is the address behind the network's own
    ranges_.push_back({c, NumberPool(usable(c), address_band(usable(c)), std::move(kept))});
  }
}

ServiceAllocator::Range* ServiceAllocator::range_of(Family family) {
  for (auto& r : ranges_)
    if (r.cidr.family() == family) return &r;
  return nullptr;
}

// Number 0 is the first address after the network's own.
std::optional<std::uint64_t> ServiceAllocator::offset_in(const Range& range, const Ip& ip) const {
  if (!range.cidr.contains(ip)) return std::nullopt;
  std::uint64_t distance = 0;
  auto a = ip.bytes();
  auto b = range.cidr.address().bytes();
  for (std::size_t i = 0; i + 8 < ip.size(); ++i)
    if (a[i] != b[i]) return std::nullopt;
  for (std::size_t i = ip.size() > 8 ? ip.size() - 8 : 0; i < ip.size(); ++i)
    distance = (distance << 8) | (std::to_integer<std::uint64_t>(a[i]) ^ std::to_integer<std::uint64_t>(b[i]));
  if (distance == 0 || distance - 1 >= range.pool.size()) return std::nullopt;
  return distance - 1;
}

void ServiceAllocator::remember(const api::Object& service) {
  const auto& spec = api::object_at(service.body, "spec");
  auto holder = service.key.ns + "/" + service.key.name;
  for (const auto& ip : addresses_of(spec))
    if (auto* r = range_of(ip.family()))
      if (auto n = offset_in(*r, ip)) r->pool.remember(*n, holder);
  for (auto port : node_ports_of(spec))
    if (port >= port_first_) ports_.remember(static_cast<std::uint64_t>(port - port_first_), holder);
}

std::vector<Ip> ServiceAllocator::first_addresses() const {
  std::vector<Ip> out;
  for (const auto& r : ranges_) out.push_back(r.cidr.address().plus(1));
  return out;
}

Refusal ServiceAllocator::admit(store::Transaction& tx, const api::Key& key, json::object& service,
                                const api::Object* old) {
  auto& spec = api::make_object_at(service, "spec");
  const json::object* old_spec = old == nullptr ? nullptr : &api::object_at(old->body, "spec");
  if (type_of(spec) == "ExternalName") {
    if (!api::text_at(spec, "clusterIP").empty())
      return invalid(key, "spec.clusterIPs[0]",
                     fmt::format("Invalid value: \"{}\": may not be set for ExternalName services",
                                 api::text_at(spec, "clusterIP")));
    return std::nullopt;
  }
  // clusterIP and clusterIPs[0] are two spellings of one field.
  auto first = api::text_at(spec, "clusterIP");
  auto all = texts(spec, "clusterIPs");
  if (first.empty() && !all.empty()) spec["clusterIP"] = all[0];
  if (!first.empty() && all.empty()) put_texts(spec, "clusterIPs", {first});
  if (!first.empty() && !all.empty() && first != all[0])
    return invalid(key, "spec.clusterIPs[0]",
                   fmt::format("Invalid value: \"{}\": first value must match `clusterIP`", all[0]));
  if (old_spec != nullptr && type_of(*old_spec) != "ExternalName") {
    auto was = api::text_at(*old_spec, "clusterIP");
    if (!was.empty() && was != api::text_at(spec, "clusterIP"))
      return invalid(key, "spec.clusterIPs[0]",
                     fmt::format("Invalid value: [\"{}\"]: may not change once set", api::text_at(spec, "clusterIP")));
  }
  if (auto no = choose_families(key, spec, old_spec)) return no;
  if (auto no = choose_addresses(tx, key, spec, old_spec)) return no;
  return choose_ports(tx, key, spec);
}

Refusal ServiceAllocator::choose_families(const api::Key& key, json::object& spec, const json::object* old) {
  auto policy = api::text_at(spec, "ipFamilyPolicy");
  std::vector<Family> wanted;
  for (const auto& t : texts(spec, "ipFamilies")) wanted.push_back(t == "IPv6" ? Family::v6 : Family::v4);
  auto add = [&wanted](Family f) {
    if (std::find(wanted.begin(), wanted.end(), f) == wanted.end()) wanted.push_back(f);
  };
  for (const auto& ip : addresses_of(spec)) add(ip.family());
  if (wanted.empty() && old != nullptr && type_of(*old) != "ExternalName")
    for (const auto& t : texts(*old, "ipFamilies")) add(t == "IPv6" ? Family::v6 : Family::v4);
  if (policy.empty()) policy = wanted.size() > 1 ? "RequireDualStack" : "SingleStack";
  bool headless_without_selector = is_headless(spec) && api::object_at(spec, "selector").empty();
  if (headless_without_selector && wanted.empty() && api::text_at(spec, "ipFamilyPolicy").empty())
    policy = "RequireDualStack";  // its endpoints are written by hand and may have either family
  if (wanted.empty() && !ranges_.empty()) wanted.push_back(ranges_[0].cidr.family());
  if (policy == "SingleStack" && wanted.size() > 1) {
    if (old == nullptr || texts(*old, "ipFamilies").size() < 2)
      return invalid(key, "spec.ipFamilyPolicy",
                     "Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple "
                     "'ipFamilies' are specified");
    wanted.resize(1);  // a downgrade gives the second address back
    put_texts(spec, "clusterIPs", {api::text_at(spec, "clusterIP")});
  }
  if (policy != "SingleStack" && wanted.size() == 1)
    if (headless_without_selector || range_of(wanted[0] == Family::v4 ? Family::v6 : Family::v4) != nullptr)
      add(wanted[0] == Family::v4 ? Family::v6 : Family::v4);
  for (std::size_t i = 0; i < wanted.size() && !headless_without_selector; ++i)
    if (range_of(wanted[i]) == nullptr)
      return invalid(key, fmt::format("spec.ipFamilies[{}]", i),
                     fmt::format("Invalid value: \"{}\": not configured on this cluster", text_of(wanted[i])));
  if (policy == "RequireDualStack" && wanted.size() < 2)
    return invalid(key, "spec.ipFamilyPolicy",
                   "Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services");
  spec["ipFamilyPolicy"] = policy;
  std::vector<std::string> names;
  for (auto f : wanted) names.push_back(text_of(f));
  put_texts(spec, "ipFamilies", names);
  return std::nullopt;
}

Refusal ServiceAllocator::choose_addresses(store::Transaction& tx, const api::Key& key, json::object& spec,
                                           const json::object* old) {
  if (is_headless(spec)) {
    spec["clusterIP"] = "None";
    put_texts(spec, "clusterIPs", {"None"});
    return std::nullopt;
  }
  auto families = texts(spec, "ipFamilies");
  auto chosen = texts(spec, "clusterIPs");
  if (chosen.size() > families.size()) chosen.resize(families.size());
  auto holder = key.ns + "/" + key.name;
  auto had = old == nullptr ? std::vector<Ip>() : addresses_of(*old);
  for (std::size_t i = 0; i < families.size(); ++i) {
    auto family = families[i] == "IPv6" ? Family::v6 : Family::v4;
    Range* range = range_of(family);
    auto field = fmt::format("spec.clusterIPs[{}]", i);
    auto still_held = [&](const std::string& other, std::uint64_t number) {
      auto service = tx.get(key_of(other));
      if (!service) return false;
      auto ips = addresses_of(api::object_at(service->body, "spec"));
      return std::find(ips.begin(), ips.end(), range->cidr.address().plus(number + 1)) != ips.end();
    };
    if (i >= chosen.size()) {
      auto number = range->pool.take_any(holder, still_held);
      if (!number)
        return Status::internal(
            fmt::format("failed to allocate a serviceIP: range {} is full", range->cidr.to_string()));
      chosen.push_back(range->cidr.address().plus(*number + 1).to_string());
      tx.guard(chosen.back());
      continue;
    }
    auto ip = Ip::parse(chosen[i]);
    if (!ip || ip->family() != family)
      return invalid(key, field,
                     fmt::format("Invalid value: \"{}\": expected an {} value as indicated by "
                                 "`ipFamilies[{}]`",
                                 chosen[i], families[i], i));
    if (std::find(had.begin(), had.end(), *ip) != had.end()) continue;
    auto refuse = [&](const std::string& why) {
      return invalid(key, "spec.clusterIPs",
                     fmt::format("Invalid value: [\"{}\"]: failed to allocate IP {}: {}", chosen[i], chosen[i], why));
    };
    auto number = offset_in(*range, *ip);
    if (!number)
      return refuse(fmt::format("the provided IP ({}) is not in the valid range. The range of valid IPs is {}",
                                chosen[i], range->cidr.to_string()));
    if (!range->pool.take(*number, holder, still_held)) return refuse("provided IP is already allocated");
    tx.guard(chosen[i]);
  }
  put_texts(spec, "clusterIPs", chosen);
  if (!chosen.empty()) spec["clusterIP"] = chosen[0];
  return std::nullopt;
}

Refusal ServiceAllocator::take_port(store::Transaction& tx, const api::Key& key, std::int64_t port,
                                    const std::string& field) {
  auto still_held = [&](const std::string& other, std::uint64_t number) {
    auto service = tx.get(key_of(other));
    if (!service) return false;
    auto ports = node_ports_of(api::object_at(service->body, "spec"));
    return std::find(ports.begin(), ports.end(), static_cast<std::int64_t>(number) + port_first_) != ports.end();
  };
  if (port < port_first_ || port >= port_first_ + static_cast<std::int64_t>(ports_.size()))
    return invalid(key, field,
                   fmt::format("Invalid value: {}: provided port is not in the valid range. The range of valid ports "
                               "is {}-{}",
                               port, port_first_, port_first_ + ports_.size() - 1));
  if (!ports_.take(static_cast<std::uint64_t>(port - port_first_), key.ns + "/" + key.name, still_held))
    return invalid(key, field, fmt::format("Invalid value: {}: provided port is already allocated", port));
  tx.guard(port_guard(port));
  return std::nullopt;
}

Refusal ServiceAllocator::choose_ports(store::Transaction& tx, const api::Key& key, json::object& spec) {
  auto holder = key.ns + "/" + key.name;
  auto* ports = spec.contains("ports") ? spec["ports"].if_array() : nullptr;
  std::set<std::pair<std::int64_t, std::string>> own;  // one number may serve TCP and UDP of one Service
  std::set<std::int64_t> numbers;
  auto any = [&]() -> std::optional<std::int64_t> {
    auto still_held = [&](const std::string& other, std::uint64_t number) {
      // Given out a moment ago, for another port of this Service.
      if (other == holder && numbers.contains(static_cast<std::int64_t>(number) + port_first_)) return true;
      auto service = tx.get(key_of(other));
      if (!service) return false;
      auto held = node_ports_of(api::object_at(service->body, "spec"));
      return std::find(held.begin(), held.end(), static_cast<std::int64_t>(number) + port_first_) != held.end();
    };
    auto number = ports_.take_any(holder, still_held);
    if (!number) return std::nullopt;
    auto port = static_cast<std::int64_t>(*number) + port_first_;
    tx.guard(port_guard(port));
    return port;
  };
  // Static requests first: a dynamic pick must not take what the same Service asks for by number.
  for (std::size_t i = 0; ports != nullptr && i < ports->size(); ++i) {
    auto* p = (*ports)[i].if_object();
    auto port = p == nullptr ? 0 : api::int_at(*p, "nodePort");
    if (port == 0) continue;
    auto field = fmt::format("spec.ports[{}].nodePort", i);
    if (!wants_node_ports(spec) && type_of(spec) != "LoadBalancer")
      return invalid(key, field, fmt::format("Forbidden: may not be used when `type` is '{}'", type_of(spec)));
    if (!own.insert({port, api::text_at(*p, "protocol", "TCP")}).second)
      return invalid(key, field, fmt::format("Duplicate value: {}", port));
    numbers.insert(port);
    if (auto no = take_port(tx, key, port, field)) return no;
  }
  if (auto health = api::int_at(spec, "healthCheckNodePort"); health != 0) {
    if (!wants_health_port(spec))
      return invalid(key, "spec.healthCheckNodePort",
                     fmt::format("Invalid value: {}: may only be set when `type` is 'LoadBalancer' and "
                                 "`externalTrafficPolicy` is 'Local'",
                                 health));
    if (numbers.contains(health))
      return invalid(key, "spec.healthCheckNodePort",
                     fmt::format("Invalid value: {}: provided port is already allocated", health));
    if (auto no = take_port(tx, key, health, "spec.healthCheckNodePort")) return no;
    numbers.insert(health);
  }
  auto full = [] { return Status::internal("failed to allocate a nodePort: range is full"); };
  auto fresh = [&]() -> std::optional<std::int64_t> {
    auto port = any();
    if (port) numbers.insert(*port);
    return port;
  };
  if (wants_node_ports(spec) && ports != nullptr) {
    std::map<std::int64_t, std::pair<std::int64_t, std::set<std::string>>> by_port;  // port -> node port, protocols
    for (auto& v : *ports) {
      auto* p = v.if_object();
      if (p == nullptr || api::int_at(*p, "nodePort") != 0) continue;
      auto protocol = api::text_at(*p, "protocol", "TCP");
      auto& shared = by_port[api::int_at(*p, "port")];
      if (shared.first != 0 && shared.second.insert(protocol).second) {
        (*p)["nodePort"] = shared.first;
        continue;
      }
      auto port = fresh();
      if (!port) return full();
      shared = {*port, {protocol}};
      (*p)["nodePort"] = *port;
    }
  }
  if (wants_health_port(spec) && api::int_at(spec, "healthCheckNodePort") == 0) {
    auto port = fresh();
    if (!port) return full();
    spec["healthCheckNodePort"] = *port;
  }
  return std::nullopt;
}

}  // namespace trama::control
