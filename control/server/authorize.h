// SPDX-License-Identifier: GPL-2.0-or-later
// The check of one request against the table of roles.h.
#pragma once

#include <optional>
#include <string>

#include "control/api/kinds.h"
#include "control/server/node_pods.h"
#include "control/server/roles.h"

namespace trama::server {

struct Attempt {
  std::string verb;  // "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"
  const api::Kind* kind = nullptr;
  std::string ns, name, subresource;
  std::string field_selector;    // of list and watch
  std::string resource() const;  // "pods", "pods/log"
};

// What a check may look at. Without `pods` it looks at every pod of a namespace instead.
struct Known {
  Known(const store::Store& from, const NodePods* bound = nullptr) : store(from), pods(bound) {}  // NOLINT: implicit
  const store::Store& store;
  const NodePods* pods;
};

// Nothing when the attempt is allowed as far as it can be told before the write: the store tells whose an object is
// that is there already. Whoever may not see an object learns nothing about whether it exists.
std::optional<api::Status> authorize(const Identity& who, const Attempt& what, Known known);
// Why the table does not allow it, in words; "" where nothing in it is about that. Nothing when it is allowed.
std::optional<std::string> why_refused(const Identity& who, const Attempt& what, Known known);
// The same question inside a write, about what is really there and what it would become (`body`; null: read or delete).
std::optional<api::Status> authorize_object(const Identity& who, const Attempt& what, const api::Object* old,
                                            const api::json::object* body, Known known);
// Paths that are not objects: "/healthz", "/api", "/openapi/v2", …
std::optional<api::Status> authorize_path(const Identity& who, const std::string& path);

}  // namespace trama::server
