// SPDX-License-Identifier: GPL-2.0-or-later
// TLS between agents: 1.3, both sides with the certificate that makes a machine a node.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "base/result.h"

struct x509_st;

namespace trama::overlay::mesh {

// What proves who we are, PEM.
struct Credentials {
  std::string ca, certificate, key;
  bool complete() const { return !ca.empty() && !certificate.empty() && !key.empty(); }
  friend bool operator==(const Credentials&, const Credentials&) = default;
};

// For whom a certificate speaks.
struct Certified {
  std::string node;
  std::int64_t not_after = 0;  // seconds since 1970
};
// Asked after the chain has been verified. Errors say what kind of certificate it is instead.
using WhoIs = std::function<base::Result<Certified>(x509_st* certificate)>;

enum class Role { server, client };

// A node's certificate is one for clients, and here both sides show theirs: purposes are not asked by OpenSSL but by
// WhoIs. No session resumption: every conversation begins with both certificates.
base::Result<std::shared_ptr<boost::asio::ssl::context>> make_context(const Credentials& credentials, Role role);

struct Secured {
  Certified who;
  std::string exported, tunnel_exported;  // keying material, see overlay/peers/keys.h
};
// After the handshake.
base::Result<Secured> look_at_peer(ssl_st* ssl, const WhoIs& who_is);
// Why a handshake failed, in words.
std::string handshake_failure(ssl_st* ssl, const boost::system::error_code& ec);

}  // namespace trama::overlay::mesh
