// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/apply.h"

#include <algorithm>
#include <cstdio>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/patch.h"
#include "cli/verbs/verbs.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

std::string dry(DryRun d) { return d == DryRun::server ? "?dryRun=All" : ""; }

// Namespaces first: everything else may live in them.
void namespaces_first(std::vector<Manifest>& manifests) {
  std::stable_partition(manifests.begin(), manifests.end(),
                        [](const Manifest& m) { return m.kind->kind == "Namespace"; });
}

std::string namespace_of(const Manifest& m, const std::string& fallback) {
  if (!m.kind->namespaced) return "";
  return m.ns.empty() ? fallback : m.ns;
}

Call write_call(std::string method, std::string path, const json::object& body, std::string type = "application/json") {
  Call c;
  c.method = std::move(method);
  c.path = std::move(path);
  c.body = json::serialize(body);
  c.content_type = std::move(type);
  return c;
}

// The server's complaints, each with the file and line of the field it is about.
Error refused(const Manifest& m, const Answer& a) {
  auto error = error_of(a);
  std::string text;
  if (a.body.is_object())
    for (const auto& c : api::array_at(a.body.get_object(), "details.causes")) {
      const auto* cause = c.if_object();
      if (!cause) continue;
      text += (text.empty() ? "" : "\n  ") +
              m.mistake(api::text_at(*cause, "field"), api::text_at(*cause, "message")).to_string();
    }
  if (text.empty()) text = m.mistake("", error.to_string()).to_string();
  auto generic = static_cast<std::errc>(error.code().default_error_condition().value());
  return Error::text(text, generic);
}

// What an apply may change: the status and the version are other people's.
json::object own_part(json::object o) {
  o.erase("status");
  if (auto* metadata = o.if_contains("metadata"); metadata && metadata->is_object())
    for (auto field : {"resourceVersion", "managedFields", "generation"}) metadata->get_object().erase(field);
  return o;
}

Result<Applied> patch_existing(Api& api, const Manifest& m, const std::string& path, const json::object& now,
                               DryRun dry_run) {
  boost::system::error_code ec;
  auto last = json::parse(
      [&] {
        const auto& annotations = api::object_at(now, "metadata.annotations");
        const auto* text = annotations.if_contains(kLastApplied);
        return text && text->is_string() ? std::string(text->get_string()) : std::string("{}");
      }(),
      ec);
  json::object last_applied = !ec && last.is_object() ? last.get_object() : json::object();
  auto answer = api.call(write_call("PATCH", path + dry(dry_run), apply_patch(m.object, last_applied),
                                    "application/strategic-merge-patch+json"));
  if (!answer) return std::move(answer).error();
  if (!answer->ok()) return refused(m, *answer);
  Applied out;
  out.object = answer->body.is_object() ? answer->body.get_object() : json::object();
  bool same = own_part(out.object) == own_part(now);
  out.outcome = same ? Outcome::unchanged : Outcome::configured;
  out.warnings = std::move(answer->warnings);
  return out;
}

}  // namespace

Result<Applied> apply_one(Api& api, const Manifest& m, const std::string& fallback_ns, DryRun dry_run) {
  auto ns = namespace_of(m, fallback_ns);
  if (m.name.empty()) return m.mistake("metadata.name", "is missing: generateName needs `trama create`");
  auto path = path_of(*m.kind, ns, m.name);
  // Two tries: an object may come or go between looking and writing.
  for (int attempt = 0;; ++attempt) {
    Call look;
    look.path = path;
    auto now = api.call(look);
    if (!now) return std::move(now).error();
    if (now->ok() && now->body.is_object()) {
      auto done = patch_existing(api, m, path, now->body.get_object(), dry_run);
      if (done || attempt > 0 || !done.error().is(std::errc::no_such_file_or_directory)) return done;
      continue;
    }
    if (now->status != 404) return error_of(*now);
    auto answer = api.call(write_call("POST", path_of(*m.kind, ns) + dry(dry_run), with_last_applied(m.object)));
    if (!answer) return std::move(answer).error();
    if (answer->reason == "AlreadyExists" && attempt == 0) continue;
    if (!answer->ok()) return refused(m, *answer);
    Applied out;
    out.outcome = Outcome::created;
    out.object = answer->body.is_object() ? answer->body.get_object() : json::object();
    out.warnings = std::move(answer->warnings);
    return out;
  }
}

const char* to_text(Outcome o) {
  switch (o) {
    case Outcome::created: return "created";
    case Outcome::configured: return "configured";
    case Outcome::unchanged: return "unchanged";
  }
  return "";
}

namespace {

const char* suffix(DryRun d) {
  return d == DryRun::none ? "" : d == DryRun::client ? " (dry run: only read)" : " (dry run: nothing was stored)";
}

using One = Result<Applied> (*)(Api&, const Manifest&, const std::string&, DryRun);

int write_all(const Globals& globals, const ApplyOptions& options, One one) {
  auto manifests = read_manifests(options.files);
  if (!manifests) return fail(manifests.error());
  namespaces_first(*manifests);
  if (options.dry_run == DryRun::client) {
    for (const auto& m : *manifests) fmt::print("{} valid{}\n", display_name(*m.kind, m.name), suffix(options.dry_run));
    return code(Exit::ok);
  }
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  int rc = code(Exit::ok);
  for (const auto& m : *manifests) {
    if (!globals.ns.empty() && !m.ns.empty() && m.ns != globals.ns && m.kind->namespaced) {
      rc = fail(m.mistake("metadata.namespace", fmt::format("is \"{}\", but -n says \"{}\"", m.ns, globals.ns)));
      continue;
    }
    auto done = one(*session->api, m, session->ns, options.dry_run);
    if (!done) {
      rc = fail(done.error());
      if (rc == code(Exit::unreachable) || rc == code(Exit::interrupted)) return rc;
      continue;
    }
    for (const auto& w : done->warnings) fmt::print(stderr, "warning: {}\n", w);
    fmt::print("{} {}{}\n", display_name(*m.kind, api::text_at(done->object, "metadata.name", m.name)),
               to_text(done->outcome), suffix(options.dry_run));
    std::fflush(stdout);
  }
  return rc;
}

Result<Applied> create_one(Api& api, const Manifest& m, const std::string& fallback_ns, DryRun dry_run) {
  auto answer = api.call(write_call("POST", path_of(*m.kind, namespace_of(m, fallback_ns)) + dry(dry_run), m.object));
  if (!answer) return std::move(answer).error();
  if (!answer->ok()) return refused(m, *answer);
  Applied out;
  out.outcome = Outcome::created;
  out.object = answer->body.is_object() ? answer->body.get_object() : json::object();
  out.warnings = std::move(answer->warnings);
  return out;
}

}  // namespace

int apply(const Globals& globals, const ApplyOptions& options) { return write_all(globals, options, apply_one); }
int create(const Globals& globals, const ApplyOptions& options) { return write_all(globals, options, create_one); }

}  // namespace trama::cli
