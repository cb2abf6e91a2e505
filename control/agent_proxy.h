// SPDX-License-Identifier: GPL-2.0-or-later
// pods/log, pods/exec, pods/attach and nodes/proxy: carried through to the agent of the node, port 10250.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/client/api_client.h"
#include "control/pki/cluster_files.h"
#include "control/server/server.h"

namespace trama::control {

// Where on the agent a request goes. Pure; the names are kubelet's.
std::string log_target(const std::string& ns, const std::string& pod, const std::string& container,
                       const server::Request& request);
std::string exec_target(const std::string& verb, const std::string& ns, const std::string& pod,
                        const std::string& container, const server::Request& request);

class AgentProxy {
 public:
  // The agent must present a certificate of our CA for the node's name; we present CN trama:controller.
  AgentProxy(async::asio::any_io_executor ex, store::Store& store, const pki::ClusterKeys& keys,
             std::uint16_t agent_port);
  // The server's RawHandler. Failures are answered as Status objects.
  server::awaitable<void> handle(server::SubresourcePath path, server::Request request, server::Stream& stream);

  // The keys given at construction have changed: new connections use them.
  base::Result<> use_fresh_keys();

 private:
  api::Answer<client::ApiClient*> agent_of(const std::string& node);
  server::awaitable<void> log(server::SubresourcePath path, server::Request request, server::Stream& stream);
  server::awaitable<void> tunnel(server::SubresourcePath path, server::Request request, server::Stream& stream);
  server::awaitable<void> node(server::SubresourcePath path, server::Request request, server::Stream& stream);

  async::asio::any_io_executor ex_;
  store::Store& store_;
  const pki::ClusterKeys& keys_;
  std::uint16_t agent_port_;
  // Clients are never dropped while requests may use them: one per node and address.
  std::map<std::string, std::unique_ptr<client::ApiClient>> agents_;
};

}  // namespace trama::control
