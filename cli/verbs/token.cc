// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/token.h"

#include <cstdio>
#include <ctime>

#include "base/digest.h"
#include "cli/age.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/table.h"
#include "cli/verbs/verbs.h"
#include "control/api/object.h"
#include "control/client/join.h"
#include "control/pki/base64.h"
#include "control/pki/certificate.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

constexpr const char* kSecrets = "/api/v1/namespaces/kube-system/secrets";
constexpr const char* kType = "bootstrap.kubernetes.io/token";

std::string rfc3339(std::int64_t when) {
  std::time_t t = when;
  std::tm broken{};
  gmtime_r(&t, &broken);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &broken);
  return text;
}

std::string data_of(const json::object& secret, std::string_view key) {
  const auto& data = api::object_at(secret, "data");
  const auto* v = data.if_contains(key);
  if (!v || !v->is_string()) return "";
  return pki::from_base64(v->get_string()).value_or("");
}

}  // namespace

Result<std::string> create_token(Api& api, const std::string& ca_pem, std::chrono::seconds lifetime) {
  auto ca = pki::Certificate::from_pem(ca_pem);
  if (!ca) return std::move(ca).error().in("the kubeconfig's CA");
  client::JoinString join;
  join.id = base::random_hex(3);
  join.secret = base::random_hex(16);
  join.ca_pin = ca->spki_pin();
  json::object data;
  auto put = [&](const char* key, const std::string& value) { data[key] = pki::to_base64(value); };
  put("token-id", join.id);
  put("token-secret", join.secret);
  put("usage-bootstrap-authentication", "true");
  put("auth-extra-groups", "system:bootstrappers:trama");
  if (lifetime.count() > 0) put("expiration", rfc3339(std::time(nullptr) + lifetime.count()));
  json::object metadata, secret;
  metadata["name"] = "bootstrap-token-" + join.id;
  metadata["namespace"] = "kube-system";
  secret["apiVersion"] = "v1";
  secret["kind"] = "Secret";
  secret["metadata"] = std::move(metadata);
  secret["type"] = kType;
  secret["data"] = std::move(data);
  Call c;
  c.method = "POST";
  c.path = kSecrets;
  c.body = json::serialize(secret);
  auto made = api.object(std::move(c));
  if (!made) return std::move(made).error().in("create a join token");
  return join.to_string();
}

int token_create(const Globals& globals, std::chrono::seconds lifetime, const std::string& output) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto join = create_token(*session->api, session->ca_pem, lifetime);
  if (!join) return fail(join.error());
  if (output == "command")
    fmt::print("trama agent --server {} --join {}\n", session->api->server(), *join);
  else
    fmt::print("{}\n", *join);
  return code(Exit::ok);
}

int token_list(const Globals& globals) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto secrets = list_items(*session->api, kSecrets);
  if (!secrets) return fail(secrets.error());
  Table t;
  t.header = {"ID", "AGE", "EXPIRES"};
  for (const auto& s : *secrets) {
    if (api::text_at(s, "type") != kType) continue;
    auto expires = data_of(s, "expiration");
    auto left = unix_seconds(expires) - std::time(nullptr);
    t.rows.push_back({data_of(s, "token-id"), age_of(api::text_at(s, "metadata.creationTimestamp")),
                      expires.empty() ? "never"
                      : left < 0      ? "expired"
                                      : "in " + age_text(left)});
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
    c.path = fmt::format("{}/bootstrap-token-{}", kSecrets, id);
    auto gone = session->api->object(std::move(c));
    if (gone)
      fmt::print("token {} deleted\n", id);
    else
      rc = fail(gone.error());
  }
  return rc;
}

}  // namespace trama::cli
