// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/obstacles.h"

#include <fmt/format.h>

namespace trama::agent {
namespace {

namespace json = boost::json;
using nft::Hook;

bool ours(const std::string& table) { return table == "trama" || table.starts_with("trama-"); }

const char* name_of(Hook hook) {
  switch (hook) {
    case Hook::prerouting: return "prerouting";
    case Hook::input: return "input";
    case Hook::forward: return "forward";
    case Hook::output: return "output";
    case Hook::postrouting: return "postrouting";
  }
  return nullptr;  // ingress: not among those that packets of pods are known to meet
}

const char* harm_of(Hook hook) {
  switch (hook) {
    case Hook::prerouting: return "drops what comes from pods and peers before Services are looked up";
    case Hook::input: return "drops packets of the overlay from peers and connections to endpoints on the node itself";
    case Hook::forward: return "drops connections between pods, and of pods and clients outside to Services";
    case Hook::output: return "drops connections of the node itself to pods and Services, and packets of the overlay";
    case Hook::postrouting: return "drops whatever leaves for pods and peers";
  }
  return "";
}

std::string remedy_of(const nft::ChainSeen& c, const std::string& table) {
  // Made by iptables-nft, and by Docker through it: iptables must know, or it writes its own idea back.
  bool iptables = c.table == "filter" && (c.family == nft::Family::ip || c.family == nft::Family::ip6) &&
                  (c.chain.name == "FORWARD" || c.chain.name == "INPUT" || c.chain.name == "OUTPUT");
  const char* program = c.family == nft::Family::ip6 ? "ip6tables" : "iptables";
  if (iptables && c.chain.name == "FORWARD")
    return fmt::format("{0} -P FORWARD ACCEPT, or {0} -I FORWARD -s <pod CIDR> -j ACCEPT and the same with -d",
                       program);
  if (iptables) return fmt::format("{} -I {} -p udp --dport 6784 -j ACCEPT", program, c.chain.name);
  return fmt::format("accept the pod CIDRs and udp port 6784 in it, or nft 'chain {} {} {{ policy accept; }}'", table,
                     c.chain.name);
}

}  // namespace

std::string Obstacle::line() const {
  return fmt::format("table {}, chain {} (hook {}, policy drop) {} unless a rule of it accepts them; to do: {}", table,
                     chain, hook, harm, remedy);
}

std::vector<Obstacle> find_obstacles(const std::vector<nft::ChainSeen>& base_chains) {
  std::vector<Obstacle> out;
  for (const auto& c : base_chains) {
    bool routed = c.family == nft::Family::ip || c.family == nft::Family::ip6 || c.family == nft::Family::inet;
    if (!routed || !c.chain.base || !c.chain.base->drop || ours(c.table)) continue;
    const char* hook = name_of(c.chain.base->hook);
    if (!hook) continue;
    Obstacle o;
    o.table = nft::to_string(c.family) + " " + c.table, o.chain = c.chain.name;
    o.hook = hook, o.harm = harm_of(c.chain.base->hook), o.remedy = remedy_of(c, o.table);
    out.push_back(std::move(o));
  }
  return out;
}

ObstacleVerdict judge_obstacles(const std::vector<Obstacle>& obstacles) {
  if (obstacles.empty()) return {"NoForeignDrops", "no foreign chain drops by policy what pods and Services need"};
  std::string names;
  for (const auto& o : obstacles) names += fmt::format("{}{} {}", names.empty() ? "" : ", ", o.table, o.chain);
  return {"ForeignChainDrops", fmt::format("these chains drop by policy: {}; {}", names, obstacles.front().line())};
}

json::array obstacles_page(const std::vector<Obstacle>& obstacles) {
  json::array out;
  for (const auto& o : obstacles) {
    json::object item;
    item["table"] = o.table, item["chain"] = o.chain, item["hook"] = o.hook;
    item["harm"] = o.harm, item["remedy"] = o.remedy;
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace trama::agent
