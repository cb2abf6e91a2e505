// SPDX-License-Identifier: GPL-2.0-or-later
// The controller process as one call: store, PKI, API server and loops, composed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/loops/election.h"
#include "control/store/etcd_store.h"
#include "control/store/migration.h"

namespace trama::control {

using std::chrono::milliseconds;

// How patient the loops are. The defaults are upstream's; lab() answers in seconds.
// An agent renews its lease every `lease_renew` (it is told through the agent's own option of that name); `node_grace`
// must be at least three times that, or a single lost renewal looks like a dead node.
struct LoopTimers {
  milliseconds lease_renew{10'000};           // what agents are expected to do; only checked against node_grace
  milliseconds node_grace{40'000};            // no lease renewal for that long: Ready=Unknown
  milliseconds node_monitor{5'000};           // how often leases are looked at (receive time, not the node's clock)
  milliseconds eviction_toleration{300'000};  // pods without own tolerations leave an unreachable node after this
  double eviction_per_second = 0.1;           // nodes whose pods are evicted; none at all when most nodes are gone
  milliseconds cidr_cool_down{10'000};        // before a deleted node's pod CIDR is given to another one
  milliseconds event_ttl{3'600'000};
  std::size_t event_cap = 20'000;
  milliseconds scheduler_backoff_lowest{1'000};
  milliseconds scheduler_backoff_highest{10'000};
  milliseconds job_backoff_lowest{10'000};  // before a Job's next pod after a failed one; doubles
  milliseconds job_backoff_highest{600'000};
  milliseconds certificate_life{7LL * 24 * 3600 * 1000};  // of node certificates
  static LoopTimers lab() {
    LoopTimers t;
    t.lease_renew = milliseconds(1'000);
    t.node_grace = milliseconds(3'000);
    t.node_monitor = milliseconds(250);
    t.eviction_toleration = milliseconds(15'000);
    t.eviction_per_second = 10;
    t.cidr_cool_down = milliseconds(1'000);
    t.scheduler_backoff_lowest = milliseconds(100);
    t.scheduler_backoff_highest = milliseconds(2'000);
    t.job_backoff_lowest = milliseconds(1'000);
    t.job_backoff_highest = milliseconds(60'000);
    return t;
  }
};

struct ControllerOptions {
  std::string data_dir = "/var/lib/trama";  // CA, keys, admin.kubeconfig, the store; made 0700 when missing
  // "sqlite:PATH"; "etcd:URL[,URL…]", which several controllers can share; "" = sqlite:<data_dir>/store.db
  std::string store;
  std::string etcd_prefix = "/trama";                  // of all keys; several clusters can share one etcd
  std::string etcd_ca, etcd_cert, etcd_key;            // PEM files for https URLs; certificate and key: both or none
  milliseconds etcd_compaction{300'000};               // etcd keeps between one and two of these of history
  ElectionTimers election;                             // with etcd: who leads
  std::vector<std::string> listen = {"0.0.0.0:6443"};  // "address:port", "[v6]:port"; port 0 picks one
  // Also serve on sockets handed over by LISTEN_FDS/LISTEN_PID (systemd's protocol): one process in several network
  // namespaces. With `listen` empty only those are used.
  bool inherit_sockets = true;
  std::string advertise;                       // "address:port" told to clients; "" = first concrete listen address
  std::vector<std::string> certificate_names;  // more names and addresses in the serving certificate
  std::vector<std::string> service_cidrs = {"10.96.0.0/16"};   // first one gives the default family
  std::vector<std::string> cluster_cidrs = {"10.244.0.0/16"};  // pod CIDRs of nodes are cut from these, one per family
  unsigned node_mask_v4 = 24;
  unsigned node_mask_v6 = 64;
  std::uint16_t node_port_first = 30000;
  std::uint16_t node_port_last = 32767;
  std::uint16_t scheduler_port = 10251;  // 127.0.0.1 /healthz and /metrics; 0 = off
  std::uint16_t controllers_port = 10252;
  std::uint16_t agent_port = 10250;  // where logs, exec and nodes/proxy are forwarded to
  // Of the controller's own certificates (serving, admin.kubeconfig, towards agents); they renew themselves.
  std::chrono::seconds own_certificate_life{365LL * 24 * 3600};
  LoopTimers timers;
  std::optional<std::uint64_t> seed;  // deterministic scheduling (lab, tests)
  int ready_fd = -1;                  // gets "READY\n" once all listeners serve; closed afterwards
  bool handle_signals = true;         // SIGTERM/SIGINT end run_controller cleanly
  std::atomic<bool>* stop = nullptr;  // for tests: polled every 20 ms; true ends run_controller cleanly
};

// How patient an election is in a lab: a leader that dies is replaced within about four seconds.
inline ElectionTimers lab_election() { return {milliseconds(3'000), milliseconds(2'000), milliseconds(500)}; }

bool is_etcd(const ControllerOptions& options);
// What `store` and the etcd options stand for, with the files read.
base::Result<store::EtcdOptions> etcd_options(const ControllerOptions& options);
// The file that `store` and `data_dir` stand for.
base::Result<std::string> store_path_of(const ControllerOptions& options);

// The store of a controller into a new file, and such a file into a store that is empty.
base::Result<store::BackupReport> export_store(const ControllerOptions& options, const std::string& file);
base::Result<store::ImportReport> import_store(const std::string& file, const ControllerOptions& options);

// Runs until SIGTERM/SIGINT; the value is the exit status. Prints one line when ready
// ("trama controller ready at https://…, kubeconfig …"), tells NOTIFY_SOCKET when set.
base::Result<int> run_controller(ControllerOptions options);

}  // namespace trama::control
