// SPDX-License-Identifier: GPL-2.0-or-later
// Where the server is and who we are, in kubectl's file format. Written as JSON, which every YAML reader takes.
#pragma once

#include <string>
#include <string_view>

#include "control/client/api_client.h"

namespace trama::client {

// One context of a kubeconfig, resolved: certificates as PEM text, not base64 or paths.
struct Kubeconfig {
  std::string context = "trama";
  std::string ns;  // of the context; "" = default
  std::string server;
  std::string ca_pem;
  std::string server_name;  // tls-server-name
  std::string certificate_pem;
  std::string key_pem;
  std::string token;

  ClientOptions client_options() const;
  std::string to_text() const;
};

// Reads YAML or JSON. `context` "" means current-context. File references (certificate-authority, client-key, ...) are
// read relative to `base_directory`. exec plugins and auth providers are refused with a clear error.
base::Result<Kubeconfig> parse_kubeconfig(std::string_view text, const std::string& base_directory = ".",
                                          const std::string& context = "");
base::Result<Kubeconfig> read_kubeconfig(const std::string& path, const std::string& context = "");
// Mode 0600, atomically.
base::Result<> write_kubeconfig(const std::string& path, const Kubeconfig& config);

}  // namespace trama::client
