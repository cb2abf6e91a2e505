// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that lives in a controller process, wired. run_controller() is this plus signals; tests use it directly.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/agent_proxy.h"
#include "control/controller.h"
#include "control/controllers/bootstrap.h"
#include "control/controllers/csr_loop.h"
#include "control/controllers/daemon_set_loop.h"
#include "control/controllers/deployment_loop.h"
#include "control/controllers/endpoint_slice_loop.h"
#include "control/controllers/garbage_loop.h"
#include "control/controllers/job_loop.h"
#include "control/controllers/node_cidr_loop.h"
#include "control/controllers/node_lifecycle_loop.h"
#include "control/controllers/replica_set_loop.h"
#include "control/controllers/service_allocation.h"
#include "control/loops/event_recorder.h"
#include "control/pki/cluster_files.h"
#include "control/scheduler/scheduler.h"
#include "control/server/server.h"
#include "control/sockets.h"

namespace trama::control {

// The options with every text parsed and checked: what can be wrong is found before anything is opened.
struct CheckedOptions {
  ControllerOptions given;
  std::string store_path;
  std::vector<base::IpPort> listen;
  ServiceRanges services;
  NodeCidrOptions nodes;
};
base::Result<CheckedOptions> check_options(ControllerOptions options);

// The store and all loops over it, without any network: what the API server and the tests stand on.
class LoopSet {
 public:
  LoopSet(async::asio::any_io_executor ex, store::Store& store, const CheckedOptions& options,
          const pki::Authority& authority);
  void start(async::TaskGroup& group);
  ServiceAllocator& allocator() { return allocator_; }
  // Prometheus text; `scheduler` chooses between the two ports of old.
  std::string scheduler_metrics() const;
  std::string controller_metrics() const;

 private:
  std::vector<const Loop*> loops() const;
  store::Store& store_;
  ControllerOptions options_;
  ServiceAllocator allocator_;
  EventRecorder events_;
  EndpointSliceLoop slices_;
  NodeCidrLoop cidrs_;
  NodeLifecycleLoop lifecycle_;
  ReplicaSetLoop replica_sets_;
  DeploymentLoop deployments_;
  DaemonSetLoop daemon_sets_;
  JobLoop jobs_;
  GarbageLoop garbage_;
  NamespaceLoop namespaces_;
  CsrLoop csrs_;
  Scheduler scheduler_;
};

// What happens to writes besides validation: service allocation, certificate requests stamped with their requester,
// secrets of join tokens hashed.
std::vector<server::Admission> admissions(ServiceAllocator& allocator);

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
  base::Result<> open_keys();
  base::Result<> write_admin_kubeconfig() const;
  base::Result<> open_health_ports();
  base::Result<> serve();
  base::IpPort advertised() const;

  async::asio::any_io_executor ex_;
  CheckedOptions options_;
  std::vector<Listener> listeners_;
  std::vector<base::IpPort> addresses_;
  std::unique_ptr<pki::ClusterKeys> keys_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<LoopSet> loops_;
  std::unique_ptr<AgentProxy> proxy_;
  std::unique_ptr<server::Server> server_;
  async::TaskGroup tasks_;
  std::string url_, kubeconfig_;
};

}  // namespace trama::control
