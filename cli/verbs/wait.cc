// SPDX-License-Identifier: GPL-2.0-or-later
#include <cctype>
#include <charconv>
#include <cstdio>

#include "cli/condition.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/verbs/verbs.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;
using Clock = std::chrono::steady_clock;

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  auto wrong = [whole = std::string(text)] {
    return Error::text(fmt::format("\"{}\" is not a duration (expected e.g. 30s, 5m, 1h30m, 250ms)", whole));
  };
  if (text.empty()) return wrong();
  std::int64_t total = 0;
  while (!text.empty()) {
    std::int64_t n = 0;
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (ec != std::errc() || n < 0 || n > 10'000'000) return wrong();
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::int64_t unit = 1000;
    if (text.starts_with("ms"))
      unit = 1, text.remove_prefix(2);
    else if (text.starts_with('s'))
      text.remove_prefix(1);
    else if (text.starts_with('m'))
      unit = 60'000, text.remove_prefix(1);
    else if (text.starts_with('h'))
      unit = 3'600'000, text.remove_prefix(1);
    else if (!text.empty())
      return wrong();
    total += n * unit;
  }
  return std::chrono::milliseconds(total);
}

Result<WaitFor> parse_wait_for(std::string_view text) {
  WaitFor w;
  auto rest_of = [&](std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
  };
  if (text == "delete") {
    w.what = WaitFor::What::removed;
  } else if (text == "create") {
    w.what = WaitFor::What::exists;
  } else if (rest_of("condition=")) {
    w.what = WaitFor::What::condition;
    auto equals = text.find('=');
    w.field = std::string(text.substr(0, equals));
    w.value = equals == std::string_view::npos ? "True" : std::string(text.substr(equals + 1));
  } else if (rest_of("jsonpath=")) {
    w.what = WaitFor::What::field;
    if (text.starts_with('\'') && text.ends_with('\'')) text = text.substr(1, text.size() - 2);
    auto close = text.find('}');
    if (!text.starts_with("{.") || close == std::string_view::npos)
      return Error::text("--for=jsonpath: expected {.field.field}=VALUE, e.g. {.status.phase}=Running");
    w.field = std::string(text.substr(2, close - 2));
    auto rest = text.substr(close + 1);
    w.any_value = rest.empty();
    if (!rest.empty() && !rest.starts_with('=')) return Error::text("--for=jsonpath: expected = behind the }");
    w.value = rest.empty() ? "" : std::string(rest.substr(1));
  } else {
    return Error::text(fmt::format(
        "--for: \"{}\" is nothing to wait for (expected condition=NAME, jsonpath={{.FIELD}}=VALUE, delete or create)",
        text));
  }
  return w;
}

bool holds(const WaitFor& w, const json::object* o) {
  if (!o) return w.what == WaitFor::What::removed;
  switch (w.what) {
    case WaitFor::What::removed: return false;
    case WaitFor::What::exists: return true;
    case WaitFor::What::condition: return condition_is(*o, w.field, w.value);
    case WaitFor::What::field: {
      const auto* v = api::at(*o, w.field);
      if (!v || v->is_null()) return false;
      return w.any_value || (v->is_string() ? std::string(v->get_string()) : json::serialize(*v)) == w.value;
    }
  }
  return false;
}

bool condition_is(const json::object& o, std::string_view type, std::string_view value) {
  for (const auto& c : api::array_at(o, "status.conditions"))
    if (const auto* condition = c.if_object(); condition && api::text_at(*condition, "type") == type)
      return api::text_at(*condition, "status") == value;
  return false;
}

int wait(const Globals& globals, const WaitOptions& options) {
  auto condition = parse_wait_for(options.condition);
  if (!condition) return fail(condition.error());
  bool many = options.all || !options.selector.empty();
  auto references = parse_references(options.what, !many);
  if (!references) return fail(references.error());
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  // A collection is resolved to names once, as kubectl does.
  std::vector<Reference> named;
  for (const auto& r : *references) {
    if (!r.name.empty()) {
      named.push_back(r);
      continue;
    }
    std::vector<Reference> one{r};
    auto objects = fetch(*session->api, one, session->ns, options.selector);
    if (!objects) return fail(objects.error());
    for (const auto& o : *objects) named.push_back(Reference{r.kind, api::text_at(o, "metadata.name")});
  }
  if (named.empty() && condition->what != WaitFor::What::removed)
    return fail(Exit::not_found, "there is nothing that matches");
  auto deadline = Clock::now() + options.timeout;
  int rc = code(Exit::ok);
  for (const auto& r : named) {
    bool found = false;
    auto look = [&](const ObjectSet& now, const json::object*) {
      found = found || !now.empty();
      return holds(*condition, now.empty() ? nullptr : &now.begin()->second);
    };
    auto done = watch_until(*session->api, path_of(*r.kind, session->ns),
                            "fieldSelector=" + encode("metadata.name=" + r.name), look, deadline);
    auto shown = display_name(*r.kind, r.name);
    if (done) {
      fmt::print("{} {}\n", shown, condition->what == WaitFor::What::removed ? "deleted" : "condition met");
      std::fflush(stdout);
    } else if (done.error().is(std::errc::timed_out)) {
      rc =
          found
              ? fail(Exit::timeout,
                     fmt::format("{}: {} does not hold after {} ms", shown, options.condition, options.timeout.count()),
                     fmt::format("trama describe {}/{}", r.kind->singular, r.name))
              : fail(Exit::not_found, fmt::format("{} did not appear within {} ms", shown, options.timeout.count()));
    } else {
      rc = fail(done.error());
    }
  }
  return rc;
}

}  // namespace trama::cli
