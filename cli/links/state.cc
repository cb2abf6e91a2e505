// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/state.h"

#include <algorithm>

#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

json::object to_json(const Impairment& i) {
  return {{"delay", i.delay.count()},
          {"jitter", i.jitter.count()},
          {"loss", i.loss_ppm},
          {"reorder", i.reorder_ppm},
          {"rate", i.rate}};
}
json::object to_json(const Cut& c) { return {{"down", c.down.count()}, {"up", c.up.count()}}; }
json::array to_json(const std::vector<LinkKey>& keys) {
  json::array out;
  for (const auto& k : keys) out.push_back(json::object{{"from", k.from}, {"to", k.to}});
  return out;
}

// Bounded, so that sums of a few are safe: three years.
Nanoseconds span_at(const json::object& o, const char* field) {
  return Nanoseconds(std::clamp<std::int64_t>(api::int_at(o, field), 0, 100'000'000'000'000'000));
}
std::uint32_t share_at(const json::object& o, const char* field) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(api::int_at(o, field), 0, 1'000'000));
}
Impairment impairment_of(const json::object& o) {
  Impairment i;
  i.delay = span_at(o, "delay"), i.jitter = span_at(o, "jitter");
  i.loss_ppm = share_at(o, "loss"), i.reorder_ppm = share_at(o, "reorder");
  i.rate = static_cast<std::uint64_t>(std::max<std::int64_t>(0, api::int_at(o, "rate")));
  return i;
}
Cut cut_of(const json::object& o) { return {span_at(o, "down"), span_at(o, "up")}; }
LinkKey key_of(const json::object& o) { return {api::text_at(o, "from"), api::text_at(o, "to")}; }
Match match_of(const json::object& o) {
  auto text = api::text_at(o, "only");
  auto m = parse_match(text);
  return m ? *m : Match{};
}
std::vector<LinkKey> keys_of(const json::object& o) {
  std::vector<LinkKey> keys;
  for (const auto& e : api::array_at(o, "keys"))
    if (const auto* k = e.if_object()) keys.push_back(key_of(*k));
  return keys;
}

json::object to_json(const Term& t) {
  json::object o{{"since", t.since.count()}, {"ofFile", t.of_file}};
  if (t.until) o["until"] = t.until->count();
  return o;
}
Term term_of(const json::object& o) {
  Term t;
  t.since = span_at(o, "since");
  t.of_file = api::bool_at(o, "ofFile");
  if (o.contains("until")) t.until = span_at(o, "until");
  return t;
}

constexpr std::pair<LinkChange::What, const char*> kVerbs[] = {{LinkChange::What::set, "set"},
                                                               {LinkChange::What::cut, "cut"},
                                                               {LinkChange::What::mend, "mend"},
                                                               {LinkChange::What::clear, "clear"},
                                                               {LinkChange::What::file, "file"}};

std::string name_of(const std::vector<LinkKey>& keys) {
  std::vector<std::string> names;
  for (const auto& k : keys) names.push_back(k.text());
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

json::object to_json(const LinkChange& c) {
  json::object o;
  for (auto [what, name] : kVerbs)
    if (what == c.what) o["do"] = name;
  o["keys"] = to_json(c.keys);
  o["only"] = c.only.text();
  o["shape"] = to_json(c.shape);
  o["cut"] = to_json(c.cut_how);
  if (c.lasting) o["lasting"] = c.lasting->count();
  json::array specs;
  for (const auto& s : c.specs) {
    json::object e{{"keys", to_json(s.keys)}, {"only", s.only.text()}};
    if (s.shape) e["shape"] = to_json(*s.shape);
    if (s.cut) e["cut"] = to_json(*s.cut);
    specs.push_back(std::move(e));
  }
  o["specs"] = std::move(specs);
  return o;
}

Result<LinkChange> parse_change(const json::object& o) {
  LinkChange c;
  auto verb = api::text_at(o, "do");
  auto known = std::find_if(std::begin(kVerbs), std::end(kVerbs), [&](const auto& v) { return verb == v.second; });
  if (known == std::end(kVerbs)) return Error::text(fmt::format("\"{}\" is nothing that links can do", verb));
  c.what = known->first;
  c.keys = keys_of(o);
  c.only = match_of(o);
  c.shape = impairment_of(api::object_at(o, "shape"));
  c.cut_how = cut_of(api::object_at(o, "cut"));
  if (o.contains("lasting")) c.lasting = span_at(o, "lasting");
  for (const auto& e : api::array_at(o, "specs")) {
    const auto* s = e.if_object();
    if (!s) continue;
    LinkSpec spec{keys_of(*s), match_of(*s), {}, {}};
    if (s->contains("shape")) spec.shape = impairment_of(api::object_at(*s, "shape"));
    if (s->contains("cut")) spec.cut = cut_of(api::object_at(*s, "cut"));
    c.specs.push_back(std::move(spec));
  }
  return c;
}

LinkRule& LinkState::at(const LinkKey& key, const Match& only) {
  for (auto& r : rules_)
    if (r.key == key && r.only == only) return r;
  rules_.push_back(LinkRule{key, only, {}, {}, {}, {}});
  return rules_.back();
}

void LinkState::tidy() {
  std::erase_if(rules_, [](const LinkRule& r) { return !r.shape && !r.cut; });
  std::stable_sort(rules_.begin(), rules_.end(), [](const LinkRule& a, const LinkRule& b) {
    if (a.key != b.key) return a.key < b.key;
    if (a.only.specific() != b.only.specific()) return a.only.specific() > b.only.specific();
    return a.only < b.only;
  });
}

Result<> LinkState::apply(const LinkChange& c, Nanoseconds now) {
  Term term{now, c.lasting ? std::optional(now + *c.lasting) : std::nullopt, false};
  auto touches = [&](const LinkRule& r) { return std::find(c.keys.begin(), c.keys.end(), r.key) != c.keys.end(); };
  switch (c.what) {
    case LinkChange::What::set:
      for (const auto& k : c.keys) {
        auto& r = at(k, c.only);
        r.shape = c.shape, r.shape_term = term;
      }
      break;
    case LinkChange::What::cut:
      for (const auto& k : c.keys) {
        auto& r = at(k, c.only);
        r.cut = c.cut_how, r.cut_term = term;
      }
      break;
    case LinkChange::What::mend: {
      bool any = false;
      for (auto& r : rules_)
        if (touches(r) && r.only == c.only && r.cut) r.cut.reset(), r.cut_term = {}, any = true;
      if (!any)
        return Error::text(fmt::format("{} is not down", name_of(c.keys)), std::errc::no_such_file_or_directory);
      break;
    }
    case LinkChange::What::clear: {
      auto gone = std::erase_if(rules_, [&](const LinkRule& r) { return c.keys.empty() || touches(r); });
      if (!gone && !c.keys.empty())
        return Error::text(fmt::format("nothing is set on {}", name_of(c.keys)), std::errc::no_such_file_or_directory);
      break;
    }
    case LinkChange::What::file:
      for (auto& r : rules_) {
        if (r.shape && r.shape_term.of_file) r.shape.reset(), r.shape_term = {};
        if (r.cut && r.cut_term.of_file) r.cut.reset(), r.cut_term = {};
      }
      term.of_file = true;
      for (const auto& s : c.specs)
        for (const auto& k : s.keys) {
          auto& r = at(k, s.only);
          if (s.shape) r.shape = s.shape, r.shape_term = term;
          if (s.cut) r.cut = s.cut, r.cut_term = term;
        }
      break;
  }
  tidy();
  return {};
}

bool LinkState::expire(Nanoseconds now) {
  bool any = false;
  for (auto& r : rules_) {
    if (r.shape && r.shape_term.until && *r.shape_term.until <= now) r.shape.reset(), r.shape_term = {}, any = true;
    if (r.cut && r.cut_term.until && *r.cut_term.until <= now) r.cut.reset(), r.cut_term = {}, any = true;
  }
  if (any) tidy();
  return any;
}

std::optional<Nanoseconds> LinkState::next(Nanoseconds now) const {
  std::optional<Nanoseconds> first;
  auto take = [&](std::optional<Nanoseconds> t) {
    if (t && (!first || *t < *first)) first = t;
  };
  for (const auto& r : rules_) {
    if (r.shape) take(r.shape_term.until);
    if (r.cut) take(r.cut_term.until), take(next_flip(*r.cut, r.cut_term.since, now));
  }
  return first;
}

std::string LinkState::to_json_text() const {
  json::array rules;
  for (const auto& r : rules_) {
    json::object o{{"from", r.key.from}, {"to", r.key.to}, {"only", r.only.text()}};
    if (r.shape) o["shape"] = to_json(*r.shape), o["shapeTerm"] = to_json(r.shape_term);
    if (r.cut) o["cut"] = to_json(*r.cut), o["cutTerm"] = to_json(r.cut_term);
    rules.push_back(std::move(o));
  }
  json::object all{{"seed", seed_}, {"rules", std::move(rules)}};
  return json::serialize(all) + "\n";
}

Result<LinkState> LinkState::parse(std::string_view text) {
  boost::system::error_code ec;
  auto v = json::parse(text, ec);
  if (ec || !v.is_object()) return Error::text("the record of the lab's links is not JSON");
  const auto& all = v.get_object();
  LinkState state(static_cast<std::uint64_t>(api::int_at(all, "seed")));
  for (const auto& e : api::array_at(all, "rules")) {
    const auto* o = e.if_object();
    if (!o) continue;
    auto key = key_of(*o);
    if (key.from.empty() || key.to.empty()) continue;
    auto& r = state.at(key, match_of(*o));
    if (o->contains("shape"))
      r.shape = impairment_of(api::object_at(*o, "shape")), r.shape_term = term_of(api::object_at(*o, "shapeTerm"));
    if (o->contains("cut"))
      r.cut = cut_of(api::object_at(*o, "cut")), r.cut_term = term_of(api::object_at(*o, "cutTerm"));
  }
  state.tidy();
  return state;
}

}  // namespace trama::cli
