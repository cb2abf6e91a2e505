// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/link.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "cli/exit.h"
#include "cli/lab/lab.h"
#include "cli/links/service.h"
#include "cli/table.h"
#include "cli/yaml/emit.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

Result<LabRecord> the_lab(const LabRegistry& registry, const Globals& globals) {
  auto name = globals.lab;
  if (const char* v = std::getenv("TRAMA_LAB"); name.empty() && v) name = v;
  if (!name.empty()) return registry.read(name);
  std::vector<LabRecord> labs;
  for (auto& r : registry.list())
    if (state_of(r) != LabState::broken) labs.push_back(std::move(r));
  if (labs.size() == 1) return std::move(labs[0]);
  if (labs.empty())
    return Error::text("no lab is running on this machine (start one: sudo trama lab up)",
                       std::errc::no_such_file_or_directory);
  std::vector<std::string> names;
  for (const auto& l : labs) names.push_back(l.name);
  return Error::text(fmt::format("several labs are running: which one? Give --lab NAME or TRAMA_LAB=NAME ({})",
                                 fmt::join(names, ", ")));
}

std::vector<std::string> nodes_of(const LabRecord& record) {
  std::vector<std::string> names;
  for (const auto& n : record.nodes) names.push_back(n.name);
  return names;
}

// Root, the lab, its lock; then the job, with the record as it is now.
int with_lab(const Globals& globals, const std::function<Result<>(const LabRegistry&, LabRecord&)>& job) {
  LabRegistry registry;
  auto record = the_lab(registry, globals);
  if (!record) return fail(record.error(), "trama lab ls");
  if (geteuid() != 0)
    return fail(Exit::permission,
                "links are changed in the lab's network namespaces: it needs root (sudo trama link …)");
  auto lock = registry.lock(record->name);
  for (int i = 0; i < 100 && !lock; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    lock = registry.lock(record->name);
  }
  if (!lock) return fail(lock.error(), "again, when it has ended");
  record = registry.read(record->name);
  if (!record) return fail(record.error(), "trama lab ls");
  auto done = job(registry, *record);
  return done ? code(Exit::ok) : fail(done.error());
}

Result<LinkChange> change_of(LinkChange::What what, const LabRecord& record, const std::string& link,
                             const std::string& only, const std::string& lasting) {
  LinkChange c;
  c.what = what;
  auto keys = parse_link(link, nodes_of(record));
  if (!keys) return std::move(keys).error();
  c.keys = std::move(*keys);
  if (!only.empty()) {
    auto match = parse_match(only);
    if (!match) return std::move(match).error().in("--only");
    c.only = *match;
  }
  if (!lasting.empty()) {
    auto span = parse_span(lasting);
    if (!span) return std::move(span).error().in("--for");
    c.lasting = *span;
  }
  return c;
}

struct Counted {
  WireCounters wire;
  bool known = false;
};
Counted counters_of(const json::object& answer, const LinkRule& r) {
  for (const auto& e : api::array_at(answer, "counts")) {
    const auto* o = e.if_object();
    if (!o || api::text_at(*o, "from") != r.key.from || api::text_at(*o, "to") != r.key.to ||
        api::text_at(*o, "only") != r.only.text())
      continue;
    auto n = [&](const char* field) { return static_cast<std::uint64_t>(api::int_at(*o, field)); };
    return {{n("passed"), n("lost"), n("cut"), n("overflowed"), n("reordered")}, true};
  }
  return {};
}

std::string what_of(const LinkRule& r) {
  std::string text = r.cut ? r.cut->text() : "";
  if (r.shape) text += (text.empty() ? "" : "; ") + r.shape->text();
  return text;
}

// "12s": the nearer of two ends; "-" when nothing ends by itself.
std::string left_of(const LinkRule& r, Nanoseconds now) {
  std::optional<Nanoseconds> end;
  for (auto t : {r.shape ? r.shape_term.until : std::nullopt, r.cut ? r.cut_term.until : std::nullopt})
    if (t && (!end || *t < *end)) end = t;
  if (!end) return "-";
  return fmt::format("{:.0f}s", std::max(0.0, static_cast<double>((*end - now).count()) / 1e9));
}

json::value to_json(const LinksSeen& seen, const json::object& answer, const std::string& lab) {
  json::array items;
  auto now = link_clock();
  for (const auto& r : seen.state.rules()) {
    json::object o{{"link", r.key.text()}};
    if (r.only != Match{}) o["only"] = r.only.text();
    if (r.shape)
      o["shape"] = json::object{{"delayMilliseconds", static_cast<double>(r.shape->delay.count()) / 1e6},
                                {"jitterMilliseconds", static_cast<double>(r.shape->jitter.count()) / 1e6},
                                {"lossPercent", r.shape->loss_ppm / 1e4},
                                {"reorderPercent", r.shape->reorder_ppm / 1e4},
                                {"bitsPerSecond", r.shape->rate}};
    if (r.cut) o["down"] = r.cut->text();
    if (auto left = left_of(r, now); left != "-") o["endsIn"] = left;
    o["ofFile"] = (r.shape && r.shape_term.of_file) || (r.cut && r.cut_term.of_file);
    if (auto c = counters_of(answer, r); c.known)
      o["frames"] = json::object{{"passed", c.wire.passed},
                                 {"lost", c.wire.lost},
                                 {"down", c.wire.cut},
                                 {"overflowed", c.wire.overflowed},
                                 {"reordered", c.wire.reordered}};
    items.push_back(std::move(o));
  }
  json::object all{{"lab", lab}, {"inForce", seen.served || seen.state.rules().empty()}, {"items", std::move(items)}};
  if (seen.served) all["backend"] = api::text_at(answer, "backend");
  return all;
}

}  // namespace

int link_set(const Globals& globals, const LinkSetOptions& options) {
  return with_lab(globals, [&](const LabRegistry& registry, LabRecord& record) -> Result<> {
    auto change = change_of(LinkChange::What::set, record, options.link, options.only, options.lasting);
    if (!change) return std::move(change).error();
    auto shape = parse_impairment(options.words);
    if (!shape) return std::move(shape).error();
    change->shape = *shape;
    return change_links(registry, record, *change);
  });
}

int link_cut(const Globals& globals, const LinkCutOptions& options) {
  return with_lab(globals, [&](const LabRegistry& registry, LabRecord& record) -> Result<> {
    auto change = change_of(LinkChange::What::cut, record, options.link, options.only, options.lasting);
    if (!change) return std::move(change).error();
    for (auto [word, into, name] :
         {std::tuple{&options.down, &change->cut_how.down, "--down"}, {&options.up, &change->cut_how.up, "--up"}}) {
      if (word->empty()) continue;
      auto span = parse_span(*word);
      if (!span) return std::move(span).error().in(name);
      if (span->count() < 1'000'000) return Error::text(fmt::format("{}: expected at least 1ms", name));
      *into = *span;
    }
    return change_links(registry, record, *change);
  });
}

int link_mend(const Globals& globals, const LinkMendOptions& options) {
  return with_lab(globals, [&](const LabRegistry& registry, LabRecord& record) -> Result<> {
    auto change = change_of(LinkChange::What::mend, record, options.link, options.only, "");
    if (!change) return std::move(change).error();
    return change_links(registry, record, *change);
  });
}

int link_clear(const Globals& globals, const LinkClearOptions& options) {
  return with_lab(globals, [&](const LabRegistry& registry, LabRecord& record) -> Result<> {
    LinkChange change;
    change.what = LinkChange::What::clear;
    for (const auto& word : options.links) {
      auto keys = parse_link(word, nodes_of(record));
      if (!keys) return std::move(keys).error();
      change.keys.insert(change.keys.end(), keys->begin(), keys->end());
    }
    return change_links(registry, record, change);
  });
}

int link_restore(const Globals& globals) {
  return with_lab(globals, [](const LabRegistry& registry, LabRecord& record) -> Result<> {
    auto done = restore_links(registry, record);
    if (!done) return std::move(done).error();
    if (!*done) fmt::print(stderr, "nothing to restore: the links of lab {} are as they shall be\n", record.name);
    return {};
  });
}

int link_show(const Globals& globals, const std::string& output) {
  LabRegistry registry;
  auto record = the_lab(registry, globals);
  if (!record) return fail(record.error(), "trama lab ls");
  if (geteuid() != 0) return fail(Exit::permission, "what links do is told to root only (sudo trama link show)");
  auto seen = look_at_links(registry, record->name);
  json::object answer;
  if (seen.served) {
    auto told = ask_links(registry, record->name, json::object{{"do", "show"}});
    if (told)
      answer = std::move(*told);
    else
      seen.served = false;
  }
  auto warning = seen.warning(record->name);
  if (output == "json" || output == "yaml") {
    auto v = to_json(seen, answer, record->name);
    std::fputs((output == "json" ? to_pretty_json(v) : to_yaml(v)).c_str(), stdout);
  } else if (seen.state.rules().empty()) {
    fmt::print(stderr, "every link of lab {} is as good as new\n", record->name);
  } else {
    Table t;
    t.header = {"LINK", "ONLY", "DOES", "ENDS IN", "PASSED", "LOST", "TOO MUCH"};
    auto now = link_clock();
    for (const auto& r : seen.state.rules()) {
      auto c = counters_of(answer, r);
      auto number = [&](std::uint64_t n) { return c.known ? std::to_string(n) : std::string("-"); };
      t.rows.push_back({r.key.text(), r.only.text().empty() ? "-" : r.only.text(), what_of(r), left_of(r, now),
                        number(c.wire.passed), number(c.wire.lost + c.wire.cut), number(c.wire.overflowed)});
    }
    std::fputs(t.to_text().c_str(), stdout);
  }
  if (warning.empty()) return code(Exit::ok);
  return fail(Exit::no, warning, "sudo trama link restore");
}

}  // namespace trama::cli
