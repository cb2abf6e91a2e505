// SPDX-License-Identifier: GPL-2.0-or-later
// TLS as a client: whom we trust, who we are. Private to control/client.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "base/result.h"
#include "control/client/api_client.h"

namespace trama::client {

// The context plus what its verification callback refers to. Shared by all connections of a client.
struct TlsSetup {
  async::asio::ssl::context context{async::asio::ssl::context::tls_client};
  std::string pin;  // set: accept only chains that end in a self-signed CA with this SPKI hash
};

// TLS 1.2 or newer, ALPN http/1.1, peer verification always on.
base::Result<std::shared_ptr<TlsSetup>> make_tls(const ClientOptions& options);
// Name or address verification and SNI for one connection.
base::Result<> expect_peer(SSL* ssl, const std::string& name);
// Why a handshake failed, in words: names the pin, the verification error or the peer's alert.
std::string handshake_failure(SSL* ssl, const TlsSetup& setup, const boost::system::error_code& ec);
// PEM of the last certificate of the verified chain.
std::string root_of_verified_chain(SSL* ssl);

}  // namespace trama::client
