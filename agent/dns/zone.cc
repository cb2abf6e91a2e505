// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/dns/zone.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "agent/compute/services.h"
#include "base/text.h"

namespace trama::agent::dns {

using base::Ip;

namespace {

constexpr int kMostAliases = 8;  // ExternalName to ExternalName
constexpr const char* kArpa[] = {"in-addr.arpa", "ip6.arpa"};

// "web.default" -> {"web", "default"}; an empty name has no labels.
std::vector<std::string_view> labels_of(std::string_view name) {
  std::vector<std::string_view> out;
  while (!name.empty()) {
    auto dot = name.find('.');
    out.push_back(name.substr(0, dot));
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  }
  return out;
}

// "a.b.cluster.local" below "cluster.local": "a.b"; the same name: "".
std::optional<std::string_view> below(std::string_view name, std::string_view zone) {
  if (name == zone) return std::string_view();
  if (name.size() <= zone.size() || !name.ends_with(zone) || name[name.size() - zone.size() - 1] != '.')
    return std::nullopt;
  return name.substr(0, name.size() - zone.size() - 1);
}

Type type_of(const Ip& ip) { return ip.is_v4() ? Type::a : Type::aaaa; }
Record address(const std::string& name, const Ip& ip) { return {name, type_of(ip), kTtl, ip}; }

bool headless(const api::Object& service) { return api::text_at(service.body, "spec.clusterIP") == "None"; }

struct Member {
  Ip ip;
  std::string hostname;
};

// Addresses of ready endpoints; the slices already say "ready" where the Service publishes all of them. `use` gets
// each once, with the slice that it was found in.
template <class Use>
void each_ready(const std::vector<api::ObjectPtr>& slices, Use use) {
  for (const auto& slice : slices) {
    auto kind = api::text_at(slice->body, "addressType");
    if (kind != "IPv4" && kind != "IPv6") continue;
    for (const auto& value : api::array_at(slice->body, "endpoints")) {
      if (!value.is_object() || !api::bool_at(value.get_object(), "conditions.ready", true)) continue;
      auto hostname = base::lower(api::text_at(value.get_object(), "hostname"));
      for (const auto& text : api::array_at(value.get_object(), "addresses")) {
        if (!text.is_string()) continue;
        auto ip = Ip::parse(std::string_view(text.get_string()));
        if (ip) use(*slice, Member{*ip, hostname.empty() ? dashed(*ip) : hostname});
      }
    }
  }
}

std::string protocol_label(const std::string& protocol) {
  return "_" + base::lower(protocol.empty() ? "TCP" : protocol);
}

}  // namespace

std::string dashed(const Ip& ip) {
  auto out = ip.to_string();
  std::replace(out.begin(), out.end(), ip.is_v4() ? '.' : ':', '-');
  return out;
}

std::string reverse_of_address(const Ip& ip) {
  std::string out;
  auto raw = ip.bytes();
  for (auto it = raw.rbegin(); it != raw.rend(); ++it) {
    auto byte = static_cast<unsigned>(*it);
    out += ip.is_v4() ? fmt::format("{}.", byte) : fmt::format("{:x}.{:x}.", byte & 15, byte >> 4);
  }
  return out + kArpa[ip.is_v4() ? 0 : 1];
}

std::optional<Ip> address_of_reverse(std::string_view name) {
  bool v4 = true;
  auto rest = below(name, kArpa[0]);
  if (!rest) v4 = false, rest = below(name, kArpa[1]);
  if (!rest) return std::nullopt;
  auto labels = labels_of(*rest);
  std::vector<std::byte> raw(v4 ? 4 : 16);
  if (labels.size() != (v4 ? 4u : 32u)) return std::nullopt;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    auto text = labels[labels.size() - 1 - i];
    unsigned value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, v4 ? 10 : 16);
    bool canonical = v4 ? (text.size() == 1 || (!text.empty() && text[0] != '0')) : text.size() == 1;
    if (error != std::errc() || end != text.data() + text.size() || !canonical || value > 255) return std::nullopt;
    if (v4)
      raw[i] = std::byte(value);
    else
      raw[i / 2] |= std::byte(i % 2 == 0 ? value << 4 : value);
  }
  auto ip = Ip::from_bytes(raw);
  return ip ? std::optional<Ip>(*ip) : std::nullopt;
}

struct Zone::Found {
  bool exists = false;
  std::vector<Record> records, additional;
  static Found nothing() { return {}; }
  static Found empty() { return {true, {}, {}}; }
};

Zone::Zone(const ClusterView& view, ZoneFacts facts) : view_(view), facts_(std::move(facts)) {
  facts_.domain = base::lower(facts_.domain);
}

void Zone::update(const std::set<ServiceKey>& changed) {
  for (const auto& key : changed) {
    if (auto known = by_service_.find(key); known != by_service_.end()) {
      for (const auto& entry : known->second) {
        auto names = by_address_.find(entry.ip);
        if (names == by_address_.end()) continue;
        names->second.names.erase(entry.name);
        if (entry.cluster_ip && names->second.owner == key) names->second.owner = {};
        if (names->second.names.empty()) by_address_.erase(names);
      }
      by_service_.erase(known);
    }
    auto service = view_.service(key);
    if (!service) continue;
    std::vector<Reverse> now;
    auto name = full_name(key);
    for (const auto& ip : cluster_ips(*service)) now.push_back({ip, name, true});
    if (headless(*service))
      each_ready(view_.slices_of(key), [&](const api::Object&, const Member& member) {
        now.push_back({member.ip, member.hostname + "." + name, false});
      });
    for (const auto& entry : now) {
      auto& names = by_address_[entry.ip];
      names.names.insert(entry.name);
      if (entry.cluster_ip) names.owner = key;
    }
    if (!now.empty()) by_service_[key] = std::move(now);
  }
}

ServiceKey Zone::owner(const Ip& ip) const {
  auto found = by_address_.find(ip);
  return found == by_address_.end() ? ServiceKey{} : found->second.owner;
}

std::string Zone::full_name(const ServiceKey& key) const {
  return fmt::format("{}.{}.svc.{}", key.name, key.ns, facts_.domain);
}

bool Zone::covers(std::string_view name) const {
  if (below(name, facts_.domain)) return true;
  auto ip = address_of_reverse(name);
  if (!ip) return false;
  auto inside = [&](const base::Cidr& cidr) { return cidr.contains(*ip); };
  return std::any_of(facts_.pods.begin(), facts_.pods.end(), inside) ||
         std::any_of(facts_.services.begin(), facts_.services.end(), inside);
}

Record Zone::authority(std::string_view name) const {
  std::string owner = facts_.domain;
  if (!below(name, facts_.domain)) owner = below(name, kArpa[0]) ? kArpa[0] : kArpa[1];
  Authority soa;
  soa.server = "ns.dns." + facts_.domain, soa.mailbox = "hostmaster." + facts_.domain;
  soa.serial = static_cast<std::uint32_t>(std::max(view_.revision(Kind::services), view_.revision(Kind::slices)));
  soa.negative_ttl = kTtl;
  return {owner, Type::soa, kTtl, soa};
}

Answer Zone::answer(const Question& question) const {
  Answer out;
  std::string name = question.name;
  for (int hop = 0;; ++hop) {
    auto found = look(name);
    // An alias answers for every type, but for the question about itself.
    const Record* alias = nullptr;
    for (const auto& record : found.records)
      if (record.type == Type::cname) alias = &record;
    bool follow = alias && question.type != Type::cname && question.type != Type::any;
    bool any = false;
    for (const auto& record : found.records)
      if (follow || question.type == Type::any || record.type == question.type)
        out.answers.push_back(record), any = true;
    if (question.type == Type::srv || question.type == Type::any) out.additional = found.additional;
    if (follow) {
      auto target = std::get<Target>(alias->data).name;
      if (!covers(target)) {
        out.follow = target;
        return out;
      }
      if (hop == kMostAliases) {
        out.rcode = Rcode::server;
        return out;
      }
      name = target;
      continue;
    }
    if (!found.exists) out.rcode = Rcode::no_such_name;
    if (!any) out.authority.push_back(authority(name));
    return out;
  }
}

Zone::Found Zone::look(std::string_view asked) const {
  std::string name(asked);
  if (auto ip = address_of_reverse(name)) return reverse(*ip, name);
  auto labels = labels_of(*below(name, facts_.domain));
  if (labels.empty()) {
    auto out = Found::empty();
    out.records = {authority(name), {name, Type::ns, kTtl, Target{"ns.dns." + facts_.domain}}};
    return out;
  }
  auto top = labels.back();
  auto n = labels.size();
  if (top == "dns-version" && n == 1) return {true, {{name, Type::txt, kTtl, Text{"1.1.0"}}}, {}};
  if (top == "dns") {
    if (n == 1) return Found::empty();
    if (n != 2 || labels[0] != "ns") return Found::nothing();
    auto out = Found::empty();
    for (const auto& ip : facts_.servers) out.records.push_back(address(name, ip));
    return out;
  }
  if (top != "svc" && top != "pod") return Found::nothing();
  if (n == 1) return Found::empty();
  std::string ns(labels[n - 2]);
  if (n == 2) return namespace_known(ns) ? Found::empty() : Found::nothing();
  if (top == "pod") return n == 3 && namespace_known(ns) ? pod(labels[0], name) : Found::nothing();
  ServiceKey key{ns, std::string(labels[n - 3])};
  if (n == 3) return service(key, name);
  if (n == 4) return labels[0].starts_with('_') ? protocol(key, labels[0]) : endpoint(key, labels[0], name);
  if (n == 5) return port(key, labels[0], labels[1], name);
  return Found::nothing();
}

bool Zone::namespace_known(std::string_view ns) const {
  auto prefix = std::string(ns) + "/";
  for (Kind kind : {Kind::services, Kind::pods}) {
    const auto& objects = view_.objects(kind);
    auto it = objects.lower_bound(prefix);
    if (it != objects.end() && it->first.starts_with(prefix)) return true;
  }
  return false;
}

Zone::Found Zone::service(const ServiceKey& key, const std::string& name) const {
  auto object = view_.service(key);
  if (!object) return Found::nothing();
  auto out = Found::empty();
  if (api::text_at(object->body, "spec.type") == "ExternalName") {
    auto target = base::lower(api::text_at(object->body, "spec.externalName"));
    if (target.ends_with('.')) target.pop_back();
    if (!target.empty()) out.records.push_back({name, Type::cname, kTtl, Target{target}});
  } else if (headless(*object)) {
    std::set<Ip> seen;
    each_ready(view_.slices_of(key), [&](const api::Object&, const Member& member) {
      if (seen.insert(member.ip).second) out.records.push_back(address(name, member.ip));
    });
    if (out.records.empty()) return Found::nothing();  // 2.4.1: NXDOMAIN while no endpoint is ready
  } else {
    for (const auto& ip : cluster_ips(*object)) out.records.push_back(address(name, ip));
  }
  return out;
}

Zone::Found Zone::endpoint(const ServiceKey& key, std::string_view hostname, const std::string& name) const {
  auto object = view_.service(key);
  if (!object || !headless(*object)) return Found::nothing();
  std::set<Ip> found;
  each_ready(view_.slices_of(key), [&](const api::Object&, const Member& member) {
    if (member.hostname == hostname) found.insert(member.ip);
  });
  if (found.empty()) return Found::nothing();
  auto out = Found::empty();
  for (const auto& ip : found) out.records.push_back(address(name, ip));
  return out;
}

// "_tcp.web.default.svc": nothing there, but names below it.
Zone::Found Zone::protocol(const ServiceKey& key, std::string_view protocol) const {
  auto object = view_.service(key);
  if (!object) return Found::nothing();
  for (const auto& value : api::array_at(object->body, "spec.ports"))
    if (value.is_object() && !api::text_at(value.get_object(), "name").empty() &&
        protocol_label(api::text_at(value.get_object(), "protocol")) == protocol)
      return Found::empty();
  return Found::nothing();
}

Zone::Found Zone::port(const ServiceKey& key, std::string_view port, std::string_view protocol,
                       const std::string& name) const {
  auto object = view_.service(key);
  if (!object || !port.starts_with('_')) return Found::nothing();
  port.remove_prefix(1);
  auto out = Found::empty();
  auto is_it = [&](const json::value& value) {
    return value.is_object() && !port.empty() && base::lower(api::text_at(value.get_object(), "name")) == port &&
           protocol_label(api::text_at(value.get_object(), "protocol")) == protocol;
  };
  auto add = [&](std::int64_t number, const std::string& target, const Ip& ip) {
    if (number < 1 || number > 65535) return;
    Record record{name, Type::srv, kTtl, Place{0, 100, static_cast<std::uint16_t>(number), target}};
    if (std::find(out.records.begin(), out.records.end(), record) == out.records.end()) out.records.push_back(record);
    auto also = address(target, ip);
    if (std::find(out.additional.begin(), out.additional.end(), also) == out.additional.end())
      out.additional.push_back(also);
  };
  if (!headless(*object)) {
    for (const auto& value : api::array_at(object->body, "spec.ports"))
      if (is_it(value))
        for (const auto& ip : cluster_ips(*object)) add(api::int_at(value.get_object(), "port"), full_name(key), ip);
  } else {
    each_ready(view_.slices_of(key), [&](const api::Object& slice, const Member& member) {
      for (const auto& value : api::array_at(slice.body, "ports"))
        if (is_it(value))
          add(api::int_at(value.get_object(), "port"), member.hostname + "." + full_name(key), member.ip);
    });
  }
  return out.records.empty() ? Found::nothing() : out;
}

// Made of the address that it holds (section 2.6), for addresses that pods can have. Pods of other nodes are not known
// here, so whether there is such a pod is not asked.
Zone::Found Zone::pod(std::string_view text, const std::string& name) const {
  std::string written(text);
  bool v4 = std::count(written.begin(), written.end(), '-') == 3 && written.find("--") == std::string::npos;
  std::replace(written.begin(), written.end(), '-', v4 ? '.' : ':');
  auto ip = Ip::parse(written);
  if (!ip || dashed(*ip) != text) return Found::nothing();
  for (const auto& cidr : facts_.pods)
    if (cidr.contains(*ip)) return {true, {address(name, *ip)}, {}};
  return Found::nothing();
}

Zone::Found Zone::reverse(const Ip& ip, const std::string& name) const {
  auto found = by_address_.find(ip);
  if (found == by_address_.end()) return Found::nothing();
  auto out = Found::empty();
  for (const auto& target : found->second.names) out.records.push_back({name, Type::ptr, kTtl, Target{target}});
  return out;
}

}  // namespace trama::agent::dns
