// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/handlers.h"

#include <fmt/format.h>

#include "base/async/deadline.h"
#include "control/server/answers.h"
#include "control/server/changes.h"
#include "control/server/discovery.h"
#include "control/server/reads.h"
#include "control/server/removals.h"
#include "control/server/reviews.h"
#include "control/server/tokens.h"

namespace trama::server {

using api::Answer;
using api::Status;

namespace {

awaitable<Answer<Reply>> dispatch(Context c, const Request& r, const ResourcePath& path) {
  if (path.kind->namespaced && path.ns.empty() && !(path.name.empty() && r.method == "GET"))
    co_return Status::bad_request(
        fmt::format("{} live in a namespace: use /namespaces/NAME/{}", path.kind->resource, path.kind->resource));
  bool named = !path.name.empty();
  if (path.subresource == "binding" && r.method == "POST") co_return co_await bind(c, r, path);
  if (path.subresource == "token" && named) {
    if (r.method != "POST") co_return Status::method_not_allowed();
    co_return co_await create_token(c, r, path);
  }
  if (path.subresource == "eviction" && r.method == "POST") co_return co_await evict(c, r, path);
  if (r.method == "GET") {
    if (auto behind = co_await catch_up(c, r)) co_return *behind;
    auto answer = named ? get(c, r, path) : list(c, r, path);
    co_return answer;
  }
  if (r.method == "POST" && !named) co_return co_await create(c, r, path);
  if (r.method == "PUT" && named) co_return co_await update(c, r, path);
  if (r.method == "PATCH" && named) co_return co_await patch(c, r, path);
  if (r.method == "DELETE" && path.subresource.empty()) {
    if (named) co_return co_await remove(c, r, path);
    co_return co_await remove_collection(c, r, path);
  }
  co_return Status::method_not_allowed();
}

// Ready is who can read the newest state, within two seconds.
awaitable<Reply> readiness(Context c, const Request& r) {
  auto ask = [](store::Store& store) -> awaitable<base::Result<std::uint64_t>> {
    auto now = co_await store.current();
    if (!now) co_return base::Error::text(now.error().message, std::errc::not_connected);
    co_return *now;
  };
  auto task = ask(c.store);
  auto now = co_await async::with_deadline(std::move(task), std::chrono::seconds(2), "the store does not answer");
  Reply text;
  text.content_type = "text/plain; charset=utf-8";
  if (!now) text.status = 503;
  if (now && !r.has("verbose")) {
    text.body = "ok";
    co_return text;
  }
  text.body = now ? "[+]store ok\n" : "[-]store failed: " + now.error().to_string() + "\n";
  if (c.options.readiness) text.body += c.options.readiness();
  text.body += now ? "readyz check passed\n" : "readyz check failed\n";
  co_return text;
}

std::string verb_of(const Request& r, const ResourcePath& path) {
  bool named = !path.name.empty();
  if (is_watch(r, path)) return "watch";
  if (r.method == "GET" || r.method == "HEAD") return named ? "get" : "list";
  if (r.method == "POST") return "create";
  if (r.method == "PUT") return "update";
  if (r.method == "PATCH") return "patch";
  if (r.method == "DELETE") return named ? "delete" : "deletecollection";
  return r.method;
}

}  // namespace

bool is_watch(const Request& r, const ResourcePath& path) {
  return path.subresource.empty() && r.method == "GET" && (path.watch || r.flag("watch"));
}

bool is_raw(const ResourcePath& path) {
  return !path.name.empty() &&
         (path.subresource == "log" || path.subresource == "exec" || path.subresource == "proxy") &&
         path.kind->has(path.subresource);
}

Attempt attempt_of(const Request& r, const ResourcePath& path, std::string verb) {
  Attempt a;
  a.verb = verb.empty() ? verb_of(r, path) : std::move(verb);
  a.kind = path.kind;
  a.ns = path.ns;
  a.name = path.name;
  a.subresource = path.subresource;
  a.field_selector = r.parameter("fieldSelector");
  return a;
}

std::optional<Status> refuse_impersonation(const Request& request) {
  for (const auto& [name, value] : request.headers)
    if (name.starts_with("impersonate-"))
      return Status::forbidden(
          fmt::format("impersonation is not supported by this server ({}: {}); take a kubeconfig of that role in place "
                      "of --as: trama kubeconfig --role ROLE",
                      name, value));
  return std::nullopt;
}

std::optional<Status> admit(const Context& c, const Request& r, const ResourcePath& path) {
  if (auto refused = refuse_impersonation(r)) return refused;
  return authorize(r.identity, attempt_of(r, path, ""), c.known());
}

awaitable<Reply> handle(Context context, Request request, std::optional<ResourcePath> path) {
  if (!path) {
    if (auto refused = refuse_impersonation(request)) co_return reply_status(*refused);
    if (auto* review = review_of(request.path)) co_return review_reply(context, request, *review);
    if (auto refused = authorize_path(request.identity, request.path)) co_return reply_status(*refused);
    if (auto found = token_discovery(context, request)) co_return std::move(*found);
    if (request.path == "/trama/ca" && request.method == "GET" && context.options.authorities)
      co_return co_await context.options.authorities(std::move(request));
    if (request.path == "/metrics" && context.options.metrics) {
      Reply text;
      text.content_type = "text/plain; version=0.0.4";
      text.body = context.options.metrics();
      co_return text;
    }
    if (request.path == "/readyz") co_return co_await readiness(context, request);
    if (auto found = discover(request, context.options.cluster_version)) {
      if (request.method == "GET" || request.method == "HEAD") co_return std::move(*found);
      co_return reply_status(Status::method_not_allowed());
    }
    Status s;
    s.code = 404;
    s.reason = "NotFound";
    s.message = "the server could not find the requested resource";
    co_return reply_status(s);
  }
  if (auto refused = admit(context, request, *path)) co_return reply_status(*refused);
  if (!path->subresource.empty() && !path->kind->has(path->subresource)) {
    Status s;
    s.code = 404;
    s.reason = "NotFound";
    s.message = "the server could not find the requested resource";
    co_return reply_status(s);
  }
  auto answer = co_await dispatch(context, request, *path);
  co_return answer ? std::move(*answer) : reply_status(answer.error());
}

}  // namespace trama::server
