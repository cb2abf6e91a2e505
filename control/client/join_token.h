// SPDX-License-Identifier: GPL-2.0-or-later
// `trama token`: join tokens seen from the administrator's side. The secret is made here and only its hash is sent.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/client/api_client.h"
#include "control/client/join.h"
#include "control/pki/join_token.h"

namespace trama::client {

struct TokenRequest {
  std::chrono::seconds ttl{24 * 3600};
  std::int64_t uses = 1;
  std::string node;  // "" = any
  std::string description;
};

// The join string carries the pin of the CA that `client` has verified the server with.
awaitable<base::Result<JoinString>> create_join_token(ApiClient& client, TokenRequest request);
awaitable<base::Result<std::vector<pki::TokenRecord>>> list_join_tokens(ApiClient& client);
awaitable<base::Result<>> delete_join_token(ApiClient& client, std::string id);

}  // namespace trama::client
