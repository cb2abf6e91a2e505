// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands/program.h"

#ifdef TRAMA_WITH_CLI_LAB
#include "base/log.h"
#include "cli/exit.h"
#include "cli/links/link.h"
#include "cli/links/service.h"
#endif

namespace trama::cli {

#ifndef TRAMA_WITH_CLI_LAB
void add_link_commands(Program&) {}
#else
namespace {

constexpr const char* kLink = "n1-n2: both ways; n1>n2: one way; n1: the node's own cable; n1>switch, switch>n1";
constexpr const char* kOnly = "Only these frames: udp:PORT, tcp:PORT (destination), udp, tcp, icmp";
constexpr const char* kFor = "It ends by itself after this time";

void add_cuts(Program& p, CLI::App* link) {
  auto* globals = &p.globals;
  auto cut = [globals](const LinkCutOptions& o) { return link_cut(*globals, o); };
  // Two words for one thing: a cable that is pulled, frames that are dropped.
  for (auto [name, what] : {std::pair{"down", "Pull a link's cable: nothing passes until `link up`"},
                            {"drop", "Drop a link's frames, e.g. of one kind and one way: n1>n2 --only udp:6784"}}) {
    auto* c = link->add_subcommand(name, what);
    auto o = p.verb<LinkCutOptions>(c, cut);
    c->add_option("link", o->link, kLink)->required();
    c->add_option("--only", o->only, kOnly);
    c->add_option("--for", o->lasting, kFor);
  }
  auto* flap = link->add_subcommand("flap", "Pull a link's cable and put it back in turn, down first");
  auto f = p.verb<LinkCutOptions>(flap, cut);
  f->down = "2s", f->up = "3s";
  flap->add_option("link", f->link, kLink)->required();
  flap->add_option("--down", f->down, "How long it is down")->capture_default_str();
  flap->add_option("--up", f->up, "How long it is up")->capture_default_str();
  flap->add_option("--only", f->only, kOnly);
  flap->add_option("--for", f->lasting, kFor);

  auto* up = link->add_subcommand("up", "Put a link's cable back; what was set besides stays");
  auto m = p.verb<LinkMendOptions>(up, [globals](const LinkMendOptions& o) { return link_mend(*globals, o); });
  up->add_option("link", m->link, kLink)->required();
  up->add_option("--only", m->only, kOnly);
}

}  // namespace

void add_link_commands(Program& p) {
  auto* link = p.app.add_subcommand("link", "The links of a running lab: slow, lossy, down, and as they were")
                   ->group("Labs")
                   ->fallthrough();
  link->require_subcommand(0, 1);
  auto* globals = &p.globals;

  auto* set = link->add_subcommand("set", "Make a link slow or lossy; replaces what was set on it before");
  auto s = p.verb<LinkSetOptions>(set, [globals](const LinkSetOptions& o) { return link_set(*globals, o); });
  set->add_option("link", s->link, kLink)->required();
  set->add_option("--delay", s->words.delay, "How long each frame takes, e.g. 20ms");
  set->add_option("--jitter", s->words.jitter, "By how much that varies, either way");
  set->add_option("--loss", s->words.loss, "Which share of frames is lost, e.g. 1%");
  set->add_option("--reorder", s->words.reorder, "Which share of frames overtakes the delayed ones");
  set->add_option("--rate", s->words.rate, "Bits per second, e.g. 10mbit");
  set->add_option("--only", s->only, kOnly);
  set->add_option("--for", s->lasting, kFor);
  add_cuts(p, link);

  auto* clear = link->add_subcommand("clear", "Make links as good as new: the ones named, or all");
  auto c = p.verb<LinkClearOptions>(clear, [globals](const LinkClearOptions& o) { return link_clear(*globals, o); });
  clear->add_option("links", c->links, kLink);

  struct ShowOptions {
    std::string output = "table";
  };
  auto* show = link->add_subcommand("show", "What is set, for how long, and what has become of frames");
  auto w = p.verb<ShowOptions>(show, [globals](const ShowOptions& o) { return link_show(*globals, o.output); });
  show->add_option("-o,--output", w->output, "table, json, yaml")
      ->check(CLI::IsMember(std::vector<std::string>{"table", "json", "yaml"}));

  struct Nothing {};
  auto* restore = link->add_subcommand("restore", "Keep rules up again whose service was lost");
  p.verb<Nothing>(restore, [globals](const Nothing&) { return link_restore(*globals); });

  auto* serve = link->add_subcommand("serve", "The process behind a lab's links")->group("");
  auto v = p.verb<LinkServiceOptions>(serve, [](const LinkServiceOptions& o) {
    if (auto r = base::configure_logging("info"); !r) return fail(r.error());
    return serve_links(o);
  });
  serve->add_option("lab", v->lab, "Lab")->required();
  serve->add_option("--backend", v->backend, "auto, netem, relay")
      ->check(CLI::IsMember(std::vector<std::string>{"auto", "netem", "relay"}));
  serve->add_option("--ready-fd", v->ready_fd, "Write READY to this descriptor");
}
#endif

}  // namespace trama::cli
