// SPDX-License-Identifier: GPL-2.0-or-later
#include <charconv>
#include <optional>

#include "base/ip.h"
#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

// "10.9.8.7/16": host bits are allowed here, as upstream has it.
std::optional<base::Cidr> parse_cidr(std::string_view text) {
  auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  auto ip = base::Ip::parse(text.substr(0, slash));
  text.remove_prefix(slash + 1);
  unsigned length = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (!ip || ec != std::errc{} || end != text.data() + text.size() || length > ip->bits()) return std::nullopt;
  return base::Cidr::of(*ip, length);
}

void bad_cidr(Causes& out, const std::string& path, std::string_view value) {
  invalid(out, path, in_quotes(value), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
}

void ip_block(Causes& out, const json::object& block, const std::string& path) {
  auto text = text_at(block, "cidr");
  if (text.empty()) {
    if (block.contains("cidr")) required(out, path + ".cidr");
    return;
  }
  auto cidr = parse_cidr(text);
  if (!cidr) return bad_cidr(out, path + ".cidr", text);
  const auto& except = array_at(block, "except");
  for (std::size_t i = 0; i < except.size(); ++i) {
    if (!except[i].is_string()) continue;
    std::string_view one(except[i].get_string());
    auto here = fmt::format("{}.except[{}]", path, i);
    auto hole = parse_cidr(one);
    if (!hole)
      bad_cidr(out, here, one);
    else if (hole->family() != cidr->family() || !cidr->contains(hole->address()) || hole->length() <= cidr->length())
      invalid(out, here, in_quotes(one), fmt::format("must be a strict subset of `cidr`: {}", text));
  }
}

void peer(Causes& out, const json::object& p, const std::string& path) {
  int kinds = 0;
  for (const char* name : {"podSelector", "namespaceSelector"}) {
    if (!p.contains(name)) continue;
    ++kinds;
    json::object one;
    one[name] = *p.if_contains(name);
    Causes found;
    selector(found, one, name);
    for (auto& c : found) {
      c.field = path + "." + c.field;
      out.push_back(std::move(c));
    }
  }
  bool block = p.contains("ipBlock");
  if (block) ip_block(out, object_at(p, "ipBlock"), path + ".ipBlock");
  if (kinds == 0 && !block) required(out, path, "must specify a peer");
  if (kinds > 0 && block) forbidden(out, path, "may not specify both ipBlock and another peer");
}

void port(Causes& out, const json::object& p, const std::string& path) {
  const auto *number = p.if_contains("port"), *end = p.if_contains("endPort");
  target_port(out, number, path + ".port");
  if (!end || !end->is_int64()) return;
  auto here = path + ".endPort";
  if (!number) return invalid(out, here, shown(*end), "may not be specified when `port` is not specified");
  if (!number->is_int64()) return invalid(out, here, shown(*end), "may not be specified when `port` is non-numeric");
  if (end->get_int64() < number->get_int64())
    return invalid(out, here, shown(*end), "must be greater than or equal to `port`");
  port_number(out, p, "endPort", path, false);
}

void rules(Causes& out, const json::object& body, const char* direction, const char* peers) {
  const auto& list = array_at(body, std::string("spec.") + direction);
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) continue;
    const auto& rule = list[i].get_object();
    auto here = fmt::format("spec.{}[{}]", direction, i);
    const auto &ports = array_at(rule, "ports"), &others = array_at(rule, peers);
    for (std::size_t p = 0; p < ports.size(); ++p)
      if (ports[p].is_object()) port(out, ports[p].get_object(), fmt::format("{}.ports[{}]", here, p));
    for (std::size_t p = 0; p < others.size(); ++p)
      if (others[p].is_object()) peer(out, others[p].get_object(), fmt::format("{}.{}[{}]", here, peers, p));
  }
}

}  // namespace

void validate_network_policy(Causes& out, const json::object& body) {
  selector(out, body, "spec.podSelector");
  rules(out, body, "ingress", "from");
  rules(out, body, "egress", "to");
  const auto& types = array_at(body, "spec.policyTypes");
  if (types.size() > 2)
    return invalid(out, "spec.policyTypes", shown(json::value(types)), "may not specify more than two policyTypes");
  for (std::size_t i = 0; i < types.size(); ++i)
    if (types[i].is_string() && types[i].get_string() != "Ingress" && types[i].get_string() != "Egress")
      not_supported(out, fmt::format("spec.policyTypes[{}]", i), std::string_view(types[i].get_string()),
                    "\"Egress\", \"Ingress\"");
}

}  // namespace trama::api
