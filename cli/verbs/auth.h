// SPDX-License-Identifier: GPL-2.0-or-later
// Roles from the administrator's side: what they may do, and kubeconfigs for them.
#pragma once

#include <chrono>
#include <string>

#include "cli/globals.h"

namespace trama::cli {

// Prints the table of roles that this program's controller goes by. Asks nobody.
int auth_matrix();

struct KubeconfigOptions {
  std::string role = "admin";
  std::string user;                       // CN of the certificate; "" = trama:<role>
  std::chrono::seconds lifetime{86'400};  // at least ten minutes
  std::string file;                       // "" = standard output
};
// A kubeconfig with a fresh key and certificate for a role. Needs role admin: the request is approved on the way.
int make_kubeconfig(const Globals& globals, const KubeconfigOptions& options);

}  // namespace trama::cli
