// SPDX-License-Identifier: GPL-2.0-or-later
// What TLS every listener and every client of ours speaks, whatever the machine's OpenSSL configuration says.
#pragma once

struct ssl_ctx_st;

namespace trama::base {

// TLS 1.2 or newer; no RSA key below 2048 bit, no EC key below 224, no SHA-1 or MD5 signatures in chains; no
// renegotiation, compression or early data; at most four certificates between a peer and its CA, 64 KiB in all.
void apply_tls_policy(ssl_ctx_st* context);

}  // namespace trama::base
