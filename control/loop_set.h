// SPDX-License-Identifier: GPL-2.0-or-later
// The loops of a controller as one thing, and the options that they and everything else are made from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/controller.h"
#include "control/controllers/csr_loop.h"
#include "control/controllers/daemon_set_loop.h"
#include "control/controllers/deployment_loop.h"
#include "control/controllers/endpoint_mirror_loop.h"
#include "control/controllers/endpoint_slice_loop.h"
#include "control/controllers/endpoints_loop.h"
#include "control/controllers/garbage_loop.h"
#include "control/controllers/job_loop.h"
#include "control/controllers/namespace_defaults_loop.h"
#include "control/controllers/node_cidr_loop.h"
#include "control/controllers/node_lifecycle_loop.h"
#include "control/controllers/replica_set_loop.h"
#include "control/controllers/service_allocation.h"
#include "control/loops/event_recorder.h"
#include "control/pki/cluster_files.h"
#include "control/scheduler/scheduler.h"
#include "control/server/server.h"
#include "control/store/etcd_store.h"

namespace trama::control {

// The options with every text parsed and checked: what can be wrong is found before anything is opened.
struct CheckedOptions {
  ControllerOptions given;
  std::string store_path;                  // of SQLite
  std::optional<store::EtcdOptions> etcd;  // instead of SQLite
  std::vector<base::IpPort> listen;
  ServiceRanges services;
  NodeCidrOptions nodes;
};
base::Result<CheckedOptions> check_options(ControllerOptions options);

// All loops over a store, without any network.
class LoopSet {
 public:
  LoopSet(async::asio::any_io_executor ex, store::Store& store, const CheckedOptions& options,
          const pki::Authority& authority);
  void start(async::TaskGroup& group);
  // Prometheus text; `scheduler` chooses between the two ports of old.
  std::string scheduler_metrics() const;
  std::string controller_metrics() const;

 private:
  std::vector<Loop*> all();
  std::vector<const Loop*> loops() const;
  store::Store& store_;
  ControllerOptions options_;
  EventRecorder events_;
  EndpointSliceLoop slices_;
  EndpointsLoop endpoints_;
  EndpointMirrorLoop mirror_;
  NodeCidrLoop cidrs_;
  NodeLifecycleLoop lifecycle_;
  ReplicaSetLoop replica_sets_;
  DeploymentLoop deployments_;
  DaemonSetLoop daemon_sets_;
  JobLoop jobs_;
  GarbageLoop garbage_;
  NamespaceLoop namespaces_;
  NamespaceDefaultsLoop namespace_defaults_;
  CsrLoop csrs_;
  Scheduler scheduler_;
};

// What happens to writes besides validation: service allocation, certificate requests stamped with their requester,
// secrets of join tokens hashed, pods given their account and its token; the namespaces that a cluster cannot do
// without stay.
std::vector<server::Admission> admissions(ServiceAllocator& allocator);

}  // namespace trama::control
