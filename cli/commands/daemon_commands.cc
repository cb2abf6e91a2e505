// SPDX-License-Identifier: GPL-2.0-or-later
// `trama controller` and `trama agent`: every field of their options as a flag.
#include <cstdlib>

#include "agent/agent.h"
#include "base/log.h"
#include "cli/commands/program.h"
#include "cli/exit.h"
#include "cli/verbs/rotate_ca.h"
#include "cli/verbs/store_files.h"
#include "control/controller.h"

namespace trama::cli {

namespace {

[[maybe_unused]] constexpr const char* kGroup = "Daemons";

// A daemon whose options are wrong must not be restarted by its supervisor (exit 78); everything else may be.
[[maybe_unused]] int daemon_exit(const base::Result<int>& result) {
  if (result) return *result;
  int rc = fail(result.error());
  if (result.error().is(std::errc::bad_message)) return code(Exit::config);  // a damaged store
  return rc == code(Exit::usage) ? code(Exit::config) : rc;
}

#ifdef TRAMA_WITH_CONTROLLER
struct ControllerArguments {
  control::ControllerOptions options;
  bool lab_timers = false;
  std::string log_level = "info";
  StoreFileOptions backup, restore, exported, imported;
  bool force = false;
};

void add_controller(Program& p) {
  auto* c = p.app.add_subcommand("controller", "Run the controller: API server, scheduler, controllers")->group(kGroup);
  auto a = p.verb<ControllerArguments>(c, [c](const ControllerArguments& given) {
    if (auto r = base::configure_logging(given.log_level); !r) return fail(r.error());
    auto options = given.options;
    // --data-dir and --store mean the same to the two below as to the controller.
    if (c->got_subcommand("backup")) return controller_backup(options, given.backup);
    if (c->got_subcommand("restore")) return controller_restore(options, given.restore);
    if (c->got_subcommand("export")) return controller_export(options, given.exported);
    if (c->got_subcommand("import")) return controller_import(options, given.imported);
    if (auto* rotate = c->get_subcommand("rotate-ca"); rotate->parsed())
      return controller_rotate_ca(options, {rotate->get_subcommands().front()->get_name(), given.force});
    if (given.lab_timers) {
      options.timers = control::LoopTimers::lab();
      options.timers.certificate_life = given.options.timers.certificate_life;
      bool own = c->count("--leader-lease") + c->count("--leader-renew") + c->count("--leader-retry") > 0;
      if (!own) options.election = control::lab_election();
    }
    // Sockets handed over are all there is, unless --listen says more.
    if (std::getenv("LISTEN_FDS") && c->count("--listen") == 0) options.listen.clear();
    return daemon_exit(control::run_controller(std::move(options)));
  });
  auto& o = a->options;
  c->add_option("--data-dir", o.data_dir, "CA, keys, admin.kubeconfig and the store")->capture_default_str();
  c->add_option("--store", o.store,
                "sqlite:PATH (default: store.db in the data directory), or etcd:URL[,URL...] for several controllers");
  c->add_option("--etcd-prefix", o.etcd_prefix, "In front of all keys in etcd")->capture_default_str();
  c->add_option("--etcd-ca", o.etcd_ca, "CA of etcd's certificates, PEM file; needed for https URLs");
  c->add_option("--etcd-cert", o.etcd_cert, "Certificate to show to etcd, PEM file");
  c->add_option("--etcd-key", o.etcd_key, "Its key, PEM file");
  add_duration(c, "--etcd-compaction", o.etcd_compaction, "How often the leader lets etcd forget old history (5m)");
  add_duration(c, "--leader-lease", o.election.lease, "A leader that is silent for that long is replaced (15s)");
  add_duration(c, "--leader-renew", o.election.renew, "A leader that can not renew for that long stops leading (10s)");
  add_duration(c, "--leader-retry", o.election.retry, "Between two attempts to lead, or to renew (2s)");
  c->add_option("--listen", o.listen, "ADDRESS:PORT to serve on (several times)")->capture_default_str();
  c->add_option("--advertise", o.advertise, "ADDRESS:PORT that clients are told");
  c->add_option("--certificate-name", o.certificate_names, "More names and addresses in the serving certificate");
  c->add_option("--service-cidr", o.service_cidrs, "Addresses of Services, one per family")->capture_default_str();
  c->add_option("--cluster-cidr", o.cluster_cidrs, "Addresses of pods, one per family")->capture_default_str();
  c->add_option("--node-mask", o.node_mask_v4, "Prefix length of a node's share, IPv4")->capture_default_str();
  c->add_option("--node-mask-v6", o.node_mask_v6, "The same, IPv6")->capture_default_str();
  c->add_option("--node-port-first", o.node_port_first, "First node port")->capture_default_str();
  c->add_option("--node-port-last", o.node_port_last, "Last node port")->capture_default_str();
  c->add_option("--scheduler-port", o.scheduler_port, "127.0.0.1 /healthz and /metrics of the scheduler; 0 = off")
      ->capture_default_str();
  c->add_option("--controllers-port", o.controllers_port, "The same of the controllers")->capture_default_str();
  c->add_option("--agent-port", o.agent_port, "Where agents serve logs and exec")->capture_default_str();
  add_duration(c, "--certificate-life", o.timers.certificate_life, "Of the nodes' certificates (7d)");
  add_duration(c, "--own-certificate-life", o.own_certificate_life, "Of the controller's own certificates (365d)");
  c->add_option("--seed", o.seed, "Deterministic scheduling");
  c->add_flag("--lab-timers", a->lab_timers, "Notice dead nodes within seconds instead of upstream's patience");
  c->add_option("--ready-fd", o.ready_fd, "Write READY to this descriptor once all listeners serve");
  c->add_option("--log-level", a->log_level, "error, warn, info, debug, trace [,component=level…]")
      ->capture_default_str();
  auto* backup = c->add_subcommand("backup", "Copy the store to a new file, while the controller runs or not");
  backup->add_option("FILE", a->backup.file, "File to make")->required();
  backup->add_flag("--salvage", a->backup.salvage, "Of a damaged store: take what is whole, name the rest");
  auto* restore = c->add_subcommand("restore", "Put a backup in the place of the store of a stopped controller");
  restore->add_option("FILE", a->restore.file, "File that backup made")->required();
  auto* out = c->add_subcommand("export", "Copy the store, wherever it is, to a new file that import takes");
  out->add_option("FILE", a->exported.file, "File to make")->required();
  auto* in = c->add_subcommand("import", "Fill an empty store, wherever it is, from such a file or a backup");
  in->add_option("FILE", a->imported.file, "File that export or backup made")->required();
  auto* rotate = c->add_subcommand("rotate-ca", "Replace the cluster's CA, in three steps, while everything runs");
  rotate->require_subcommand(1);
  rotate->add_subcommand("status", "Which CAs are trusted, and who has come how far");
  rotate->add_subcommand("start", "Make a new CA, trusted beside the old one");
  auto* over = rotate->add_subcommand("switch", "Let the new CA sign: all certificates are made anew");
  over->add_flag("--force", a->force, "Even if a node that is alive does not trust it yet");
  auto* last = rotate->add_subcommand("finish", "Trust the old CA no longer");
  last->add_flag("--force", a->force, "Even if a node that is alive still has a certificate of the old one");
}
#else
void add_controller(Program&) {}
#endif

#ifdef TRAMA_WITH_AGENT
struct AgentArguments {
  agent::AgentOptions options;
  std::vector<std::string> labels;
  bool no_masquerade = false;
  std::string log_level = "info";
};

void add_agent(Program& p) {
  auto* c = p.app.add_subcommand("agent", "Run the node agent")->group(kGroup);
  auto a = p.verb<AgentArguments>(c, [](const AgentArguments& given) {
    if (auto r = base::configure_logging(given.log_level); !r) return fail(r.error());
    auto options = given.options;
    options.masquerade = !given.no_masquerade;
    for (const auto& label : given.labels) {
      auto equals = label.find('=');
      if (equals == std::string::npos || equals == 0)
        return fail(Exit::config, fmt::format("--label: expected KEY=VALUE, got \"{}\"", label));
      options.labels[label.substr(0, equals)] = label.substr(equals + 1);
    }
    return daemon_exit(agent::run_agent(std::move(options)));
  });
  auto& o = a->options;
  c->add_option("--node-name", o.node_name, "Name of the node (default: the host's)");
  c->add_option("--node-ip", o.node_ips,
                "ADDRESS[,ADDRESS] of the node (default: the default route's source); several of one family are its "
                "uplinks, the best one first")
      ->delimiter(',');
  // --server is a global flag for the verbs; the agent's own has the same meaning.
  c->add_option("--server", o.server,
                "https://ADDRESS:PORT of the controller, of several with commas between them; kept");
  c->add_option("--join", o.join, "Join string of `trama token create` (or TRAMA_JOIN); only needed the first time")
      ->envname("TRAMA_JOIN");
  c->add_option(
      "--kubeconfig", o.kubeconfig,
      "Serve Services and the overlay of the Kubernetes cluster of this file, beside a kubelet, instead of joining");
  c->add_option("--label", a->labels, "KEY=VALUE label of the node (several times)");
  c->add_option("--data-dir", o.data_dir, "Identity and the last view of the cluster")->capture_default_str();
  c->add_option("--run-dir", o.run_dir, "Registry of sandboxes, process state, logs")->capture_default_str();
  c->add_option("--netns-dir", o.netns_dir, "Where namespaces are pinned")->capture_default_str();
  c->add_option("--netns-prefix", o.netns_prefix, "In front of the names of pod namespaces");
  c->add_option("--resolv-conf", o.resolv_conf, "Whom to ask about names outside the cluster")->capture_default_str();
  c->add_option("--etc-netns-dir", o.etc_netns_dir, "hosts and resolv.conf of namespaces")->capture_default_str();
  c->add_option("--cgroup-root", o.cgroup_root, "Control group of all pods")->capture_default_str();
  c->add_option("--cluster-cidr", o.cluster_cidrs, "Addresses of pods")->capture_default_str();
  c->add_option("--service-cidr", o.service_cidrs, "Addresses of Services")->capture_default_str();
  c->add_option("--cluster-id", o.cluster_id, "The same on every node: the overlay's addresses derive from it")
      ->capture_default_str();
  c->add_option("--cluster-domain", o.cluster_domain, "Domain of the Services' names")->capture_default_str();
  c->add_option("--cluster-dns", o.cluster_dns,
                "Where this node answers its pods' DNS questions: ADDRESS[,ADDRESS], \"none\", or \"auto\", the tenth "
                "address of --service-cidr")
      ->capture_default_str();
  c->add_option(
       "--encryption", o.encryption,
       "Between nodes: off, or required: packets take WireGuard or the sealed tunnel, and none goes in the clear")
      ->capture_default_str();
  c->add_option("--wireguard", o.wireguard,
                "Where encryption is required: auto, the kernel's WireGuard with nodes that have it, too, else the "
                "sealed tunnel; off, the tunnel alone")
      ->check(CLI::IsMember({"auto", "off"}))
      ->capture_default_str();
  c->add_option("--trusted-subnets", o.trusted_subnets,
                "CIDR[,CIDR] of the underlay where \"required\" is not: between two nodes that both say so")
      ->delimiter(',');
  c->add_flag("--direct-routing", o.direct_routing,
              "Pods' packets go as they are, without an overlay, to nodes on the same link that have this, too");
  c->add_flag(
       "--tunnel", o.tunnel,
       "The second path to each node, over the peers' port, for when VXLAN does not pass; =false does without it")
      ->capture_default_str();
  c->add_option_function<std::string>(
       "--relay", [a](const std::string& value) { a->options.relay = value == "on"; },
       "on: packets to a node that nothing else reaches go over a third one, sealed for the receiver, and this node "
       "carries those of others; off: neither")
      ->check(CLI::IsMember({"on", "off"}))
      ->default_str("on");
  c->add_flag("--no-masquerade", a->no_masquerade, "Pods keep their own address beyond the cluster");
  c->add_flag("--allow-external-ips", o.allow_external_ips,
              "Honour externalIPs of Services: whoever may write a Service can then claim any address (CVE-2020-8554)");
  c->add_option("--nodeport-addresses", o.nodeport_addresses,
                "CIDR[,CIDR] of this node's addresses that have node ports; \"primary\" stands for the --node-ip ones "
                "(default: all but loopback)")
      ->delimiter(',');
  c->add_flag("--masquerade-all", o.masquerade_all,
              "Pods of a Service see this node as the client of every connection to a ClusterIP");
  c->add_flag("--localhost-nodeports", o.localhost_nodeports,
              "Node ports on 127.0.0.1 and ::1 too, TCP and UDP, by a proxy within the agent");
  c->add_flag("--conntrack-sysctls", o.conntrack_sysctls,
              "Raise nf_conntrack_max and set TCP timeouts as kube-proxy does; =false leaves them alone")
      ->capture_default_str();
  c->add_flag(
       "--hold-translation", o.hold_translation,
       "Connections to Services survive even `nft flush ruleset`, by a table that nobody else can delete; =false "
       "does without it")
      ->capture_default_str();
  c->add_option("--max-pods", o.max_pods, "Capacity of the node")->capture_default_str();
  c->add_option("--port", o.ports.api, "Agent API (logs, exec, status); 0 = off")->capture_default_str();
  c->add_option("--health-port", o.ports.health, "/healthz; 0 = off")->capture_default_str();
  c->add_option("--metrics-port", o.ports.metrics, "127.0.0.1 /metrics; 0 = off")->capture_default_str();
  c->add_option("--peer-port", o.ports.peer,
                "Agents among themselves, TCP and UDP, the same on every node; 0 = no conversation with peers")
      ->capture_default_str();
  c->add_option("--wireguard-port", o.ports.wireguard, "WireGuard, UDP, where encryption is required")
      ->capture_default_str();
  c->add_option("--overlay-status-port", o.ports.overlay_status, "127.0.0.1 (TCP) peers and paths; 0 = off")
      ->capture_default_str();
  add_duration(c, "--lease-period", o.lease_period, "How often the node says that it lives (10s)");
  add_duration(c, "--resync", o.resync, "Drift check even without a reason (30s)");
  c->add_flag("--uninstall", o.uninstall, "Take everything of trama out of this machine's kernel, then end");
  c->add_flag("--dry-run", o.dry_run, "Print what would be done, change nothing, then end");
  c->add_option("--ready-fd", o.ready_fd, "Write READY to this descriptor after the first complete pass");
  c->add_option("--log-level", a->log_level, "error, warn, info, debug, trace [,component=level…]")
      ->capture_default_str();
}
#else
void add_agent(Program&) {}
#endif

}  // namespace

void add_daemon_commands(Program& p) {
  add_controller(p);
  add_agent(p);
}

}  // namespace trama::cli
