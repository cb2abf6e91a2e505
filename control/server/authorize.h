// SPDX-License-Identifier: GPL-2.0-or-later
// Who may do what. Pure; the tests assert the whole matrix.
#pragma once

#include <optional>
#include <string>

#include "control/api/kinds.h"
#include "control/server/server.h"

namespace trama::server {

struct Attempt {
  std::string verb;  // "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"
  const api::Kind* kind = nullptr;
  std::string ns, name, subresource;
  std::string field_selector;  // of list and watch
};

// Nothing when the attempt is allowed as far as it can be told without looking at the object.
//  system:masters       everything
//  system:nodes         reads Services, EndpointSlices, Nodes and Namespaces; its own pods (list and watch only with
//                       spec.nodeName=<itself>); writes its Node, its lease, status of its pods; deletes its pods;
//                       Events; signing requests of its own
//  system:bootstrappers creates signing requests and reads its own
std::optional<api::Status> authorize(const Identity& who, const Attempt& what);
// The same question once the object is known: a node's pods are those bound to it, a request is its maker's.
// `body` is what it would become (null: read or delete).
std::optional<api::Status> authorize_object(const Identity& who, const Attempt& what, const api::Object* old,
                                            const api::json::object* body);
// Paths that are not objects: "/healthz", "/api", "/openapi/v2", …
std::optional<api::Status> authorize_path(const Identity& who, const std::string& path);

// "n1" for system:node:n1 in system:nodes, "" for everybody else.
std::string node_name(const Identity& who);

}  // namespace trama::server
