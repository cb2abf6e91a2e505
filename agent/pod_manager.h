// SPDX-License-Identifier: GPL-2.0-or-later
// The pods of this node from the moment they are bound to it until nothing of them is left: addresses, sandboxes,
// statuses, probes, deletion.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "agent/compute/pod_status.h"
#include "agent/compute/sandboxes.h"
#include "agent/ipam.h"
#include "agent/pod_sources.h"
#include "agent/pod_tokens.h"
#include "agent/pod_watch.h"
#include "agent/prober.h"
#include "agent/reporter.h"
#include "agent/sandbox_port.h"
#include "base/async/latest.h"
#include "base/async/reconcile.h"

namespace trama::agent {

struct PodManagerOptions {
  std::string node_name, netns_prefix, node_resolv_conf;
  ClusterDns dns;
  std::vector<base::Ip> host_ips;
};

// What it works with; all of it outlives the manager and lives on the same executor.
struct PodManagerParts {
  ClusterView& view;
  Reporter& reporter;
  PodWatch& processes;
  Prober& prober;
  PodSources& sources;
  PodTokens& tokens;
  async::Latest<netns::Desired>& want;
};

// Everything is a call from outside followed by "compute anew, say what changed"; nothing awaits.
class PodManager {
 public:
  PodManager(async::asio::any_io_executor brain, PodManagerOptions options, PodManagerParts parts);
  awaitable<void> stop();

  // What was there before this process: its addresses are taken, its processes go on. Once, before update() does
  // anything.
  void adopt(const netns::Observed& observed);
  void set_host_ips(std::vector<base::Ip> ips) { options_.host_ips = std::move(ips); }
  void set_cidrs(std::vector<base::Cidr> cidrs);
  void set_mtu(unsigned mtu);  // update() does nothing before this

  // The view has changed. `service_names`: the hosts files too.
  void update(bool service_names);
  // Retries what only time can cure.
  void tick();

  // From the sandboxes' kernel and reconciler.
  void on_observed(std::shared_ptr<const netns::Observed> observed);
  void on_outcome(const SandboxPort::Outcome& outcome);
  void on_report(const async::PassReport& report);
  // From the processes and the probes.
  void on_process_status(const netns::Uid& uid);
  void on_verdict(const netns::Uid& uid, const std::string& container, ProbeKind kind, bool passing,
                  const std::string& answer);

  struct Summary {
    std::size_t pods = 0, sandboxes = 0, ready = 0, addresses = 0;
    std::vector<std::string> troubles;  // "default/web-1: UnsupportedField: …"
    bool holding = false;  // nothing is published because that would end sandboxes the saved view does not know
  };
  Summary summary() const;
  std::vector<base::Ip> local_pods() const;
  api::ObjectPtr pod_of(const netns::Uid& uid) const;
  bool may_log_more(const netns::Uid& uid, const std::string& container) const;

 private:
  void want_sources();
  void refresh(const api::ObjectPtr& pod);
  void probe(const api::ObjectPtr& pod, const std::vector<netns::ContainerStatus>& containers);
  void say(const api::Object& pod, const std::vector<netns::ContainerStatus>& containers);
  PodFindings findings(const api::Object& pod, const netns::PodStatus* status);
  std::map<std::string, bool> readiness(const api::Object& pod, const std::vector<netns::ContainerStatus>& containers);
  void end_if_over(const api::ObjectPtr& pod);
  void release_addresses();
  void forget_gone();
  const netns::ObservedSandbox* seen(const netns::Uid& uid) const;
  awaitable<void> restart_container(netns::Uid uid, std::string container, std::chrono::seconds grace);

  async::asio::any_io_executor brain_;
  PodManagerOptions options_;
  PodManagerParts parts_;
  std::shared_ptr<spdlog::logger> log_;
  async::TaskGroup tasks_;
  AddressPool pool_;
  std::unique_ptr<ServiceNames> names_;
  unsigned mtu_ = 0;
  bool adopted_ = false, holding_ = false;

  std::shared_ptr<const netns::Desired> published_;
  std::uint64_t published_generation_ = 0;
  std::shared_ptr<const netns::Observed> observed_;      // the newest
  std::shared_ptr<const netns::Observed> settled_;       // the newest of a finished pass
  std::uint64_t settled_generation_ = 0;                 // of the desired state that pass worked on
  bool fresh_ = false;                                   // observed_ belongs to the pass that runs
  std::set<netns::Uid> asked_;                           // published by this process, not known to be gone
  std::map<netns::Uid, std::uint64_t> stop_generation_;  // first generation that asked to stop it
  std::set<netns::Uid> networked_;                       // its network was made, or seen in order
  std::map<netns::Uid, PodTrouble> troubles_;            // from computing
  std::map<netns::Uid, PodTrouble> failures_;            // from the kernel
  std::map<netns::Uid, PodWait> waits_;                  // for ConfigMaps, Secrets and tokens
  std::map<netns::Uid, api::ObjectPtr> pods_;            // as of the last update()
};

}  // namespace trama::agent
