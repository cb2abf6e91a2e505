// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/mesh/tls.h"

#include <cstring>

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/tls_policy.h"
#include "overlay/peers/keys.h"

namespace trama::overlay::mesh {

namespace asio = boost::asio;
using base::Error;
using base::Result;

namespace {

constexpr unsigned char kAlpn[] = "\x0ctrama-peer/1";
constexpr unsigned kAlpnSize = sizeof kAlpn - 1;

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size,
                    void*) {
  auto* chosen = const_cast<unsigned char**>(out);
  return SSL_select_next_proto(chosen, out_size, kAlpn, kAlpnSize, in, in_size) == OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

Result<std::shared_ptr<asio::ssl::context>> make_context(const Credentials& credentials, Role role) {
  auto context = std::make_shared<asio::ssl::context>(role == Role::server ? asio::ssl::context::tls_server
                                                                           : asio::ssl::context::tls_client);
  SSL_CTX* ctx = context->native_handle();
  base::apply_tls_policy(ctx);
  SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ctx, 0);
  X509_VERIFY_PARAM_set_purpose(SSL_CTX_get0_param(ctx), X509_PURPOSE_ANY);
  if (role == Role::server)
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, nullptr);
  else
    SSL_CTX_set_alpn_protos(ctx, kAlpn, kAlpnSize);
  context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  boost::system::error_code ec;
  context->add_certificate_authority(asio::buffer(credentials.ca), ec);
  if (!ec) context->use_certificate_chain(asio::buffer(credentials.certificate), ec);
  if (!ec) context->use_private_key(asio::buffer(credentials.key), asio::ssl::context::pem, ec);
  if (ec) return Error(ec, "use the node's certificate towards other nodes");
  return context;
}

Result<Secured> look_at_peer(SSL* ssl, const WhoIs& who_is) {
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &protocol, &size);
  if (size != kAlpnSize - 1 || std::memcmp(protocol, kAlpn + 1, size) != 0)
    return Error::text("it speaks TLS, but not trama's peer protocol");
  X509* certificate = SSL_get0_peer_certificate(ssl);
  if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK) return Error::text("it has shown no valid certificate");
  auto who = who_is(certificate);
  if (!who) return std::move(who).error();
  Secured out;
  out.who = std::move(*who);
  auto exported = [&](std::string& to, std::size_t bytes, const char* label) {
    to.resize(bytes);
    return SSL_export_keying_material(ssl, reinterpret_cast<unsigned char*>(to.data()), to.size(), label,
                                      std::strlen(label), nullptr, 0, 0) == 1;
  };
  if (!exported(out.exported, peers::kExportedSize, peers::kExporterLabel) ||
      !exported(out.tunnel_exported, peers::kTunnelExportedSize, peers::kTunnelExporterLabel))
    return Error::text("TLS did not export keys for datagrams");
  return out;
}

std::string handshake_failure(SSL* ssl, const boost::system::error_code& ec) {
  long verify = SSL_get_verify_result(ssl);
  if (verify != X509_V_OK)
    return fmt::format("its certificate is not acceptable: {}", X509_verify_cert_error_string(verify));
  return ec.message();
}

}  // namespace trama::overlay::mesh
