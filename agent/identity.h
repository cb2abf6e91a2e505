// SPDX-License-Identifier: GPL-2.0-or-later
// Who this node is: its certificates on disk, and how it gets them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/async/event.h"
#include "base/result.h"
#include "control/client/api_client.h"

namespace trama::agent {

using async::awaitable;

struct Identity {
  std::string server;  // "https://10.0.0.1:6443"
  std::string ca_pem;
  std::string certificate_pem, key_pem;  // of the node, as a client
  std::string server_name;               // verify the server for this name instead of the URL's host
  std::string bearer_token;              // instead of a certificate (kubeconfig only)
  client::ClientOptions client_options() const;
};

struct ServingIdentity {
  std::string certificate_pem, key_pem;  // of the agent's own API
};

// <data_dir>/pki/{ca.crt,node.crt,node.key,serving.crt,serving.key} and <data_dir>/server: directory 0700, files 0600.
class IdentityFiles {
 public:
  explicit IdentityFiles(std::string data_dir) : dir_(std::move(data_dir)) {}
  // ENOENT: this node has never joined. Any other error names the damaged file, or the other node whose directory it
  // is.
  base::Result<Identity> load(const std::string& node_name) const;
  base::Result<> save(const Identity& identity) const;
  // ENOENT when there is none, or none for exactly these addresses and names.
  base::Result<ServingIdentity> load_serving(const std::vector<std::string>& addresses,
                                             const std::vector<std::string>& names) const;
  base::Result<> save_serving(const ServingIdentity& serving) const;

 private:
  std::string path(const char* name) const { return dir_ + "/pki/" + name; }
  std::string dir_;
};

struct IdentityOptions {
  std::string node_name, server, join, kubeconfig, data_dir;
};

// The identity on disk, or that of the kubeconfig, or a new one by joining. Retries with back-off while the controller
// is away, saying so once; an error means that retrying will not help: no join string and no identity, a refusal (the
// name is taken, the token expired), unreadable files.
awaitable<base::Result<Identity>> obtain_identity(IdentityOptions options);

}  // namespace trama::agent
