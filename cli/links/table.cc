// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/table.h"

#include <map>

#include <netinet/in.h>

namespace trama::cli {

namespace {

constexpr std::uint32_t kOwned = 2;  // NFT_TABLE_F_OWNER, which older headers do not have

// "n1", "" = whichever.
struct Way {
  std::string in, out;
};

nft::Rule drop_rule(const Way& way, const Match& only, const std::string& comment) {
  std::string text;
  nft::Exprs matches;
  auto add = [&](const std::string& words, nft::Exprs more) {
    text += words + " ";
    matches.insert(matches.end(), more.begin(), more.end());
  };
  if (!way.in.empty()) add(fmt::format("iifname \"{}\"", way.in), nft::match_iifname(way.in));
  if (!way.out.empty()) add(fmt::format("oifname \"{}\"", way.out), nft::match_oifname(way.out));
  if (only.port)
    add(fmt::format("{} dport {}", only.protocol == IPPROTO_TCP ? "tcp" : "udp", *only.port),
        nft::match_dport(only.protocol, *only.port));
  else if (only.protocol)
    add("meta l4proto " + only.text(), nft::match_l4proto(only.protocol));
  text += "counter packets 0 bytes 0 drop";
  return nft::Rule(text).add(std::move(matches)).add(nft::counter()).add(nft::drop()).comment(comment);
}

}  // namespace

nft::Blueprint link_table(const LinkPlace& place, const std::vector<LinkRule>& rules, const Ways& carried,
                          Nanoseconds now) {
  nft::Blueprint out;
  out.table = {nft::Family::bridge, "trama-links", "trama: links that are down or carried by the relay", kOwned};
  std::map<std::string, std::string> ports;
  for (const auto& n : place.nodes) ports[n.name] = n.port;

  nft::Blueprint::ChainRules forward, input, output;
  auto base = [](nft::Blueprint::ChainRules& c, const char* name, nft::Hook hook) {
    c.chain.name = name;
    c.chain.base = nft::Chain::Base{nft::ChainType::filter, hook, -200, false};
  };
  base(forward, "forward", nft::Hook::forward);
  base(input, "input", nft::Hook::input);
  base(output, "output", nft::Hook::output);
  forward.rules.push_back(nft::Rule(fmt::format("iifname \"{}\" drop", kRelayDevice))
                              .add(nft::match_iifname(kRelayDevice))
                              .add(nft::drop())
                              .comment("what the relay brings is for the switch itself"));
  for (const auto& r : rules) {
    if (!r.cut || !is_down_at(*r.cut, r.cut_term.since, now)) continue;
    auto comment = r.key.text() + " is down";
    if (r.key.to == kSwitch) {
      forward.rules.push_back(drop_rule({ports[r.key.from], ""}, r.only, comment));
      input.rules.push_back(drop_rule({ports[r.key.from], ""}, r.only, comment));
    } else if (r.key.from == kSwitch) {
      forward.rules.push_back(drop_rule({"", ports[r.key.to]}, r.only, comment));
      output.rules.push_back(drop_rule({"", ports[r.key.to]}, r.only, comment));
    } else {
      forward.rules.push_back(drop_rule({ports[r.key.from], ports[r.key.to]}, r.only, comment));
    }
  }
  for (const auto& [from, to] : carried) {
    auto comment = fmt::format("{}>{} is carried by the relay", from, to);
    if (to == kSwitch)
      input.rules.push_back(drop_rule({ports[from], ""}, {}, comment));
    else if (from == kSwitch)
      output.rules.push_back(drop_rule({"", ports[to]}, {}, comment));
    else
      forward.rules.push_back(drop_rule({ports[from], ports[to]}, {}, comment));
  }
  out.chains = {std::move(forward), std::move(input), std::move(output)};
  return out;
}

}  // namespace trama::cli
