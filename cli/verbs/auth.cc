// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/verbs/auth.h"

#include <cstdio>
#include <thread>

#include "base/digest.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/table.h"
#include "control/client/kubeconfig.h"
#include "control/client/paths.h"
#include "control/pki/base64.h"
#include "control/pki/certificate.h"
#include "control/server/matrix.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

constexpr auto kPatience = std::chrono::seconds(10);  // for the controller to sign

json::object request_body(const std::string& name, const std::string& pem, std::chrono::seconds lifetime) {
  json::object body, metadata, spec;
  metadata["name"] = name;
  json::array usages;
  usages.emplace_back("client auth");
  usages.emplace_back("digital signature");
  spec["request"] = pki::to_base64(pem);
  spec["signerName"] = "kubernetes.io/kube-apiserver-client";
  spec["usages"] = std::move(usages);
  spec["expirationSeconds"] = lifetime.count();
  body["apiVersion"] = "certificates.k8s.io/v1";
  body["kind"] = "CertificateSigningRequest";
  body["metadata"] = std::move(metadata);
  body["spec"] = std::move(spec);
  return body;
}

json::object approval() {
  json::object condition, status, body;
  condition["type"] = "Approved";
  condition["status"] = "True";
  condition["reason"] = "AskedByAdministrator";
  condition["message"] = "trama kubeconfig";
  json::array conditions;
  conditions.push_back(std::move(condition));
  status["conditions"] = std::move(conditions);
  body["status"] = std::move(status);
  return body;
}

Result<std::string> wait_for_certificate(Api& api, const std::string& path) {
  for (auto end = std::chrono::steady_clock::now() + kPatience;;) {
    Call get;
    get.path = path;
    auto csr = api.object(std::move(get));
    if (!csr) return std::move(csr).error();
    for (const auto& c : api::array_at(*csr, "status.conditions"))
      if (const auto* o = c.if_object(); o && api::text_at(*o, "type") != "Approved")
        return Error::text(fmt::format("the controller refused the certificate ({}): {}", api::text_at(*o, "reason"),
                                       api::text_at(*o, "message")),
                           std::errc::permission_denied);
    auto certificate = api::text_at(*csr, "status.certificate");
    if (!certificate.empty()) return pki::from_base64(certificate);
    if (std::chrono::steady_clock::now() > end)
      return Error::text("the controller did not sign the certificate; is its loop running? (trama status)",
                         std::errc::timed_out);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// Asks, approves, waits; the request is deleted whatever came of it.
Result<client::Kubeconfig> obtain(Session& session, const std::string& user, const std::string& group,
                                  const KubeconfigOptions& options) {
  auto key = pki::PrivateKey::generate();
  if (!key) return std::move(key).error();
  pki::Subject subject;
  subject.common_name = user;
  subject.organizations.push_back(group);
  auto pem = pki::make_signing_request(*key, subject, {});
  if (!pem) return std::move(pem).error();
  auto key_pem = key->to_pem();
  if (!key_pem) return std::move(key_pem).error();
  api::Key where{"certificatesigningrequests", "", fmt::format("kubeconfig-{}-{}", options.role, base::random_hex(5))};
  auto path = client::object_path(where);
  Call make;
  make.method = "POST";
  make.path = client::collection_path(where.resource);
  make.body = json::serialize(request_body(where.name, *pem, options.lifetime));
  auto made = session.api->object(std::move(make));
  if (!made) return std::move(made).error().in("ask for a certificate");
  Call approve;
  approve.method = "PATCH";
  approve.path = path + "/approval";
  approve.content_type = "application/merge-patch+json";
  approve.body = json::serialize(approval());
  auto approved = session.api->object(std::move(approve));
  auto certificate = approved ? wait_for_certificate(*session.api, path) : Result<std::string>(approved.error());
  Call clean;
  clean.method = "DELETE";
  clean.path = path;
  (void)session.api->object(std::move(clean));  // the controller sweeps what is left
  if (!certificate) return std::move(certificate).error().in("get the certificate");
  client::Kubeconfig config;
  config.context = "trama-" + options.role;
  config.server = session.api->server().substr(0, session.api->server().find(','));  // kubectl knows one
  config.ca_pem = trusted_ca(session);
  config.certificate_pem = std::move(*certificate);
  config.key_pem = std::move(*key_pem);
  return config;
}

}  // namespace

int auth_matrix() {
  auto m = server::matrix();
  Table t;
  t.header = std::move(m.header);
  t.rows = std::move(m.rows);
  fmt::print("{}\n{}", t.to_text(), m.legend);
  return code(Exit::ok);
}

int make_kubeconfig(const Globals& globals, const KubeconfigOptions& options) {
  std::string group(server::group_on_request(options.role));
  if (group.empty())
    return fail(Exit::usage, fmt::format("there is no kubeconfig for role \"{}\"", options.role),
                options.role == "node" || options.role == "bootstrap" ? "trama token create: nodes join by a token"
                                                                      : "--role admin, edit, view, proxy or metrics");
  if (options.lifetime < std::chrono::minutes(10) || options.lifetime > std::chrono::hours(24 * 366))
    return fail(Exit::usage, "--ttl: a certificate lives for ten minutes at least and 366 days at most");
  auto user = options.user.empty() ? "trama:" + options.role : options.user;
  if (options.user.starts_with("system:"))
    return fail(Exit::usage, "--user: names that begin with system: belong to the cluster's own parts");
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto config = obtain(*session, user, group, options);
  if (!config)
    return fail(config.error(), config.error().is(std::errc::permission_denied) ? "ask as an administrator" : "");
  if (options.file.empty()) {
    std::fputs(config->to_text().c_str(), stdout);
    return code(Exit::ok);
  }
  if (auto written = client::write_kubeconfig(options.file, *config); !written) return fail(written.error());
  return code(Exit::ok);
}

}  // namespace trama::cli
