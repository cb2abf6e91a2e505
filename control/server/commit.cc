// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/commit.h"

#include <fmt/format.h>

namespace trama::server {

namespace json = api::json;
using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;

store::Hook hook_of(const Context& c, const Request& r, const Attempt& attempt) {
  return [&c, &r, attempt](store::Transaction& tx, const Key& key, const api::Object* old,
                           json::object* body) -> std::optional<Status> {
    if (auto refused = authorize_object(r.identity, attempt, old, body, c.known())) return refused;
    for (const auto& admission : c.options.admissions)
      if (auto refused = admission(tx, key, old, body, r.identity)) return refused;
    return std::nullopt;
  };
}

Answer<bool> dry_run(const Request& r) {
  bool wanted = false;
  auto it = r.query.find("dryRun");
  if (it == r.query.end()) return wanted;
  for (const auto& v : it->second) {
    if (v != "All")
      return Status::invalid(Key{}, "DryRun",
                             {{"FieldValueNotSupported",
                               fmt::format("Unsupported value: \"{}\": supported values: \"All\"", v), "dryRun"}});
    wanted = true;
  }
  return wanted;
}

// The error channel carries the object out of the transaction.
awaitable<Answer<ObjectPtr>> commit(store::Store& store, store::Decision decide, bool dry) {
  if (!dry) co_return co_await store.write(std::move(decide));
  auto result = std::make_shared<std::optional<Answer<ObjectPtr>>>();
  auto rehearsal = [decide = std::move(decide), result](store::Transaction& tx) -> Answer<ObjectPtr> {
    result->reset();
    *result = decide(tx);
    return Status::internal("dry run");  // an error leaves the store untouched
  };
  store::Decision rehearse = rehearsal;
  auto said = co_await store.write(std::move(rehearse));
  // Another error than the one above: it was not rehearsed, or not against the newest state.
  if (!*result || said.error().code != 500) co_return said.error();
  co_return std::move(**result);
}

}  // namespace trama::server
