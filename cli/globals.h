// SPDX-License-Identifier: GPL-2.0-or-later
// What every verb may be told, wherever it stands on the command line.
#pragma once

#include <string>

namespace trama::cli {

struct Globals {
  std::string server;      // overrides the address in the kubeconfig
  std::string kubeconfig;  // a file
  std::string lab;         // a running lab by name
  std::string ns;          // "" = the context's, then "default"
  bool all_namespaces = false;
};

}  // namespace trama::cli
