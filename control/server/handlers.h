// SPDX-License-Identifier: GPL-2.0-or-later
// Requests for objects and their answers. No HTTP library in here: a test is a table of requests and replies.
#pragma once

#include "control/server/authorize.h"
#include "control/server/route.h"
#include "control/server/server.h"

namespace trama::server {

struct Context {
  store::Store& store;
  const Options& options;
  const NodePods* pods = nullptr;  // null: every pod is looked at instead
  Known known() const { return {store, pods}; }
};

// Everything but watches and raw subresources. `path` is what parse_resource() says about the request's.
awaitable<Reply> handle(Context context, Request request, std::optional<ResourcePath> path);

// Nothing when the request may go on: authorised as far as its path tells. Watches and raw subresources ask it, too.
std::optional<api::Status> admit(const Context& context, const Request& request, const ResourcePath& path);

// Headers that would change who is asking. Ignoring them would run a request with more rights than were asked for.
std::optional<api::Status> refuse_impersonation(const Request& request);

// "watch=true" or the old /watch/ path, on a resource that can be listed.
bool is_watch(const Request& request, const ResourcePath& path);
// pods/log, pods/exec, nodes/proxy.
bool is_raw(const ResourcePath& path);
Attempt attempt_of(const Request& request, const ResourcePath& path, std::string verb);

}  // namespace trama::server
