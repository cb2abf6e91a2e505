// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/manifest.h"
#include "cli/verbs/verbs.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;
using Clock = std::chrono::steady_clock;

namespace {

struct Target {
  const Kind* kind = nullptr;
  std::string ns, name;
};

Result<std::vector<Target>> named_targets(Session& session, const DeleteOptions& options) {
  std::vector<Target> out;
  bool many = options.all || !options.selector.empty();
  auto references = parse_references(options.what, !many);
  if (!references) return std::move(references).error();
  for (const auto& r : *references) {
    if (!r.name.empty()) {
      out.push_back(Target{r.kind, r.kind->namespaced ? session.ns : "", r.name});
      continue;
    }
    std::vector<Reference> one{r};
    auto objects = fetch(*session.api, one, session.ns, options.selector);
    if (!objects) return std::move(objects).error();
    for (const auto& o : *objects)
      out.push_back(Target{r.kind, api::text_at(o, "metadata.namespace"), api::text_at(o, "metadata.name")});
  }
  return out;
}

}  // namespace

int remove(const Globals& globals, const DeleteOptions& options) {
  if (options.what.empty() == options.files.empty())
    return fail(Exit::usage, "say what to delete: KIND/NAME, KIND NAME…, KIND -l SELECTOR, KIND --all, or -f FILE");
  std::vector<Target> targets;
  std::vector<Manifest> manifests;
  if (!options.files.empty()) {
    auto read = read_manifests(options.files);
    if (!read) return fail(read.error());
    manifests = std::move(*read);
  }
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  if (options.files.empty()) {
    auto named = named_targets(*session, options);
    if (!named) return fail(named.error());
    targets = std::move(*named);
  }
  for (const auto& m : manifests)
    targets.push_back(Target{m.kind, m.kind->namespaced ? (m.ns.empty() ? session->ns : m.ns) : "", m.name});
  if (targets.empty()) fmt::print(stderr, "there is nothing to delete\n");

  int rc = code(Exit::ok);
  auto deadline = Clock::now() + options.timeout;
  std::vector<std::pair<Target, std::string>> going;  // with the uid
  for (const auto& t : targets) {
    Call c;
    c.method = "DELETE";
    c.path = path_of(*t.kind, t.ns, t.name);
    json::object how;
    how["apiVersion"] = "v1";
    how["kind"] = "DeleteOptions";
    if (options.now) how["gracePeriodSeconds"] = 0;
    c.body = json::serialize(how);
    auto answer = session->api->object(std::move(c));
    if (!answer) {
      // Files describe what should not be there: what is not there already is no failure.
      if (answer.error().is(std::errc::no_such_file_or_directory) && !manifests.empty()) continue;
      rc = fail(answer.error());
      continue;
    }
    fmt::print("{} deleted\n", display_name(*t.kind, t.name));
    std::fflush(stdout);
    // Either the object as it is being deleted, or a Status with its uid.
    auto uid = api::text_at(*answer, "metadata.uid");
    if (uid.empty()) uid = api::text_at(*answer, "details.uid");
    if (options.wait && !uid.empty()) going.emplace_back(t, uid);
  }
  for (const auto& [t, uid] : going) {
    auto gone = wait_until_gone(*session->api, *t.kind, t.ns, t.name, uid, deadline);
    if (gone) continue;
    if (gone.error().is(std::errc::timed_out))
      rc = fail(Exit::timeout,
                fmt::format("{} is still there after {} s", display_name(*t.kind, t.name), options.timeout.count()),
                fmt::format("trama describe {}/{}", t.kind->singular, t.name));
    else
      rc = fail(gone.error());
  }
  return rc;
}

}  // namespace trama::cli
