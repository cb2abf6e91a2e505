// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of a node agent and the wires between them. What the parts decide stands in their own files.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/api/http_server.h"
#include "agent/api/routes.h"
#include "agent/compute/local_endpoints.h"
#include "agent/compute/topology.h"
#include "agent/dns/server.h"
#include "agent/health_ports.h"
#include "agent/identity.h"
#include "agent/localhost_ports.h"
#include "agent/peer_mesh.h"
#include "agent/pod_manager.h"
#include "agent/pod_sources.h"
#include "agent/pod_tokens.h"
#include "agent/rooms.h"
#include "agent/service_feed.h"
#include "agent/service_page.h"
#include "agent/status_page.h"
#include "agent/view_feed.h"
#include "base/async/worker.h"

namespace trama::agent {

// Options that have been read: no text is parsed after this.
struct Settings {
  AgentOptions options;
  std::vector<base::Ip> node_ips;          // of the first one's family: our uplinks, in their order
  std::vector<base::Ip> host_ips() const;  // one of each family: what pods are told
  std::vector<base::Cidr> cluster_cidrs, service_cidrs, nodeport_cidrs, trusted;
  std::vector<base::Ip> dns_servers;
  bool wireguard() const { return options.wireguard == "auto" && encrypt() && tunnel(); }
  bool encrypt() const { return options.encryption == "required"; }
  // Nodes of another cluster's have no certificate that others would know.
  bool tunnel() const { return options.tunnel && options.ports.peer != 0 && !options.network_only(); }
  // Without --node-ip: the machine's own choice, which is followed when it changes.
  bool automatic_ips() const { return options.node_ips.empty(); }
  // Other addresses from now on. Errors say why they cannot be this node's.
  base::Result<> use_node_ips(std::vector<base::Ip> ips);
  ClusterDns cluster_dns() const { return {dns_servers, options.cluster_domain}; }
  netns::Paths paths() const;
  // `dns`: those of our DNS addresses that no Service owns.
  TopologyContext topology(std::vector<base::Ip> dns) const;
  // Needs what all Nodes say: their addresses.
  ServiceContext services(const TopologyOutcome& topology) const;
  // `own` is this node's object, null while nobody knows it.
  servicelb::NodeFacts node_facts(const api::Object* own, std::vector<base::Ip> local_pods) const;
};
// Fills in the defaults that this machine decides. Errors name the option.
base::Result<Settings> check_options(AgentOptions options);

constexpr auto kRenewalLook = std::chrono::milliseconds(3'600'000);  // the clock may be set: it is asked again

class NodeAgent {
 public:
  NodeAgent(async::asio::any_io_executor brain, Settings settings);
  ~NodeAgent();

  // Everything, until `stop` is set or something makes going on pointless (that is the error). Ends cleanly either way;
  // the kernel is left as it is.
  awaitable<base::Result<>> run(std::shared_ptr<async::Event> stop);

 private:
  base::Result<> open();
  void start_parts();
  awaitable<void> end_parts();
  awaitable<void> adopt();
  awaitable<std::string> kept_token_file(TokenWant want);
  awaitable<void> connect();
  awaitable<void> serve_api();
  awaitable<void> renew_certificates();
  // During a rotation of the cluster's CA (docs/ca.md): learns whom to trust, and has certificates of the one that
  // signs.
  awaitable<void> follow_authorities();
  base::Result<> use_authorities(const std::string& bundle_pem);
  bool is_of_signing_ca(const std::string& certificate_pem) const;
  awaitable<void> follow_kubeconfig();
  awaitable<void> flow();
  awaitable<void> tick();
  awaitable<void> watch_obstacles();
  awaitable<void> watch_neighbour_tables();
  awaitable<void> hold_translation();
  awaitable<void> follow_addresses();
  awaitable<void> readdress(std::vector<base::Ip> ips);

  void process_changes();
  void update_pods(bool service_names);
  void overlay_status(const overlay::Status& status);
  void sandbox_report(const async::PassReport& report);
  void open_services();
  void open_dns();
  std::vector<base::Ip> own_dns_addresses() const;
  bool update_zone(bool first, const std::set<ServiceKey>& changed);
  awaitable<void> follow_resolvers();
  void service_report(const servicelb::Reconciler::Report& report);
  awaitable<std::vector<CountedEndpoint>> counted_endpoints();
  bool services_stale() const;
  ServiceMetrics::Now service_clock() const;
  void report_node();
  void say_ready();
  void open_peers();
  void update_peers();
  std::optional<overlay::peers::World::Plain> plain_of(const overlay::Status& status) const;
  static std::vector<overlay::peers::World::Uplink> uplinks_of(const overlay::Status& status);
  void note_wireguard(const overlay::Status& status);
  void peers_changed(const MeshStatus& status);
  void publish_overlay();
  bool all_programmed() const;
  AgentFacts facts() const;

  awaitable<void> serve_page(HttpRequest request, HttpExchange& exchange);
  awaitable<void> serve_service(AskService ask, HttpExchange& exchange);
  awaitable<void> serve_plain(HttpRequest request, HttpExchange& exchange);
  awaitable<void> serve_overlay(std::string page, HttpExchange& exchange);
  HttpReply reply_to(const Ask& ask) const;
  base::Result<> start_plain_servers();
  base::Result<> start_health();

  using Clock = std::chrono::steady_clock;
  async::asio::any_io_executor brain_;
  Settings settings_;
  std::shared_ptr<spdlog::logger> log_;
  MachineFacts machine_;
  std::string started_at_;
  async::Worker files_, pod_files_;  // saved views; reports, logs and commands of pods
  std::shared_ptr<async::Event> stop_;
  std::optional<base::Error> fatal_;

  ClusterView view_;
  Identity identity_;
  std::unique_ptr<client::ApiClient> client_;
  std::unique_ptr<ViewFeed> feed_;
  std::unique_ptr<netns::PodProcesses> processes_;
  std::unique_ptr<PodWatch> watch_;
  std::unique_ptr<Prober> prober_;
  std::unique_ptr<Reporter> reporter_;
  std::unique_ptr<Rooms> rooms_;
  std::unique_ptr<PodSources> sources_;
  std::unique_ptr<PodTokens> tokens_;
  std::unique_ptr<PodManager> pods_;
  std::optional<LocalEndpoints> local_endpoints_;  // only where pods are somebody else's
  ServiceMetrics service_metrics_;
  std::unique_ptr<ServiceFeed> services_;
  std::unique_ptr<HealthPorts> health_ports_;
  std::unique_ptr<LocalhostPorts> localhost_ports_;
  std::unique_ptr<dns::Zone> zone_;  // with dns_, or neither
  std::unique_ptr<dns::Server> dns_;
  DescribeService describe_service_;  // may be empty: then only what was told is known
  std::unique_ptr<HttpServer> api_, health_, metrics_, overlay_pages_;
  std::string serving_pem_;                      // the certificate of api_
  std::vector<base::Ip> serving_at_;             // where api_ listens
  async::Event renew_identity_, renew_serving_;  // the CA that signs has changed
  std::unique_ptr<PeerMesh> peers_;
  std::optional<MeshStatus> peers_seen_;
  bool mesh_world_old_ = true, controller_heard_ = false;
  std::optional<overlay::peers::World::Plain> plain_;
  std::vector<overlay::peers::World::Uplink> uplinks_;
  std::optional<overlay::peers::World::Wireguard> wireguard_;
  std::string no_wireguard_;
  unsigned wireguard_passes_ = 0;
  unsigned overlay_mtu_ = 0, tunnel_mtu_ = 0;  // since it stood for the first time
  async::Event changed_;
  async::TaskGroup tasks_;

  bool begun_ = false, ending_ = false, readdressed_ = false, said_ready_ = false, conntrack_set_ = false;
  TopologyOutcome topology_;
  std::vector<base::Ip> dns_addresses_;  // that this node answers at
  std::shared_ptr<const overlay::Desired> overlay_wanted_;
  std::optional<overlay::Status> overlay_status_;
  std::optional<std::vector<Obstacle>> obstacles_;
  Clock::time_point overlay_well_{}, services_well_{};
  RoomFacts sandbox_facts_, overlay_facts_, service_facts_;
  std::uint64_t sandboxes_passed_ = 0;  // generation of the last finished pass
  Clock::time_point sandboxes_told_{}, overlay_told_{}, services_told_{};
};

}  // namespace trama::agent
