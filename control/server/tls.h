// SPDX-License-Identifier: GPL-2.0-or-later
// TLS as the API server speaks it: 1.2 or newer, client certificates optional, bad ones refused in the handshake.
// Private to control/server.
#pragma once

#include <memory>
#include <set>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "control/server/server.h"

namespace trama::server {

// Errors say which of the options does not parse.
base::Result<std::shared_ptr<boost::asio::ssl::context>> make_server_tls(const Options& options);

// Who is at the other end of a connection.
struct Peer {
  Identity identity;         // CN and O of the certificate that the client proved to hold; anonymous without one
  std::int64_t expires = 0;  // seconds since 1970; 0 without a certificate
  std::string authority;     // key pin of the CA at the end of its chain; "" without a certificate
  bool has_ended(std::int64_t now) const { return expires != 0 && now > expires; }
};
Peer peer_of(SSL* connection);
// SHA-256 of each CA's SubjectPublicKeyInfo, lower-case hex.
std::set<std::string> pins_of(const std::string& bundle_pem);

}  // namespace trama::server
