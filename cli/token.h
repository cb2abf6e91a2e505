// SPDX-License-Identifier: GPL-2.0-or-later
// Join tokens: Secrets of the type that kubeadm uses, and the join string that wraps one with the CA's pin.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "cli/api.h"

namespace trama::cli {

// Makes a token in the cluster and returns the join string for `trama agent --join`.
base::Result<std::string> create_token(Api& api, const std::string& ca_pem, std::chrono::seconds lifetime);

}  // namespace trama::cli
