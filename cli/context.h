// SPDX-License-Identifier: GPL-2.0-or-later
// Which API server a verb talks to, and as whom.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "cli/api.h"
#include "cli/globals.h"

namespace trama::cli {

// In this order: --kubeconfig, --lab, TRAMA_LAB, the only running lab, KUBECONFIG, /etc/trama/admin.kubeconfig.
// --server replaces the address found there. Several running labs and no choice is an error that names them.
base::Result<std::string> kubeconfig_path(const Globals& globals);

// Where the server is and who we are, --server applied.
base::Result<client::Kubeconfig> session_config(const Globals& globals);

struct Session {
  std::unique_ptr<Api> api;
  std::string ns;      // --namespace, the context's, or "default"
  std::string ca_pem;  // the cluster's trust anchor
  std::string lab;     // whose controller it is; "" = none of this machine's labs
};
base::Result<Session> open_session(const Globals& globals);
// The CAs that the cluster trusts now, the one that signs first; what the kubeconfig says where the server does not.
std::string trusted_ca(Session& session);

}  // namespace trama::cli
