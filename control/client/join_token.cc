// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/join_token.h"

#include "base/digest.h"
#include "control/client/paths.h"
#include "control/pki/certificate.h"

namespace trama::client {

using base::Error;
using base::Result;

awaitable<Result<JoinString>> create_join_token(ApiClient& client, TokenRequest request) {
  JoinString j;
  j.id = pki::new_token_id();
  j.secret = pki::new_token_secret();
  pki::TokenRecord record;
  record.id = j.id;
  record.secret_hash = base::sha256_hex(j.secret);
  record.expires = std::chrono::system_clock::now() + request.ttl;
  record.uses = request.uses;
  record.node = request.node;
  record.description = request.description;
  auto body = pki::token_body(record);
  auto created = co_await client.create(collection_path("secrets", pki::kTokenNamespace), body);
  if (!created) co_return std::move(created).error().in("create a join token");
  auto ca = pki::Certificate::from_pem(client.verified_ca_pem());
  if (!ca) co_return std::move(ca).error().in("the server's CA");
  j.ca_pin = ca->spki_pin();
  co_return j;
}

awaitable<Result<std::vector<pki::TokenRecord>>> list_join_tokens(ApiClient& client) {
  auto listed = co_await client.list(collection_path("secrets", pki::kTokenNamespace));
  if (!listed) co_return std::move(listed).error().in("list join tokens");
  std::vector<pki::TokenRecord> tokens;
  for (const auto& secret : listed->items)
    if (auto record = pki::token_of(secret)) tokens.push_back(std::move(*record));
  co_return tokens;
}

awaitable<Result<>> delete_join_token(ApiClient& client, std::string id) {
  auto path = object_path(pki::token_key(id));
  auto removed = co_await client.remove(path);
  if (!removed) {
    if (is_not_found(removed.error())) co_return Error::text(fmt::format("there is no join token {}", id));
    co_return std::move(removed).error().in(fmt::format("delete join token {}", id));
  }
  co_return Result<>();
}

}  // namespace trama::client
