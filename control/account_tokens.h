// SPDX-License-Identifier: GPL-2.0-or-later
// Tokens of ServiceAccounts: made with the key of the cluster's CA, and good as long as that CA is trusted, the account
// and the pod they are bound to are there, and their time has not come.
#pragma once

#include <string>
#include <vector>

#include "control/pki/jwt.h"
#include "control/server/server.h"
#include "control/store/store.h"

namespace trama::control {

// Issuer, and audience of tokens for the API server, whatever address it is reached at.
inline constexpr const char* kTokenIssuer = "https://kubernetes.default.svc.cluster.local";
// Of a ServiceAccount: what it may do besides asking what it may do; "view" or "edit".
inline constexpr const char* kAccountRole = "trama.dev/role";

base::Result<server::GrantedToken> make_account_token(const pki::PrivateKey& key, const std::string& key_id,
                                                      const server::TokenGrant& grant,
                                                      std::chrono::system_clock::time_point now);

// `trusted`: PEM of every CA whose tokens count. Errors say why not, to the one who asked for a review; a bearer gets
// 401 and no reason.
base::Result<server::ReviewedToken> verify_account_token(const store::Store& store, const std::string& trusted,
                                                         const std::string& token,
                                                         const std::vector<std::string>& audiences,
                                                         std::chrono::system_clock::time_point now);

// RFC 7517: {"keys":[…]}.
std::string token_keys(const std::string& trusted);

}  // namespace trama::control
