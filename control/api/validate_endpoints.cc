// SPDX-License-Identifier: GPL-2.0-or-later
// Endpoints and EndpointSlices: what nodes send traffic to.
#include "base/ip.h"
#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

constexpr std::size_t kSliceEndpoints = 1000;

// An address that traffic may be sent to. `family` is "IPv4", "IPv6", or "" for either.
void endpoint_address(Causes& out, const json::value& v, const std::string& path, std::string_view family) {
  auto ip = base::Ip::parse(std::string_view(v.get_string()));
  if (!ip || (!family.empty() && ip->is_v4() != (family == "IPv4")))
    invalid(out, path, shown(v),
            family.empty() ? "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                           : fmt::format("must be a valid {} address", family));
  else if (ip->is_loopback())
    invalid(out, path, shown(v), "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  else if (ip->is_link_local())
    invalid(out, path, shown(v), "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
  else if (ip->is_multicast())
    invalid(out, path, shown(v), "may not be in the multicast range (224.0.0.0/4, ff00::/8)");
  else if (ip->is_unspecified())
    invalid(out, path, shown(v), "may not be unspecified (0.0.0.0 or ::)");
}

void addresses(Causes& out, const json::object& subset, std::string_view list, const std::string& path) {
  const auto& all = array_at(subset, list);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i].is_object()) continue;
    const auto& address = all[i].get_object();
    auto here = fmt::format("{}.{}[{}]", path, list, i);
    if (const auto* ip = address.if_contains("ip"); ip && ip->is_string()) endpoint_address(out, *ip, here + ".ip", "");
    auto hostname = text_at(address, "hostname"), node = text_at(address, "nodeName");
    if (!hostname.empty() && !is_dns_label(hostname)) invalid(out, here + ".hostname", in_quotes(hostname), kLabelRule);
    if (!node.empty() && !is_dns_subdomain(node)) invalid(out, here + ".nodeName", in_quotes(node), kSubdomainRule);
  }
}

}  // namespace

void validate_endpoints(Causes& out, const json::object& body) {
  const auto& subsets = array_at(body, "subsets");
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    if (!subsets[i].is_object()) continue;
    const auto& subset = subsets[i].get_object();
    auto here = fmt::format("subsets[{}]", i);
    if (array_at(subset, "addresses").empty() && array_at(subset, "notReadyAddresses").empty())
      required(out, here, "must specify `addresses` or `notReadyAddresses`");
    addresses(out, subset, "addresses", here);
    addresses(out, subset, "notReadyAddresses", here);
    const auto& ports = array_at(subset, "ports");
    for (std::size_t p = 0; p < ports.size(); ++p) {
      if (!ports[p].is_object()) continue;
      const auto& port = ports[p].get_object();
      auto at_port = fmt::format("{}.ports[{}]", here, p);
      auto name = text_at(port, "name");
      if (name.empty() && ports.size() > 1) required(out, at_port + ".name");
      if (!name.empty() && !is_dns_label(name)) invalid(out, at_port + ".name", in_quotes(name), kLabelRule);
      port_number(out, port, "port", at_port, false);
    }
  }
}

void validate_endpoint_slice(Causes& out, const json::object& body, const json::object* old) {
  auto type = text_at(body, "addressType");
  const auto& endpoints = array_at(body, "endpoints");
  if (endpoints.size() > kSliceEndpoints)
    out.push_back({"FieldValueTooMany",
                   fmt::format("Too many: {}: must have at most {} items", endpoints.size(), kSliceEndpoints),
                   "endpoints"});
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (!endpoints[i].is_object()) continue;
    const auto& list = array_at(endpoints[i].get_object(), "addresses");
    auto here = fmt::format("endpoints[{}].addresses", i);
    if (list.empty()) required(out, here, "must contain at least 1 address");
    for (const auto& a : list)
      if (a.is_string() && type != "FQDN") endpoint_address(out, a, here, type);
  }
  const auto& ports = array_at(body, "ports");
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (ports[i].is_object()) port_number(out, ports[i].get_object(), "port", fmt::format("ports[{}]", i), false);
  if (old && text_at(*old, "addressType") != type) invalid(out, "addressType", in_quotes(type), "field is immutable");
}

}  // namespace trama::api
