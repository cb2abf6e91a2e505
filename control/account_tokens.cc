// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/account_tokens.h"

#include <algorithm>

#include "base/digest.h"
#include "base/timestamp.h"

namespace trama::control {

namespace json = api::json;
using base::Error;
using base::Result;
using Time = std::chrono::system_clock::time_point;

namespace {

constexpr std::string_view kPrefix = "system:serviceaccount:";
constexpr std::int64_t kClocksApart = 10;  // seconds that controllers' clocks may differ
constexpr std::int64_t kEndingPod = 60;    // seconds that a pod on its way out may still speak, as upstream

std::int64_t seconds(Time t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }

std::vector<std::string> audiences_of(const json::object& claims) {
  std::vector<std::string> out;
  const auto* aud = claims.if_contains("aud");
  if (aud && aud->is_string()) out.emplace_back(aud->get_string());
  if (aud && aud->is_array())
    for (const auto& one : aud->get_array())
      if (one.is_string()) out.emplace_back(one.get_string());
  return out;
}

Result<> check_times(const json::object& claims, Time now) {
  for (const char* claim : {"exp", "nbf"}) {
    const auto* value = claims.if_contains(claim);
    if (!value || !value->is_int64()) return Error::text(fmt::format("the token has no {}", claim));
  }
  if (claims.at("exp").get_int64() <= seconds(now)) return Error::text("the token has expired");
  if (claims.at("nbf").get_int64() > seconds(now) + kClocksApart) return Error::text("the token is not good yet");
  return {};
}

// The signature of a CA that is trusted now.
Result<> check_signature(const pki::Jwt& token, const std::string& trusted) {
  auto signers = pki::Certificate::chain_from_pem(trusted);
  if (!signers) return std::move(signers).error();
  for (const auto& signer : *signers)
    if (signer.spki_pin() == token.key_id)
      return pki::verify_jwt(token, signer) ? Result<>() : Result<>(Error::text("the token's signature is wrong"));
  return Error::text("the token is signed by nobody who is trusted here");
}

Result<> check_pod(const store::Store& store, const json::object& about, const std::string& ns, Time now) {
  const auto& bound = api::object_at(about, "pod");
  if (bound.empty()) return {};
  auto pod = store.get({"pods", ns, api::text_at(bound, "name")});
  if (!pod || pod->uid != api::text_at(bound, "uid")) return Error::text("the pod that the token is bound to is gone");
  auto ending = base::parse_timestamp(api::text_at(pod->body, "metadata.deletionTimestamp"));
  if (ending && seconds(std::chrono::time_point_cast<Time::duration>(*ending)) + kEndingPod < seconds(now))
    return Error::text("the pod that the token is bound to is over");
  return {};
}

std::vector<std::string> groups_of(const api::Object& account) {
  std::vector<std::string> out{"system:serviceaccounts", "system:serviceaccounts:" + account.key.ns,
                               "system:authenticated"};
  const auto* role = api::object_at(account.body, "metadata.annotations").if_contains(kAccountRole);
  for (const char* known : {"view", "edit"})
    if (role && role->is_string() && role->get_string() == known) out.push_back(std::string("trama:") + known);
  return out;
}

}  // namespace

Result<server::GrantedToken> make_account_token(const pki::PrivateKey& key, const std::string& key_id,
                                                const server::TokenGrant& grant, Time now) {
  server::GrantedToken out;
  out.audiences = grant.audiences.empty() ? std::vector<std::string>{kTokenIssuer} : grant.audiences;
  out.expires = now + grant.life;
  json::object about{{"namespace", grant.ns}};
  about["serviceaccount"] = json::object{{"name", grant.account}, {"uid", grant.account_uid}};
  if (!grant.pod.empty()) about["pod"] = json::object{{"name", grant.pod}, {"uid", grant.pod_uid}};
  json::object claims;
  claims["aud"] = json::array(out.audiences.begin(), out.audiences.end());
  claims["exp"] = seconds(out.expires);
  claims["iat"] = seconds(now);
  claims["iss"] = kTokenIssuer;
  claims["jti"] = base::random_uuid();
  claims["kubernetes.io"] = std::move(about);
  claims["nbf"] = seconds(now);
  claims["sub"] = fmt::format("{}{}:{}", kPrefix, grant.ns, grant.account);
  auto token = pki::sign_jwt(key, key_id, claims);
  if (!token) return std::move(token).error();
  out.token = std::move(*token);
  return out;
}

Result<server::ReviewedToken> verify_account_token(const store::Store& store, const std::string& trusted,
                                                   const std::string& token, const std::vector<std::string>& audiences,
                                                   Time now) {
  auto parsed = pki::parse_jwt(token);
  if (!parsed) return std::move(parsed).error();
  if (auto r = check_signature(*parsed, trusted); !r) return std::move(r).error();
  const auto& claims = parsed->claims;
  if (api::text_at(claims, "iss") != kTokenIssuer) return Error::text("the token has another issuer");
  if (auto r = check_times(claims, now); !r) return std::move(r).error();
  server::ReviewedToken out;
  auto meant = audiences_of(claims);
  for (const auto& wanted : audiences.empty() ? std::vector<std::string>{kTokenIssuer} : audiences)
    if (std::find(meant.begin(), meant.end(), wanted) != meant.end()) out.audiences.push_back(wanted);
  if (out.audiences.empty()) return Error::text("the token is for another audience");
  const auto* about = claims.if_contains("kubernetes.io");  // its dot is no path
  if (!about || !about->is_object()) return Error::text("the token names no ServiceAccount");
  const auto& names = about->get_object();
  auto ns = api::text_at(names, "namespace"), name = api::text_at(names, "serviceaccount.name");
  if (api::text_at(claims, "sub") != fmt::format("{}{}:{}", kPrefix, ns, name))
    return Error::text("the token's subject is another one than its ServiceAccount");
  auto account = store.get({"serviceaccounts", ns, name});
  if (!account || account->uid != api::text_at(names, "serviceaccount.uid") ||
      api::at(account->body, "metadata.deletionTimestamp"))
    return Error::text("the ServiceAccount of the token is gone");
  if (auto r = check_pod(store, names, ns, now); !r) return std::move(r).error();
  out.identity.name = fmt::format("{}{}:{}", kPrefix, ns, name);
  out.identity.groups = groups_of(*account);
  return out;
}

std::string token_keys(const std::string& trusted) {
  json::array keys;
  if (auto signers = pki::Certificate::chain_from_pem(trusted))
    for (const auto& signer : *signers)
      if (auto key = pki::to_jwk(signer)) keys.push_back(std::move(*key));
  json::object out;
  out["keys"] = std::move(keys);
  return json::serialize(out);
}

}  // namespace trama::control
