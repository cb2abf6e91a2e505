// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/join.h"

#include <algorithm>
#include <chrono>

#include "base/digest.h"
#include "control/api/object.h"
#include "control/client/paths.h"
#include "control/pki/base64.h"
#include "control/pki/renewal.h"

namespace trama::client {

using base::Error;
using base::Result;

namespace {

constexpr auto kPoll = std::chrono::milliseconds(50);

bool made_of(std::string_view text, std::string_view alphabet) {
  return !text.empty() && text.find_first_not_of(alphabet) == std::string_view::npos;
}

json::object signing_request(const std::string& name, const std::string& request_pem, const std::string& signer,
                             const std::string& usage) {
  json::object metadata;
  metadata["name"] = name;
  json::array usages;
  usages.emplace_back("digital signature");
  usages.emplace_back(usage);
  json::object spec;
  spec["request"] = pki::to_base64(request_pem);
  spec["signerName"] = signer;
  spec["usages"] = std::move(usages);
  json::object body;
  body["apiVersion"] = "certificates.k8s.io/v1";
  body["kind"] = "CertificateSigningRequest";
  body["metadata"] = std::move(metadata);
  body["spec"] = std::move(spec);
  return body;
}

// "" while undecided; the certificate when issued; an error when the controller has said no.
Result<std::string> verdict(const json::object& csr) {
  for (const auto& c : api::array_at(csr, "status.conditions")) {
    const auto* o = c.if_object();
    if (o == nullptr) continue;
    auto type = api::text_at(*o, "type");
    if (type == "Denied" || type == "Failed")
      return Error::text(fmt::format("the controller refused the certificate ({}): {}", api::text_at(*o, "reason"),
                                     api::text_at(*o, "message")),
                         std::errc::permission_denied);
  }
  return pki::from_base64(api::text_at(csr, "status.certificate"));
}

struct Ask {
  std::string node_name;
  std::string signer;
  std::string usage;
  pki::AltNames names;
  milliseconds patience{30'000};
};

awaitable<Result<NodeCredentials>> obtain(ApiClient& client, Ask ask) {
  auto key = pki::PrivateKey::generate();
  if (!key) co_return std::move(key).error();
  pki::Subject subject;
  subject.common_name = "system:node:" + ask.node_name;
  subject.organizations.emplace_back("system:nodes");
  auto pem = pki::make_signing_request(*key, subject, ask.names);
  if (!pem) co_return std::move(pem).error();
  auto key_pem = key->to_pem();
  if (!key_pem) co_return std::move(key_pem).error();

  api::Key where;
  where.resource = "certificatesigningrequests";
  where.name = fmt::format("node-csr-{}-{}", ask.node_name, base::random_hex(5));
  auto body = signing_request(where.name, *pem, ask.signer, ask.usage);
  auto created = co_await client.create(collection_path(where.resource), body);
  if (!created) co_return std::move(created).error().in("ask for a certificate");

  auto path = object_path(where);
  auto give_up = std::chrono::steady_clock::now() + ask.patience;
  for (;;) {
    auto csr = co_await client.get(path);
    if (!csr) co_return std::move(csr).error().in("wait for the certificate");
    auto certificate = verdict(*csr);
    if (!certificate) co_return std::move(certificate).error();
    if (!certificate->empty()) {
      auto parsed = pki::Certificate::from_pem(*certificate);
      if (!parsed) co_return std::move(parsed).error().in("the certificate that the controller issued");
      if (!parsed->matches(*key)) co_return Error::text("the controller issued a certificate for another key");
      NodeCredentials credentials;
      credentials.certificate_pem = std::move(*certificate);
      credentials.key_pem = std::move(*key_pem);
      credentials.ca_pem = client.options().ca_pem.empty() ? client.verified_ca_pem() : client.options().ca_pem;
      co_return credentials;
    }
    if (std::chrono::steady_clock::now() > give_up)
      co_return Error::text(fmt::format("{} was not decided within {} s; look at `trama get csr {}`", where.to_string(),
                                        ask.patience.count() / 1000, where.name),
                            std::errc::timed_out);
    co_await async::sleep_for(kPoll);
  }
}

}  // namespace

Result<JoinString> JoinString::parse(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string_view parts[4];
  std::size_t n = 0;
  for (auto rest = text; n < 4; ++n) {
    auto dot = n == 3 ? std::string_view::npos : rest.find('.');
    parts[n] = rest.substr(0, dot);
    if (dot == std::string_view::npos) {
      ++n;
      break;
    }
    rest.remove_prefix(dot + 1);
  }
  bool ok = n == 4 && parts[0] == "trama1" && parts[1].size() == 6 &&
            made_of(parts[1], "abcdefghijklmnopqrstuvwxyz0123456789") && parts[2].size() == 32 &&
            made_of(parts[2], kHex) && parts[3].size() == 64 && made_of(parts[3], kHex);
  if (!ok)
    return Error::text(
        "this is not a join string (trama1.<id>.<secret>.<CA pin>); `trama token create` on the controller prints one");
  JoinString j;
  j.id = parts[1];
  j.secret = parts[2];
  j.ca_pin = parts[3];
  return j;
}

std::string JoinString::to_string() const { return fmt::format("trama1.{}.{}.{}", id, secret, ca_pin); }

awaitable<Result<NodeCredentials>> join_cluster(JoinOptions options) {
  ClientOptions c;
  c.server = options.server;
  c.ca_pin = options.token.ca_pin;
  c.bearer_token = options.token.bearer();
  auto ex = co_await async::asio::this_coro::executor;
  auto client = ApiClient::make(ex, c);
  if (!client) co_return std::move(client).error();
  Ask ask;
  ask.node_name = options.node_name;
  ask.signer = "kubernetes.io/kube-apiserver-client-kubelet";
  ask.usage = "client auth";
  ask.patience = options.patience;
  auto credentials = co_await obtain(**client, ask);
  if (!credentials)
    co_return std::move(credentials).error().in(fmt::format("join {} as {}", options.server, options.node_name));
  co_return credentials;
}

awaitable<Result<NodeCredentials>> renew_node_certificate(ApiClient& client, std::string node_name) {
  Ask ask;
  ask.node_name = node_name;
  ask.signer = "kubernetes.io/kube-apiserver-client-kubelet";
  ask.usage = "client auth";
  co_return co_await obtain(client, ask);
}

awaitable<Result<NodeCredentials>> request_serving_certificate(ApiClient& client, std::string node_name,
                                                               std::vector<std::string> addresses,
                                                               std::vector<std::string> names) {
  Ask ask;
  ask.node_name = node_name;
  ask.signer = "kubernetes.io/kubelet-serving";
  ask.usage = "server auth";
  for (const auto& a : addresses) {
    auto ip = base::Ip::parse(a);
    if (!ip) co_return std::move(ip).error().in("serving certificate");
    ask.names.ips.push_back(*ip);
  }
  ask.names.dns = std::move(names);
  if (std::find(ask.names.dns.begin(), ask.names.dns.end(), node_name) == ask.names.dns.end())
    ask.names.dns.push_back(node_name);
  co_return co_await obtain(client, ask);
}

bool should_renew(const std::string& certificate_pem, std::int64_t now_unix_seconds) {
  auto certificate = pki::Certificate::from_pem(certificate_pem);
  return !certificate || pki::is_aging(*certificate, now_unix_seconds);
}

}  // namespace trama::client
