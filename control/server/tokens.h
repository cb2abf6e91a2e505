// SPDX-License-Identifier: GPL-2.0-or-later
// Tokens of ServiceAccounts over the API: serviceaccounts/NAME/token (TokenRequest), TokenReview, and what others need
// to verify tokens themselves (OpenID discovery).
#pragma once

#include <optional>

#include "control/server/handlers.h"

namespace trama::server {

// POST. The account, and the pod it is to be bound to, are looked up now; whether a token is still good is asked anew
// with each request that it makes.
awaitable<api::Answer<Reply>> create_token(Context c, const Request& r, const ResourcePath& path);
// The status of a TokenReview.
api::json::object token_review(const Context& c, const api::json::object& spec);
// /openid/v1/jwks and /.well-known/openid-configuration; nothing for other paths.
std::optional<Reply> token_discovery(const Context& c, const Request& r);

}  // namespace trama::server
