// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that lives in a controller process, wired. run_controller() is this plus signals; tests use it directly.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/agent_proxy.h"
#include "control/controller.h"
#include "control/leadership.h"
#include "control/loop_set.h"
#include "control/pki/cluster_files.h"
#include "control/server/server.h"
#include "control/sockets.h"

namespace trama::control {

class ControllerProcess {
 public:
  ControllerProcess(async::asio::any_io_executor ex, CheckedOptions options);
  // Opens everything; on return all listeners serve and the loops run.
  async::awaitable<base::Result<>> start();
  // In reverse. Also after a start() that failed half-way.
  async::awaitable<void> stop();
  const std::string& server_url() const { return url_; }
  const std::string& kubeconfig_path() const { return kubeconfig_; }

 private:
  base::Result<> open_sockets();
  async::awaitable<base::Result<>> open_store();
  base::Result<> open_keys();
  async::awaitable<base::Result<>> fill_store();
  async::awaitable<void> renew_keys();
  base::Result<> use_fresh_keys();
  // Follows what the cluster says which CAs it trusts: files, certificates, listeners.
  base::Result<> apply_authorities();
  async::awaitable<base::Result<>> tell_again();
  async::awaitable<void> follow_authorities();
  async::awaitable<server::Reply> tell_authorities(server::Request request);
  std::string own_authorities() const;
  base::Result<> write_admin_kubeconfig() const;
  base::Result<> open_health_ports();
  base::Result<> serve();
  base::IpPort advertised() const;

  async::asio::any_io_executor ex_;
  CheckedOptions options_;
  std::vector<Listener> listeners_;
  std::vector<base::IpPort> addresses_;
  pki::ServingNames names_;
  std::unique_ptr<pki::ClusterKeys> keys_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<ServiceAllocator> allocator_;
  std::unique_ptr<Leadership> leadership_;
  std::unique_ptr<AgentProxy> proxy_;
  std::unique_ptr<server::Server> server_;
  async::Event authorities_changed_;
  async::TaskGroup tasks_;
  std::string url_, kubeconfig_;
};

}  // namespace trama::control
