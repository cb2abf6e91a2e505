// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/doctor.h"

#include <algorithm>

#include "control/api/object.h"

namespace trama::cli {

namespace json = boost::json;
using api::array_at;
using api::bool_at;
using api::int_at;
using api::object_at;
using api::text_at;
using Verdict = Finding::Verdict;

namespace {

std::uint64_t revision_at(const json::object& status, const char* field) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, int_at(status, field)));
}

std::vector<std::string> failures_of(const json::object& room) {
  std::vector<std::string> out;
  for (const auto& v : array_at(room, "failures"))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

class Examination {
 public:
  Examination(const Patient& patient, const ApiRevisions& api) : patient_(patient), api_(api) {}

  void agent() {
    const auto& s = patient_.status;
    if (!patient_.error.empty())
      return fail("agent", "does not answer: " + patient_.error,
                  fmt::format("see whether it runs on {}: systemctl status trama-agent, or in a lab: trama lab ls",
                              patient_.name));
    if (!bool_at(s, "connected"))
      return fail(
          "agent",
          fmt::format("does not reach the API server {}: {}", text_at(s, "server"), text_at(s, "connectionTrouble")),
          "check the way to it; Services stay as they are until then");
    if (!bool_at(s, "ready"))
      return fail("agent", fmt::format("not Ready: {}: {}", text_at(s, "reason"), text_at(s, "message")),
                  "trama describe node " + patient_.name);
    ok("agent", text_at(s, "version") + " answers and follows the API server");
  }
  void services() {
    const auto& s = patient_.status;
    auto failures = failures_of(object_at(s, "reconcilers.services"));
    auto services = revision_at(s, "serviceRevision"), slices = revision_at(s, "endpointSliceRevision");
    if (services < api_.services || slices < api_.slices)
      fail("services",
           fmt::format("Services are programmed at revision {}, EndpointSlices at {}; the API has {} and {}", services,
                       slices, api_.services, api_.slices),
           failures.empty() ? "look again in a second; then at the agent's log" : "see the failures below");
    else if (!bool_at(object_at(s, "reconcilers.services"), "inSync") && failures.empty())
      fail("services", "the last pass has not finished its work", "look again in a second; then at the agent's log");
    else
      ok("services", fmt::format("{} programmed at revision {}", int_at(s, "services"), std::min(services, slices)));
    for (const auto& line : failures) {
      auto name = line.substr(0, line.find(':'));
      bool named = name.find('/') != std::string::npos && name.find(' ') == std::string::npos;
      fail("service", line,
           named ? fmt::format("trama -n {} describe svc {}", name.substr(0, name.find('/')),
                               name.substr(name.find('/') + 1))
                 : "the agent's log has more");
    }
  }
  void foreign() {
    const auto* chains = patient_.status.if_contains("foreignChains");
    if (!chains || !chains->is_array()) return add("foreign", Verdict::unknown, "the agent has not looked yet", "");
    if (chains->get_array().empty()) ok("foreign", "no chain of other programs drops by policy");
    for (const auto& v : chains->get_array())
      if (const auto* c = v.if_object())
        fail("foreign",
             fmt::format("table {}, chain {} (hook {}, policy drop) {} unless a rule of it accepts them",
                         text_at(*c, "table"), text_at(*c, "chain"), text_at(*c, "hook"), text_at(*c, "harm")),
             text_at(*c, "remedy"));
  }
  void room(const char* name) {
    const auto& room = object_at(patient_.status, fmt::format("reconcilers.{}", name));
    auto failures = failures_of(room);
    if (failures.empty() && bool_at(room, "inSync")) return ok(name, "as it should be");
    if (failures.empty()) return fail(name, "the last pass has not finished its work", "look again in a second");
    for (const auto& line : failures) fail(name, line, "trama events; the agent's log has more");
  }
  void paths() {
    const auto* seen = patient_.status.if_contains("overlayPaths");
    if (!seen || !seen->is_object()) return add("paths", Verdict::unknown, "the agent has not looked yet", "");
    const auto& p = seen->get_object();
    auto off = text_at(p, "protocolOff");
    auto note = off.empty() ? std::string() : fmt::format("; no conversation with other agents: {}", off);
    if (bool_at(p, "isolated"))
      return fail("paths", "no peer answers on any path: this node is cut off" + note,
                  "look at its link and address first; nothing was taken down");
    bool down = false;
    for (const auto& v : array_at(p, "faults")) {
      const auto* f = v.if_object();
      if (!f) continue;
      down = true;
      auto peer = text_at(*f, "peer"), address = text_at(*f, "address"), path = text_at(*f, "path");
      if (path.empty()) path = "vxlan";  // an older agent
      fail("paths",
           fmt::format("{} to {} ({}) is {}: {}{}", path, peer, address, text_at(*f, "state"), text_at(*f, "reason"),
                       !bool_at(*f, "circumvented") ? std::string()
                       : text_at(*f, "via").empty() ? "; packets take the tunnel meanwhile"
                                                    : "; packets go over " + text_at(*f, "via") + " meanwhile"),
           way_out(*f, path));
    }
    if (down) return;
    if (int_at(p, "pending") > 0)
      return add("paths", Verdict::unknown, fmt::format("{} peers have not answered yet{}", int_at(p, "pending"), note),
                 "");
    if (auto why = text_at(p, "wireguardOff"); !why.empty())
      note += fmt::format("; {}: the sealed tunnel is used", why);
    else if (auto n = int_at(p, "wireguarded"); n > 0)
      note += fmt::format("; {} of them by WireGuard", n);
    ok("paths", fmt::format("{} peers reached through the overlay{}", int_at(p, "up"), note));
  }
  std::vector<Finding> take() { return std::move(findings_); }

 private:
  // What passes says what is in the way: a tunnel beside a path that is down shows that the two nodes reach each other.
  std::string way_out(const json::object& fault, const std::string& path) const {
    auto more = fmt::format("; trama overlay paths --node {}", patient_.name);
    if (path == "tunnel") return "open UDP 6783 between the two nodes" + more;
    if (path == "wireguard")
      return fmt::format("open UDP {} between the two nodes, and ICMP echo on trama2", int_at(fault, "port")) + more;
    auto peer = text_at(fault, "peer"), address = text_at(fault, "address");
    if (text_at(fault, "state") == "degraded" || (bool_at(fault, "circumvented") && text_at(fault, "via").empty()))
      return "open UDP 6784 between the two nodes, and ICMP echo on trama0" + more;
    if (bool_at(fault, "circumvented"))
      return fmt::format(
                 "nothing passes between the two nodes themselves: look at routes and filters between them (ping "
                 "{}), then open UDP 6784, and TCP and UDP 6783",
                 address) +
             more;
    return fmt::format(
               "nothing passes: see whether {} runs and answers (ping {}), then open UDP 6784 between the two, "
               "and TCP and UDP 6783",
               peer, address) +
           more;
  }
  void ok(const char* check, std::string text) { add(check, Verdict::ok, std::move(text), ""); }
  void fail(const char* check, std::string text, std::string remedy) {
    add(check, Verdict::fail, std::move(text), std::move(remedy));
  }
  void add(const char* check, Verdict verdict, std::string text, std::string remedy) {
    findings_.push_back({patient_.name, check, verdict, std::move(text), std::move(remedy)});
  }
  const Patient& patient_;
  const ApiRevisions& api_;
  std::vector<Finding> findings_;
};

const char* word_of(Verdict v) { return v == Verdict::ok ? "ok" : v == Verdict::fail ? "FAIL" : "?"; }

}  // namespace

bool is_behind(const Patient& patient, const ApiRevisions& api) {
  return patient.error.empty() && (revision_at(patient.status, "serviceRevision") < api.services ||
                                   revision_at(patient.status, "endpointSliceRevision") < api.slices ||
                                   !bool_at(object_at(patient.status, "reconcilers.services"), "inSync"));
}

std::vector<Finding> examine(const Patient& patient, const ApiRevisions& api, bool everything) {
  Examination e(patient, api);
  e.agent();
  if (!patient.error.empty()) return e.take();
  e.services();
  e.foreign();
  if (everything) {
    e.room("sandboxes");
    e.room("overlay");
    e.paths();
  }
  return e.take();
}

bool all_well(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.verdict == Verdict::fail; });
}

std::string doctor_text(const std::vector<Finding>& findings) {
  std::string out, node;
  std::size_t faults = 0;
  for (const auto& f : findings) {
    if (f.node != node) out += fmt::format("node {}\n", f.node);
    node = f.node;
    out += fmt::format("  {:<4}  {:<9}  {}\n", word_of(f.verdict), f.check, f.text);
    if (f.verdict != Verdict::fail) continue;
    ++faults;
    out += fmt::format("                   to do: {}\n", f.remedy);
  }
  if (faults == 0) return out + "all is well\n";
  return out + fmt::format("{} fault{}\n", faults, faults == 1 ? "" : "s");
}

json::object doctor_page(const std::vector<Finding>& findings) {
  json::array items;
  for (const auto& f : findings) {
    json::object item;
    item["node"] = f.node, item["check"] = f.check;
    item["verdict"] = f.verdict == Verdict::ok ? "ok" : f.verdict == Verdict::fail ? "fail" : "unknown";
    item["text"] = f.text;
    if (!f.remedy.empty()) item["remedy"] = f.remedy;
    items.push_back(std::move(item));
  }
  json::object out;
  out["well"] = all_well(findings);
  out["findings"] = std::move(items);
  return out;
}

}  // namespace trama::cli
