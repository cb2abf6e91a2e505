// SPDX-License-Identifier: GPL-2.0-or-later
// Bodies of requests: from bytes to an object that has the fields its kind may have. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/api/status.h"
#include "control/server/route.h"
#include "control/server/server.h"

namespace trama::server {

// The whole text as a number of 0 or more.
std::optional<std::uint64_t> number(const std::string& text);

// Content-Type without its parameters.
std::string media_type(const Request& request);
// JSON.
api::Answer<api::json::value> parse_body(const std::string& text);
// The body as an object, from JSON or from protobuf; 415 for anything else. `message` says in the schema table what
// protobuf holds, `kind` what its envelope may name.
api::Answer<api::json::object> read_object(const Request& request, std::string_view message, std::string_view kind);

// Unknown and mistyped fields as the client asked to hear of them. Warnings are added to `warnings`.
std::optional<api::Status> check_fields(const Request& request, const api::Kind& kind, api::json::object& body,
                                        std::vector<std::string>& warnings);
// apiVersion, kind, name and namespace of the body must be those of the URL, where given.
std::optional<api::Status> check_identity(const ResourcePath& path, const api::json::object& body);

}  // namespace trama::server
