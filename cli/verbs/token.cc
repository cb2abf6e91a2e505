// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/token.h"

#include <cstdio>

#include "base/digest.h"
#include "base/short_duration.h"
#include "cli/age.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/table.h"
#include "control/client/join.h"
#include "control/client/paths.h"
#include "control/pki/certificate.h"
#include "control/pki/join_token.h"

namespace trama::cli {

using base::Error;
using base::Result;

Result<std::string> create_token(Api& api, const std::string& ca_pem, const TokenOptions& options) {
  auto ca = pki::Certificate::from_pem(ca_pem);
  if (!ca) return std::move(ca).error().in("the kubeconfig's CA");
  client::JoinString join;
  join.id = pki::new_token_id();
  join.secret = pki::new_token_secret();
  join.ca_pin = ca->spki_pin();
  pki::TokenRecord record;
  record.id = join.id;
  record.secret_hash = base::sha256_hex(join.secret);
  record.expires = std::chrono::system_clock::now() + options.lifetime;
  record.uses = options.uses;
  record.node = options.node;
  record.description = options.description;
  Call c;
  c.method = "POST";
  c.path = client::collection_path("secrets", pki::kTokenNamespace);
  c.body = json::serialize(pki::token_body(record));
  auto made = api.object(std::move(c));
  if (!made) return std::move(made).error().in("create a join token");
  return join.to_string();
}

int token_create(const Globals& globals, const TokenOptions& options) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto join = create_token(*session->api, trusted_ca(*session), options);
  if (!join) return fail(join.error());
  if (options.output == "command")
    fmt::print("trama agent --server {} --join {}\n", session->api->server(), *join);
  else
    fmt::print("{}\n", *join);
  return code(Exit::ok);
}

int token_list(const Globals& globals) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto secrets = list_items(*session->api, client::collection_path("secrets", pki::kTokenNamespace));
  if (!secrets) return fail(secrets.error());
  Table t;
  t.header = {"ID", "EXPIRES", "USES LEFT", "NODE", "DESCRIPTION"};
  for (const auto& s : *secrets) {
    auto token = pki::token_of(s);
    if (!token) continue;
    auto left = std::chrono::duration_cast<std::chrono::seconds>(token->expires - std::chrono::system_clock::now());
    t.rows.push_back({token->id,
                      left.count() < 0
                          ? "expired"
                          : "in " + base::short_duration(std::chrono::duration_cast<std::chrono::seconds>(left)),
                      std::to_string(token->uses), token->node.empty() ? "any" : token->node, token->description});
  }
  std::fputs(t.to_text().c_str(), stdout);
  return code(Exit::ok);
}

int token_delete(const Globals& globals, const std::vector<std::string>& ids) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  int rc = code(Exit::ok);
  for (const auto& given : ids) {
    // A whole join string is taken, too: its id is the second word.
    auto parsed = client::JoinString::parse(given);
    auto id = parsed ? parsed->id : given;
    Call c;
    c.method = "DELETE";
    c.path = client::object_path(pki::token_key(id));
    auto gone = session->api->object(std::move(c));
    if (gone)
      fmt::print("token {} deleted\n", id);
    else
      rc = fail(gone.error());
  }
  return rc;
}

}  // namespace trama::cli
