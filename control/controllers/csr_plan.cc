// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/csr_plan.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "control/pki/base64.h"

namespace trama::control {

namespace {

constexpr std::string_view kNodePrefix = "system:node:";
constexpr std::string_view kBootstrapPrefix = "system:bootstrap:";
constexpr auto kPatience = std::chrono::seconds(10);  // for a Node's addresses to appear

using Type = CsrVerdict::Type;

CsrVerdict no(std::string reason, std::string message) {
  CsrVerdict v;
  v.type = Type::deny;
  v.reason = std::move(reason);
  v.message = std::move(message);
  return v;
}

std::set<std::string> texts(const json::object& o, std::string_view path) {
  std::set<std::string> out;
  for (const auto& v : api::array_at(o, path))
    if (v.is_string()) out.emplace(v.get_string());
  return out;
}

bool only(const std::set<std::string>& have, const std::set<std::string>& allowed, const std::string& required) {
  return have.contains(required) && std::includes(allowed.begin(), allowed.end(), have.begin(), have.end());
}

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return plain(name.front()) && plain(name.back()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || c == '-' || c == '.'; });
}

struct Request {
  const CsrWorld& world;
  pki::SigningRequest parsed;
  std::string user, node;
  std::set<std::string> groups, usages;
  bool approved = false;
};

CsrVerdict judge_node_client(const Request& r) {
  const auto& subject = r.parsed.subject;
  bool shape = !subject.other && subject.organizations == std::vector<std::string>{"system:nodes"} && is_name(r.node) &&
               r.parsed.alt_names.empty() &&
               only(r.usages, {"client auth", "digital signature", "key encipherment"}, "client auth");
  if (!shape)
    return no("WrongShape",
              "a node's client certificate has CN system:node:NAME, O system:nodes, no other names, and client auth");
  CsrVerdict v;
  v.subject = subject;
  v.usage.client = true;
  if (r.approved) {
    v.type = Type::sign;
    return v;
  }
  v.type = Type::approve;
  if (r.user == subject.common_name && r.groups.contains("system:nodes")) {
    if (!r.world.node)
      return no("NodeDeleted", fmt::format("node {} was deleted; it has to join again with a token", r.node));
    v.reason = "AutoApproved";
    v.message = "Renewal by the node itself";
    return v;
  }
  if (r.groups.contains("system:nodes"))
    return no("NotTheNode", fmt::format("{} may not ask for a certificate of {}", r.user, subject.common_name));
  if (!r.user.starts_with(kBootstrapPrefix) || !r.groups.contains("system:bootstrappers")) {
    v.type = Type::none;  // an administrator may approve it
    return v;
  }
  const auto& token = r.world.token;
  if (!token) return no("TokenUnknown", "the join token does not exist any more");
  if (token->expires <= r.world.now) return no("TokenExpired", fmt::format("join token {} has expired", token->id));
  if (token->uses == 0) return no("TokenUsedUp", fmt::format("join token {} has been used up", token->id));
  if (!token->node.empty() && token->node != r.node)
    return no("TokenBound", fmt::format("join token {} is for node {} only", token->id, token->node));
  if (r.world.node)
    return no("NodeExists",
              fmt::format("a node named {} exists already; if this machine replaces it, run `trama delete "
                          "node {}` first",
                          r.node, r.node));
  // Its Node was deleted, its agent was not stopped: two machines would be one node.
  if (r.world.name_alive)
    return no("NodeAlive", fmt::format("a machine that calls itself {} is alive (it renews its lease): stop its agent, "
                                       "wait until its lease has run out, then join again",
                                       r.node));
  if (r.world.name_taken) return no("NodeExists", fmt::format("another machine is just joining as {}", r.node));
  v.reason = "AutoApproved";
  v.message = fmt::format("Joined with token {}", token->id);
  v.uses_token = true;
  return v;
}

CsrVerdict judge_node_serving(const Request& r) {
  const auto& subject = r.parsed.subject;
  const auto& names = r.parsed.alt_names;
  bool shape = !subject.other && subject.organizations == std::vector<std::string>{"system:nodes"} && is_name(r.node) &&
               !names.other && !(names.dns.empty() && names.ips.empty()) &&
               only(r.usages, {"server auth", "digital signature", "key encipherment"}, "server auth");
  if (!shape)
    return no("WrongShape",
              "a node's serving certificate has CN system:node:NAME, O system:nodes, its own names, and server auth");
  CsrVerdict v;
  v.subject = subject;
  v.names = names;
  v.usage.server = true;
  if (r.approved) {
    v.type = Type::sign;
    return v;
  }
  if (r.user != subject.common_name || !r.groups.contains("system:nodes"))
    return no("NotTheNode", fmt::format("{} may not ask for a certificate of {}", r.user, subject.common_name));
  std::set<std::string> own = {r.node};
  if (r.world.node)
    for (const auto& a : api::array_at(r.world.node->body, "status.addresses"))
      if (const auto* o = a.if_object()) {
        auto text = api::text_at(*o, "address");
        auto ip = base::Ip::parse(text);
        own.insert(ip ? ip->to_string() : text);
      }
  std::string stranger;
  for (const auto& d : names.dns)
    if (!own.contains(d)) stranger = d;
  for (const auto& ip : names.ips)
    if (!own.contains(ip.to_string())) stranger = ip.to_string();
  if (r.world.node && stranger.empty()) {
    v.type = Type::approve;
    v.reason = "AutoApproved";
    v.message = "Serving certificate of the node itself";
    return v;
  }
  auto asked = base::parse_timestamp(api::text_at(*r.world.csr, "metadata.creationTimestamp")).value_or(r.world.now);
  if (r.world.now - asked > kPatience)
    return no("NotItsName", r.world.node ? fmt::format("{} is not among the addresses of node {}", stranger, r.node)
                                         : fmt::format("there is no node {}", r.node));
  v.type = Type::wait;
  return v;
}

CsrVerdict judge_client(const Request& r) {
  CsrVerdict v;
  if (!r.approved) return v;
  const auto& organizations = r.parsed.subject.organizations;
  if (std::find(organizations.begin(), organizations.end(), "system:masters") != organizations.end() ||
      r.parsed.subject.common_name.empty() || !r.usages.contains("client auth")) {
    v.type = Type::fail;
    v.reason = "SignerValidationFailure";
    v.message = "a client certificate needs a CN and client auth, and is never issued for system:masters";
    return v;
  }
  v.type = Type::sign;
  v.subject = r.parsed.subject;
  v.usage.client = true;
  return v;
}

}  // namespace

std::string node_of_request(const json::object& csr) {
  auto pem = pki::from_base64(api::text_at(csr, "spec.request"));
  if (!pem) return "";
  auto parsed = pki::SigningRequest::from_pem(*pem);
  if (!parsed || !parsed->subject.common_name.starts_with(kNodePrefix)) return "";
  return parsed->subject.common_name.substr(kNodePrefix.size());
}

CsrVerdict judge_csr(const CsrWorld& world) {
  const auto& csr = *world.csr;
  if (!api::text_at(csr, "status.certificate").empty()) return {};
  bool approved = false;
  for (const auto& c : api::array_at(csr, "status.conditions")) {
    const auto* o = c.if_object();
    if (o == nullptr) continue;
    auto type = api::text_at(*o, "type");
    if (type == "Denied" || type == "Failed") return {};
    if (type == "Approved") approved = true;
  }
  auto signer = api::text_at(csr, "spec.signerName");
  if (signer != kNodeClientSigner && signer != kNodeServingSigner && signer != kClientSigner) return {};
  auto pem = pki::from_base64(api::text_at(csr, "spec.request"));
  if (!pem) return no("BadRequest", "spec.request is not base64");
  auto parsed = pki::SigningRequest::from_pem(*pem);
  if (!parsed) return no("BadRequest", parsed.error().to_string());
  Request r{world,   std::move(*parsed),        api::text_at(csr, "spec.username"),
            "",      texts(csr, "spec.groups"), texts(csr, "spec.usages"),
            approved};
  if (r.parsed.subject.common_name.starts_with(kNodePrefix))
    r.node = r.parsed.subject.common_name.substr(kNodePrefix.size());
  if (signer == kNodeClientSigner) return judge_node_client(r);
  if (signer == kNodeServingSigner) return judge_node_serving(r);
  return judge_client(r);
}

}  // namespace trama::control
