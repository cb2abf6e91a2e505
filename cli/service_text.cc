// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/service_text.h"

#include "cli/table.h"
#include "control/api/object.h"

namespace trama::cli {

namespace json = boost::json;
using api::array_at;
using api::bool_at;
using api::int_at;
using api::text_at;

namespace {

std::string number_or_dash(const json::object& o, const char* field) {
  return o.contains(field) ? std::to_string(int_at(o, field)) : "-";
}

std::string endpoint_of(const std::string& address, std::int64_t port) {
  bool v6 = address.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", address.empty() ? "*" : address, v6 ? "]" : "", port);
}

std::string state_of(const json::object& e) {
  std::string state = bool_at(e, "terminating") ? (bool_at(e, "serving") ? "terminating, still serving" : "terminating")
                      : bool_at(e, "ready")     ? "ready"
                      : bool_at(e, "serving")   ? "serving"
                                                : "not ready";
  return state + (bool_at(e, "local") ? ", local" : "");
}

std::string ways_of(const json::object& page) {
  std::string out = "algorithm " + text_at(page, "algorithm", "random");
  if (auto s = int_at(page, "affinitySeconds"); s > 0) out += fmt::format(", affinity {} s", s);
  if (text_at(page, "internalPolicy") == "Local") out += ", internal traffic stays on the node";
  if (text_at(page, "externalPolicy") == "Local") out += ", external traffic stays on the node";
  return out;
}

std::string port_title(const json::object& p) {
  auto name = text_at(p, "name");
  std::string out =
      fmt::format("port {}{}/{}", name.empty() ? "" : name + " ", int_at(p, "port"), text_at(p, "protocol", "tcp"));
  if (p.contains("id"))
    out += fmt::format("   id {}   conntrack mark {}", int_at(p, "id"), text_at(p, "conntrackMark"));
  if (p.contains("chain")) out += "   chain " + text_at(p, "chain");
  return out;
}

std::string indented(const std::string& block) {
  std::string out;
  for (std::size_t at = 0; at < block.size();) {
    auto end = std::min(block.find('\n', at), block.size());
    out.append("  ").append(block, at, end - at) += '\n';
    at = end + 1;
  }
  return out;
}

std::string port_text(const json::object& p) {
  std::string out = port_title(p) + "\n";
  Table fronts;
  fronts.header = {"FRONT", "ADDRESS", "MARK"};
  for (const auto& v : array_at(p, "fronts"))
    if (const auto* f = v.if_object())
      fronts.rows.push_back(
          {text_at(*f, "kind"), endpoint_of(text_at(*f, "address"), int_at(*f, "port")), text_at(*f, "mark", "-")});
  out += indented(fronts.to_text());
  Table endpoints;
  endpoints.header = {"ENDPOINT", "POD", "NODE", "WEIGHT", "STATE", "SLOTS", "CONNECTIONS"};
  for (const auto& v : array_at(p, "endpoints"))
    if (const auto* e = v.if_object()) {
      auto node = text_at(*e, "node");
      endpoints.rows.push_back({endpoint_of(text_at(*e, "address"), int_at(*e, "port")), text_at(*e, "pod"),
                                node.empty() ? "-" : node, number_or_dash(*e, "weight"), state_of(*e),
                                number_or_dash(*e, "slots"), number_or_dash(*e, "connections")});
    }
  out += endpoints.rows.empty() ? "  no endpoints: new connections are refused\n" : indented(endpoints.to_text());
  if (p.contains("affinityEntries")) out += fmt::format("  affinity entries: {}\n", int_at(p, "affinityEntries"));
  return out;
}

}  // namespace

std::vector<std::string> commands_by_hand(const json::object& page, const std::string& netns) {
  std::string prefix = netns.empty() ? "" : "ip netns exec " + netns + " ";
  std::vector<std::string> out;
  for (const auto& v : array_at(page, "ports")) {
    const auto* p = v.if_object();
    if (!p) continue;
    const json::object* front = nullptr;
    for (const auto& f : array_at(*p, "fronts"))
      if (const auto* o = f.if_object(); o && !front && o->contains("key")) front = o;
    // as elements are commented: "default/web:http -> default/web-1", or "default/web -> …" for an unnamed port
    auto comment = fmt::format("{}/{}{}{}", text_at(page, "namespace"), text_at(page, "name"),
                               text_at(*p, "name").empty() ? " ->" : ":", text_at(*p, "name"));
    if (front && p->contains("endpointsMap"))
      out.push_back(fmt::format("{}nft list map {} {} | grep '{}'", prefix, text_at(*front, "table"),
                                text_at(*p, "endpointsMap"), comment));
    if (front)
      out.push_back(fmt::format("{}nft get element {} {} '{{ {} }}'", prefix, text_at(*front, "table"),
                                text_at(*front, "map"), text_at(*front, "key")));
    if (p->contains("conntrackMark"))
      out.push_back(fmt::format("{}conntrack -L -m {}", prefix, text_at(*p, "conntrackMark")));
  }
  return out;
}

std::string service_text(const json::object& page, const std::string& netns) {
  std::string out =
      fmt::format("service {}/{} on node {}: {}\n{}\n", text_at(page, "namespace"), text_at(page, "name"),
                  text_at(page, "node"), bool_at(page, "programmed") ? "programmed" : "NOT PROGRAMMED", ways_of(page));
  for (const auto& v : array_at(page, "failures"))
    if (v.is_string()) out += "problem: " + std::string(v.get_string()) + "\n";
  for (const auto& v : array_at(page, "ports"))
    if (const auto* p = v.if_object()) out += "\n" + port_text(*p);
  auto commands = commands_by_hand(page, netns);
  if (!commands.empty()) out += fmt::format("\nby hand{}:\n", netns.empty() ? ", on " + text_at(page, "node") : "");
  for (const auto& c : commands) out += "  " + c + "\n";
  return out;
}

}  // namespace trama::cli
