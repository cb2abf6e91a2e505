// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/tls_policy.h"

#include <openssl/ssl.h>

namespace trama::base {

namespace {

constexpr int kSecurityLevel = 2;  // SSL_CTX_set_security_level(3): 112 bit
constexpr int kLongestChain = 4;
constexpr long kLargestChain = 64 << 10;

}  // namespace

void apply_tls_policy(ssl_ctx_st* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_security_level(context, kSecurityLevel);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_max_early_data(context, 0);
  SSL_CTX_set_recv_max_early_data(context, 0);
  SSL_CTX_set_verify_depth(context, kLongestChain);
  SSL_CTX_set_max_cert_list(context, kLargestChain);
  // Most connections wait for most of the time; without this each keeps 34 kB for it.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

}  // namespace trama::base
