// SPDX-License-Identifier: GPL-2.0-or-later
// "What may I do?" and "who am I?": SelfSubjectAccessReview, SelfSubjectRulesReview (authorization.k8s.io/v1) and
// SelfSubjectReview (authentication.k8s.io/v1, v1beta1), answered from the table of roles.h. They are asked by POST and
// stored nowhere. `kubectl auth can-i`, `can-i --list` and `whoami` ask them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/server/handlers.h"

namespace trama::server {

// In discovery they stand beside the kinds that are stored.
const std::vector<api::Kind>& reviews();
// Of a path like /apis/authorization.k8s.io/v1/selfsubjectaccessreviews; null for all others.
const api::Kind* review_of(std::string_view path);
// Only POST; everybody with a name may ask.
Reply review_reply(const Context& context, const Request& request, const api::Kind& review);

// The answers themselves. `spec` is the review's; the result is its `status`.
api::json::object access_review(const Identity& who, const api::json::object& spec, Known known);
api::json::object rules_review(const Identity& who, const std::string& ns);
api::json::object who_review(const Identity& who);

}  // namespace trama::server
