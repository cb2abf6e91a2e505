// SPDX-License-Identifier: GPL-2.0-or-later
// A node's way into the cluster: one join string buys one client certificate, which the node then renews itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/client/api_client.h"

namespace trama::client {

// "trama1.<id>.<secret>.<sha256 of the CA's SPKI>", as `trama token create` prints it.
struct JoinString {
  std::string id;      // 6 of [a-z0-9]: names the token, no secret
  std::string secret;  // 32 hex digits
  std::string ca_pin;  // 64 hex digits
  static base::Result<JoinString> parse(std::string_view text);
  std::string to_string() const;
  std::string bearer() const { return id + "." + secret; }
};

struct NodeCredentials {
  std::string certificate_pem;
  std::string key_pem;
  std::string ca_pem;
};

struct JoinOptions {
  std::string server;  // "https://192.0.2.1:6443"
  JoinString token;
  std::string node_name;
  milliseconds patience{30'000};  // for the certificate, the server being up already
};

// Verifies the pin, makes a P-256 key, posts a CertificateSigningRequest, waits for the certificate.
// With a server whose CA does not match the pin, nothing but a TLS handshake has been sent.
// Error texts name the condition (Denied/Failed) that the controller gave.
awaitable<base::Result<NodeCredentials>> join_cluster(JoinOptions options);

// A new client certificate for the node that `client` is authenticated as, with a new key.
awaitable<base::Result<NodeCredentials>> renew_node_certificate(ApiClient& client, std::string node_name);

// A serving certificate for the agent's API on 10250: CN system:node:NAME, SANs as given plus the node's name, which is
// what the controller verifies. Addresses must be among the Node's status.addresses; the controller waits 10 s for
// them.
awaitable<base::Result<NodeCredentials>> request_serving_certificate(ApiClient& client, std::string node_name,
                                                                     std::vector<std::string> addresses,
                                                                     std::vector<std::string> names);

// True once two thirds of the certificate's life are over.
bool should_renew(const std::string& certificate_pem, std::int64_t now_unix_seconds);

}  // namespace trama::client
