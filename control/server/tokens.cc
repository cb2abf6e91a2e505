// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/tokens.h"

#include <fmt/format.h>

#include "base/timestamp.h"
#include "control/server/answers.h"
#include "control/server/body.h"
#include "control/server/own.h"

namespace trama::server {

namespace json = api::json;
using api::Answer;
using api::Status;

namespace {

constexpr std::int64_t kShortest = 600;
constexpr std::int64_t kLongest = 1LL << 32;  // upstream's bounds of expirationSeconds
constexpr std::int64_t kUsual = 3600;

Status invalid(const std::string& field, std::string message) {
  return Status::invalid(api::Key{}, "TokenRequest", {{"FieldValueInvalid", std::move(message), field}});
}

json::array to_array(const std::vector<std::string>& list) {
  json::array out;
  for (const auto& s : list) out.emplace_back(s);
  return out;
}

std::vector<std::string> texts_at(const json::object& o, std::string_view path) {
  std::vector<std::string> out;
  for (const auto& v : api::array_at(o, path))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

// Fills in the pod that the token is to end with.
std::optional<Status> bind(const store::Store& store, const json::object& reference, TokenGrant& grant) {
  if (reference.empty()) return std::nullopt;
  auto kind = api::text_at(reference, "kind"), version = api::text_at(reference, "apiVersion");
  if (kind != "Pod" || (version != "v1" && !version.empty()))
    return Status::bad_request(
        fmt::format("cannot bind token for serviceaccount \"{}\" to object of kind \"{}\" ({}): a "
                    "token can be bound to a Pod of v1",
                    grant.account, kind, version));
  api::Key key{"pods", grant.ns, api::text_at(reference, "name")};
  auto pod = store.get(key);
  if (!pod) return Status::not_found(key);
  if (account_of(*pod) != grant.account)
    return Status::bad_request(
        fmt::format("cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
                    grant.account));
  auto uid = api::text_at(reference, "uid");
  if (!uid.empty() && uid != pod->uid)
    return Status::conflict(key, fmt::format("the UID in the bound object reference ({}) does not match the UID in "
                                             "record. The object might have been deleted and then recreated",
                                             uid));
  grant.pod = key.name;
  grant.pod_uid = pod->uid;
  return std::nullopt;
}

}  // namespace

awaitable<Answer<Reply>> create_token(Context c, const Request& r, const ResourcePath& path) {
  if (!c.options.grant_token) co_return Status::method_not_allowed();
  auto read = read_object(r, "TokenRequest", "TokenRequest");
  if (!read) co_return read.error();
  auto body = std::move(*read);
  auto version = api::text_at(body, "apiVersion", "authentication.k8s.io/v1");
  auto kind = api::text_at(body, "kind", "TokenRequest");
  if (version != "authentication.k8s.io/v1" || kind != "TokenRequest")
    co_return Status::bad_request(fmt::format(
        "the body is a {} of {}; this path takes a TokenRequest of authentication.k8s.io/v1", kind, version));
  if (auto now = co_await c.store.current(); !now) co_return now.error();
  api::Key key{"serviceaccounts", path.ns, path.name};
  auto account = c.store.get(key);
  auto attempt = attempt_of(r, path, "create");
  if (auto refused = authorize_object(r.identity, attempt, account.get(), &body, c.known())) co_return *refused;
  if (!account || api::at(account->body, "metadata.deletionTimestamp")) co_return Status::not_found(key);

  TokenGrant grant;
  grant.ns = path.ns, grant.account = path.name, grant.account_uid = account->uid;
  auto seconds = api::int_at(body, "spec.expirationSeconds", kUsual);
  if (seconds < kShortest)
    co_return invalid("spec.expirationSeconds",
                      fmt::format("Invalid value: {}: may not specify a duration less than 10 "
                                  "minutes",
                                  seconds));
  if (seconds > kLongest)
    co_return invalid("spec.expirationSeconds",
                      fmt::format("Invalid value: {}: may not specify a duration larger than 2^32 seconds", seconds));
  grant.life = std::chrono::seconds(seconds);
  grant.audiences = texts_at(body, "spec.audiences");
  if (auto refused = bind(c.store, api::object_at(body, "spec.boundObjectRef"), grant)) co_return *refused;
  auto granted = c.options.grant_token(grant);
  if (!granted) co_return Status::internal(granted.error().to_string());

  auto& metadata = api::make_object_at(body, "metadata");
  metadata["name"] = path.name;
  metadata["namespace"] = path.ns;
  metadata["creationTimestamp"] = base::format_seconds(base::now());
  auto& spec = api::make_object_at(body, "spec");
  spec["audiences"] = to_array(granted->audiences);
  spec["expirationSeconds"] = seconds;
  if (!spec.contains("boundObjectRef")) spec["boundObjectRef"] = nullptr;
  json::object status{{"token", granted->token}, {"expirationTimestamp", base::format_seconds(granted->expires)}};
  json::object out{{"kind", "TokenRequest"}, {"apiVersion", "authentication.k8s.io/v1"}};
  out["metadata"] = metadata;
  out["spec"] = spec;
  out["status"] = std::move(status);
  co_return reply_json(out, 201);
}

json::object token_review(const Context& c, const json::object& spec) {
  json::object status;
  auto found = c.options.review_token ? c.options.review_token(api::text_at(spec, "token"), texts_at(spec, "audiences"))
                                      : base::Result<ReviewedToken>(base::Error::text("there are no tokens here"));
  status["authenticated"] = static_cast<bool>(found);
  if (!found) {
    status["error"] = found.error().to_string();
    return status;
  }
  json::object user{{"username", found->identity.name}};
  user["groups"] = to_array(found->identity.groups);
  status["user"] = std::move(user);
  status["audiences"] = to_array(found->audiences);
  return status;
}

std::optional<Reply> token_discovery(const Context& c, const Request& r) {
  if (!c.options.token_keys || r.method != "GET") return std::nullopt;
  Reply out;
  if (r.path == "/openid/v1/jwks") {
    out.content_type = "application/jwk-set+json";
    out.body = c.options.token_keys();
    return out;
  }
  if (r.path != "/.well-known/openid-configuration") return std::nullopt;
  json::object about{{"issuer", c.options.token_issuer}, {"jwks_uri", c.options.token_issuer + "/openid/v1/jwks"}};
  about["response_types_supported"] = json::array{"id_token"};
  about["subject_types_supported"] = json::array{"public"};
  about["id_token_signing_alg_values_supported"] = json::array{"ES256"};
  out.body = json::serialize(about);
  return out;
}

}  // namespace trama::server
