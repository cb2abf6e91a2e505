// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/ip.h"
#include "base/tls_policy.h"
#include "control/pki/certificate.h"

namespace trama::client {

using base::Error;
using base::Result;

namespace {

// The whole verification for a pinned CA: the pinned certificate among those presented is the only trust anchor, the
// rest (signatures, validity times, purpose, peer name) is OpenSSL's own.
int verify_pinned(X509_STORE_CTX* store, void* argument) {
  const auto& pin = static_cast<const TlsSetup*>(argument)->pin;
  STACK_OF(X509)* presented = X509_STORE_CTX_get0_untrusted(store);
  for (int i = 0; i < sk_X509_num(presented); ++i) {
    X509* x = sk_X509_value(presented, i);
    auto certificate = pki::Certificate::of(x);
    if (!certificate.is_ca() || certificate.spki_pin() != pin || !certificate.signed_by(certificate)) continue;
    auto free_stack = [](STACK_OF(X509) * s) { sk_X509_free(s); };
    std::unique_ptr<STACK_OF(X509), decltype(free_stack)> anchors(sk_X509_new_null(), free_stack);
    if (!anchors || sk_X509_push(anchors.get(), x) == 0) return 0;
    X509_STORE_CTX_set0_trusted_stack(store, anchors.get());
    int ok = X509_verify_cert(store);
    X509_STORE_CTX_set0_trusted_stack(store, nullptr);
    return ok;
  }
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

Result<> add_anchors(SSL_CTX* ctx, const ClientOptions& options) {
  auto chain = pki::Certificate::chain_from_pem(options.ca_pem);
  if (!chain) return std::move(chain).error().in("the CA to trust");
  bool any = false;
  for (const auto& ca : *chain) {
    if (!options.ca_pin.empty() && ca.spki_pin() != options.ca_pin) continue;
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca.get()) != 1) return pki::openssl_error("trust a CA");
    any = true;
  }
  if (!any) return Error::text("none of the CA certificates given has the pinned key");
  return {};
}

Result<> present_certificate(SSL_CTX* ctx, const ClientOptions& options) {
  if (options.certificate_pem.empty() && options.key_pem.empty()) return {};
  auto chain = pki::Certificate::chain_from_pem(options.certificate_pem);
  if (!chain) return std::move(chain).error().in("the client certificate");
  auto key = pki::PrivateKey::from_pem(options.key_pem);
  if (!key) return std::move(key).error().in("the client key");
  if (!chain->front().matches(*key)) return Error::text("the client certificate and key do not belong together");
  if (SSL_CTX_use_certificate(ctx, chain->front().get()) != 1 || SSL_CTX_use_PrivateKey(ctx, key->get()) != 1)
    return pki::openssl_error("use the client certificate");
  for (std::size_t i = 1; i < chain->size(); ++i)
    if (SSL_CTX_add1_chain_cert(ctx, (*chain)[i].get()) != 1) return pki::openssl_error("use the client's chain");
  return {};
}

}  // namespace

Result<std::shared_ptr<TlsSetup>> make_tls(const ClientOptions& options) {
  if (options.ca_pem.empty() && options.ca_pin.empty())
    return Error::text("neither a CA certificate nor a CA pin is given: the server could not be verified");
  if (!options.ca_pin.empty() &&
      (options.ca_pin.size() != 64 || options.ca_pin.find_first_not_of("0123456789abcdef") != std::string::npos))
    return Error::text("the CA pin is not a SHA-256 in lower-case hex (64 digits)");
  auto setup = std::make_shared<TlsSetup>();
  SSL_CTX* ctx = setup->context.native_handle();
  base::apply_tls_policy(ctx);
  static const unsigned char kAlpn[] = "\x08http/1.1";
  SSL_CTX_set_alpn_protos(ctx, kAlpn, sizeof kAlpn - 1);
  setup->context.set_verify_mode(async::asio::ssl::verify_peer);
  if (!options.ca_pem.empty()) {
    if (auto ok = add_anchors(ctx, options); !ok) return std::move(ok).error();
  } else {
    setup->pin = options.ca_pin;
    SSL_CTX_set_cert_verify_callback(ctx, verify_pinned, setup.get());
  }
  if (auto ok = present_certificate(ctx, options); !ok) return std::move(ok).error();
  return setup;
}

Result<> expect_peer(SSL* ssl, const std::string& name) {
  if (base::Ip::parse(name)) {
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) != 1)
      return pki::openssl_error(fmt::format("verify the server for {}", name));
    return {};
  }
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (SSL_set1_host(ssl, name.c_str()) != 1 || SSL_set_tlsext_host_name(ssl, name.c_str()) != 1)
    return pki::openssl_error(fmt::format("verify the server for {}", name));
  return {};
}

std::string handshake_failure(SSL* ssl, const TlsSetup& setup, const boost::system::error_code& ec) {
  long verify = SSL_get_verify_result(ssl);
  if (verify == X509_V_ERR_APPLICATION_VERIFICATION && !setup.pin.empty())
    return fmt::format(
        "the server did not present a CA with the pinned key {}…: wrong server, wrong join string, or somebody in "
        "between. Nothing was sent to it",
        setup.pin.substr(0, 12));
  if (verify == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN || verify == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
      verify == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT)
    return fmt::format(
        "the server's certificate is not acceptable: none of the CAs that we trust has signed it ({}). If the cluster "
        "has a new CA (trama controller rotate-ca), what we have is from before it: a node must be deleted and join "
        "again with an empty data directory, a person needs a new kubeconfig",
        X509_verify_cert_error_string(verify));
  if (verify != X509_V_OK)
    return fmt::format("the server's certificate is not acceptable: {}", X509_verify_cert_error_string(verify));
  return ec.message();
}

std::string root_of_verified_chain(SSL* ssl) {
  STACK_OF(X509)* chain = SSL_get0_verified_chain(ssl);
  int n = sk_X509_num(chain);
  if (n <= 0) return "";
  return pki::Certificate::of(sk_X509_value(chain, n - 1)).to_pem().value_or("");
}

}  // namespace trama::client
