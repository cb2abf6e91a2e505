// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/removals.h"

#include <fmt/format.h>

#include "control/api/selector.h"
#include "control/server/answers.h"
#include "control/server/body.h"
#include "control/server/commit.h"
#include "control/server/storage_form.h"

namespace trama::server {

namespace json = api::json;
using api::Answer;
using api::Status;

namespace {

Answer<api::DeleteOptions> delete_options(const Request& r) {
  api::DeleteOptions options;
  if (!r.body.empty()) {
    auto parsed = read_object(r, "DeleteOptions", "DeleteOptions");
    if (!parsed) return parsed.error();
    auto from_body = api::parse_delete_options(*parsed);
    if (!from_body) return from_body.error();
    options = *from_body;
  }
  auto dry = dry_run(r);
  if (!dry) return dry.error();
  options.dry_run |= *dry;
  if (auto grace = r.parameter("gracePeriodSeconds"); !grace.empty()) {
    auto n = number(grace);
    if (!n) return Status::bad_request("gracePeriodSeconds: expected a number of seconds, 0 or more");
    options.grace_seconds = static_cast<std::int64_t>(*n);
  }
  if (auto policy = r.parameter("propagationPolicy"); !policy.empty()) options.propagation = policy;
  return options;
}

}  // namespace

awaitable<Answer<Reply>> remove(Context c, const Request& r, const ResourcePath& path) {
  auto options = delete_options(r);
  if (!options) co_return options.error();
  auto hook = hook_of(c, r, attempt_of(r, path, "delete"));
  store::Decision decide = [&](store::Transaction& tx) {
    return store::remove(tx, storage_kind(*path.kind), key_of(path), *options, now(), hook);
  };
  auto done = co_await commit(c.store, std::move(decide), options->dry_run);
  if (!done) co_return done.error();
  bool stays = api::at((*done)->body, "metadata.deletionTimestamp") != nullptr;
  if (stays || path.kind->resource == "pods") co_return reply_object(r, *path.kind, *done, 200);
  co_return success(key_of(path), (*done)->uid);
}

awaitable<Answer<Reply>> remove_collection(Context c, const Request& r, const ResourcePath& path) {
  auto options = delete_options(r);
  if (!options) co_return options.error();
  auto selector = api::Selector::parse(*path.kind, r.parameter("labelSelector"), r.parameter("fieldSelector"));
  if (!selector) co_return selector.error();
  auto attempt = attempt_of(r, path, "deletecollection");
  if (auto now = co_await c.store.current(); !now) co_return now.error();
  std::string items;
  for (const auto& object : c.store.list(key_of(path).resource, path.ns)) {
    if (!selector->matches(*object)) continue;
    auto hook = hook_of(c, r, attempt);
    store::Decision decide = [&](store::Transaction& tx) {
      return store::remove(tx, storage_kind(*path.kind), object->key, *options, now(), hook);
    };
    auto done = co_await commit(c.store, std::move(decide), options->dry_run);
    if (!done && done.error().code != 404) co_return done.error();
    items += (items.empty() ? "" : ",") + object->text();
  }
  Reply out;
  out.body = fmt::format(
      "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{}\"}},\"items\":[{}]}}",
      path.kind->kind, path.kind->api_version(), c.store.revision(), items);
  co_return out;
}

awaitable<Answer<Reply>> evict(Context c, const Request& r, const ResourcePath& path) {
  auto parsed = read_object(r, "Eviction", "Eviction");
  if (!parsed) co_return parsed.error();
  api::DeleteOptions options;
  if (auto* inner = api::at(*parsed, "deleteOptions"); inner && inner->is_object()) {
    auto read = api::parse_delete_options(inner->get_object());
    if (!read) co_return read.error();
    options = *read;
  }
  // drain --dry-run=server says it here: ignoring it would really take the pod away.
  auto dry = dry_run(r);
  if (!dry) co_return dry.error();
  options.dry_run |= *dry;
  auto hook = hook_of(c, r, attempt_of(r, path, "create"));
  store::Decision decide = [&](store::Transaction& tx) {
    return store::remove(tx, *path.kind, key_of(path), options, now(), hook);
  };
  auto done = co_await commit(c.store, std::move(decide), options.dry_run);
  if (!done) co_return done.error();
  auto out = success(key_of(path), (*done)->uid);
  out.status = 201;
  co_return out;
}

}  // namespace trama::server
