// SPDX-License-Identifier: GPL-2.0-or-later
// Who gets a certificate. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/loops/meta.h"
#include "control/pki/authority.h"
#include "control/pki/join_token.h"

namespace trama::control {

constexpr std::string_view kNodeClientSigner = "kubernetes.io/kube-apiserver-client-kubelet";
constexpr std::string_view kNodeServingSigner = "kubernetes.io/kubelet-serving";
constexpr std::string_view kClientSigner = "kubernetes.io/kube-apiserver-client";

struct CsrWorld {
  const json::object* csr = nullptr;      // spec.username and spec.groups were set by the server, not by the client
  std::optional<pki::TokenRecord> token;  // of the requester, when it is system:bootstrap:ID and the token exists
  api::ObjectPtr node;                    // the Node that the request speaks for, when it exists
  bool name_alive = false;                // somebody renews the lease of that name
  bool name_taken = false;                // another bootstrap request for that name was approved a moment ago
  Time now;
};

struct CsrVerdict {
  enum class Type {
    none,     // decided already, or not for us
    wait,     // something is missing that may still come
    approve,  // and sign
    sign,     // somebody else has approved it
    deny,
    fail
  };
  Type type = Type::none;
  std::string reason;  // "AutoApproved", "NodeExists", …
  std::string message;
  bool uses_token = false;
  pki::Subject subject;  // for the certificate
  pki::AltNames names;
  pki::Usage usage;
};

// Node client certificates: approved iff the request has exactly the kubelet shape (CN system:node:NAME, O
// system:nodes, no other names, client auth) and either a valid token asks for a name that nobody has, or the node asks
// for itself. Serving certificates: approved iff the node asks for itself and every name is its own. Client
// certificates for people are signed once an administrator has approved them, never for system:masters.
CsrVerdict judge_csr(const CsrWorld& world);
// NAME when the request is for system:node:NAME, else "".
std::string node_of_request(const json::object& csr);

}  // namespace trama::control
