// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/node_agent.h"

#include <algorithm>
#include <ctime>

#include <unistd.h>

#include "agent/compute/pod_status.h"
#include "agent/machine.h"
#include "agent/notify.h"
#include "base/async/run_on.h"
#include "base/file.h"

namespace trama::agent {

namespace asio = async::asio;

namespace {

constexpr auto kPatience = std::chrono::seconds(5);  // a room may be behind for so long before the node says NotReady
constexpr unsigned kUsualMtu = 1450;
// After working through changes for longer than a few milliseconds it rests for twice that time; where there are many
// nodes, and they change, for a moment in any case: each of them costs as much as all.
constexpr int kRestAfterWork = 2;
constexpr std::chrono::milliseconds kWorthGathering{10}, kLongestRest{300}, kManyNodesRest{100};
constexpr std::size_t kManyNodes = 16;
constexpr auto kKubeconfigLook = std::chrono::seconds(10);

double milliseconds_since(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - then).count();
}

// The pass repaired something that was in the kernel before: nobody had told us anything new.
void count_pass(RoomFacts& facts, std::uint64_t generation, std::size_t operations,
                const std::vector<std::string>& failures, std::chrono::steady_clock::time_point told) {
  if (operations > 0 && generation == facts.programmed) ++facts.heals;
  if (operations > 0 && generation != facts.programmed) facts.last_pass_ms = milliseconds_since(told);
  if (failures.empty()) facts.programmed = generation;
  if (!failures.empty()) ++facts.failed_passes;
  facts.operations += operations;
  facts.failures = failures;
  facts.in_sync = failures.empty();
}

}  // namespace

NodeAgent::NodeAgent(asio::any_io_executor brain, Settings settings)
    : brain_(brain),
      settings_(std::move(settings)),
      log_(base::logger("agent")),
      machine_(read_machine()),
      started_at_(now_seconds()),
      files_("trama-files"),
      pod_files_("trama-pods"),
      service_metrics_(service_clock()),
      renew_identity_(brain),
      renew_serving_(brain),
      changed_(brain),
      tasks_(brain) {
  sandbox_facts_.name = "sandboxes";
  overlay_facts_.name = "overlay";
  service_facts_.name = "services";
}

NodeAgent::~NodeAgent() = default;

base::Result<> NodeAgent::open() {
  const auto& options = settings_.options;
  RoomsOptions how;
  how.paths = settings_.paths();
  how.resync = options.resync;
  how.wireguard = settings_.wireguard();
  RoomsEvents events;
  events.observed = [this](std::shared_ptr<const netns::Observed> seen) {
    if (pods_) pods_->on_observed(std::move(seen));
  };
  events.outcome = [this](const SandboxPort::Outcome& outcome) {
    if (pods_) pods_->on_outcome(outcome);
  };
  events.sandboxes = [this](const async::PassReport& report) { sandbox_report(report); };
  events.overlay = [this](const overlay::Status& status) { overlay_status(status); };
  events.services = [this](const servicelb::Reconciler::Report& report) { service_report(report); };
  auto rooms = Rooms::open(brain_, how, std::move(events));
  if (!rooms) return base::Error(rooms.error()).in("open the kernel");
  rooms_ = std::move(*rooms);

  auto cgroups = netns::CgroupRoot::open(options.cgroup_root);
  if (!cgroups) return cgroups.error();
  netns::PodProcesses::Options where;
  where.run_dir = options.run_dir;
  processes_ = std::make_unique<netns::PodProcesses>(where, *cgroups);
  auto on_status = [this](const netns::Uid& uid, const netns::PodStatus*) { pods_->on_process_status(uid); };
  auto on_exit = [this](const netns::Uid&) { rooms_->wake_sandboxes(); };
  watch_ = std::make_unique<PodWatch>(brain_, pod_files_.executor(), *processes_, on_status, on_exit);
  auto on_verdict = [this](const netns::Uid& uid, const std::string& container, ProbeKind kind, bool passing,
                           const std::string& answer) { pods_->on_verdict(uid, container, kind, passing, answer); };
  prober_ = std::make_unique<Prober>(brain_, pod_files_.executor(), *processes_, on_verdict);

  Reporter::Options reporting;
  reporting.node_name = options.node_name;
  reporting.lease_period = options.lease_period;
  reporting.events_only = options.network_only();
  if (options.network_only()) {
    local_endpoints_.emplace(options.node_name);
    sandbox_facts_.in_sync = true;  // there are none to keep
  }
  reporter_ = std::make_unique<Reporter>(brain_, reporting);

  PodManagerOptions managing;
  managing.node_name = options.node_name;
  managing.netns_prefix = options.netns_prefix;
  managing.dns = settings_.cluster_dns();
  managing.node_resolv_conf = base::read_file(options.resolv_conf).value_or("");
  managing.host_ips = settings_.host_ips();
  auto sources_changed = [this] {
    if (begun_) update_pods(false);
  };
  sources_ = std::make_unique<PodSources>(brain_, sources_changed);
  tokens_ = std::make_unique<PodTokens>(brain_, sources_changed);
  tokens_->recall_by([this](TokenWant want) { return kept_token_file(std::move(want)); });
  PodManagerParts parts{view_, *reporter_, *watch_, *prober_, *sources_, *tokens_, rooms_->sandboxes()};
  pods_ = std::make_unique<PodManager>(brain_, std::move(managing), parts);

  open_services();
  open_peers();
  open_dns();

  ViewFeed::Options viewing;
  viewing.node_name = options.node_name;
  viewing.pods = !options.network_only();
  viewing.dir = options.data_dir + "/view";
  feed_ = std::make_unique<ViewFeed>(brain_, files_.executor(), view_, viewing, [this] { changed_.set(); });
  feed_->load();
  return start_plain_servers();
}

awaitable<base::Result<>> NodeAgent::run(std::shared_ptr<async::Event> stop) {
  stop_ = stop;
  auto opened = open();
  if (opened) {
    if (!settings_.options.network_only()) co_await adopt();
    start_parts();
    co_await stop->wait();
    log_->info("stopping; pods, overlay and services go on without the agent");
  }
  co_await end_parts();
  if (!opened) co_return opened;
  if (fatal_) co_return *fatal_;
  co_return base::Result<>();
}

// "" for a pod that does not run, or has none yet.
awaitable<std::string> NodeAgent::kept_token_file(TokenWant want) {
  auto job = [this, want] { return processes_->volume_file(want.pod_uid, want.place.volume, want.place.path); };
  auto text = co_await async::run_on(pod_files_.executor(), job);
  co_return text ? std::move(*text) : std::string();
}

// What is there is looked at before anything is given out or changed: an address in use is never given twice.
awaitable<void> NodeAgent::adopt() {
  base::Streak streak;
  for (;;) {
    auto seen = co_await rooms_->look_at_sandboxes();
    if (seen) {
      pods_->adopt(*seen);
      co_return;
    }
    streak.failed([this](const std::string& line) { log_->error("{}; trying again", line); }, seen.error());
    co_await async::sleep_for(std::chrono::milliseconds(500));
  }
}

void NodeAgent::start_parts() {
  rooms_->start();
  peers_->start();
  tasks_.spawn("pod reports", watch_->run());
  tasks_.spawn("flow", flow());
  tasks_.spawn("tick", tick());
  tasks_.spawn("connect", connect());
  tasks_.spawn("health check ports", health_ports_->run());
  if (localhost_ports_) tasks_.spawn("localhost node ports", localhost_ports_->run());
  if (dns_) {
    tasks_.spawn("DNS", dns_->run());
    tasks_.spawn("resolvers", follow_resolvers());
  }
  tasks_.spawn("obstacles", watch_obstacles());
  tasks_.spawn("neighbour tables", watch_neighbour_tables());
  if (settings_.automatic_ips()) tasks_.spawn("addresses", follow_addresses());
  if (settings_.options.hold_translation != "false") tasks_.spawn("hold translation", hold_translation());
  describe_service_ = [this](servicelb::ServiceKey key) { return rooms_->services().describe(std::move(key)); };
}

// Whoever could begin something ends before what it would begin it in: the tasks before the servers that they start,
// and the rooms' reports are not heard any more.
awaitable<void> NodeAgent::end_parts() {
  ending_ = true;
  co_await tasks_.stop();
  for (auto* server : {&api_, &health_, &metrics_, &overlay_pages_})
    if (*server) co_await (*server)->stop();
  if (peers_) co_await peers_->stop();
  if (health_ports_) co_await health_ports_->stop();
  if (localhost_ports_) co_await localhost_ports_->stop();
  if (dns_) co_await dns_->stop();
  if (prober_) co_await prober_->stop();
  if (watch_) co_await watch_->stop();
  if (pods_) co_await pods_->stop();
  if (sources_) co_await sources_->stop();
  if (tokens_) co_await tokens_->stop();
  if (reporter_) co_await reporter_->stop();
  if (feed_) co_await feed_->stop();
  if (rooms_) co_await rooms_->stop();
}

awaitable<void> NodeAgent::connect() {
  const auto& options = settings_.options;
  IdentityOptions who;
  who.node_name = options.node_name;
  who.server = options.server;
  who.join = options.join;
  who.kubeconfig = options.kubeconfig;
  who.data_dir = options.data_dir;
  auto identity = co_await obtain_identity(who);
  if (!identity) {
    fatal_ = identity.error();
    stop_->set();
    co_return;
  }
  identity_ = *identity;
  auto client = client::ApiClient::make(brain_, identity_.client_options());
  if (!client) {
    fatal_ = client.error();
    stop_->set();
    co_return;
  }
  client_ = std::move(*client);
  peers_->set_identity(identity_, !options.network_only());
  report_node();
  reporter_->start(*client_);
  feed_->start(*client_);
  if (options.network_only()) {
    tasks_.spawn("follow the kubeconfig", follow_kubeconfig());
    co_return;
  }
  sources_->start(*client_);
  tokens_->start(*client_);
  tasks_.spawn("renew certificates", renew_certificates());
  tasks_.spawn("follow the authorities", follow_authorities());
  if (options.ports.api != 0) tasks_.spawn("agent API", serve_api());
}

// Tokens of ServiceAccounts live for an hour, and whoever made the file renews certificates in it.
awaitable<void> NodeAgent::follow_kubeconfig() {
  IdentityOptions who;
  who.kubeconfig = settings_.options.kubeconfig;
  who.server = settings_.options.server;
  base::Streak streak;
  for (;;) {
    co_await async::sleep_for(kKubeconfigLook);
    auto fresh = co_await obtain_identity(who);
    auto used = fresh ? base::Result<>() : base::Result<>(fresh.error());
    if (fresh && (fresh->certificate_pem != identity_.certificate_pem || fresh->key_pem != identity_.key_pem))
      used = client_->use_certificate(fresh->certificate_pem, fresh->key_pem);
    if (!used) {
      streak.failed([this](const std::string& line) { log_->warn("{}; going on as before", line); }, used.error());
      continue;
    }
    client_->use_token(fresh->bearer_token);
    identity_ = std::move(*fresh);
    streak.recovered([this](const std::string& line) { log_->info("kubeconfig: {}", line); });
  }
}

awaitable<void> NodeAgent::flow() {
  for (;;) {
    co_await changed_.wait();
    auto begun = Clock::now();
    report_node();
    if (feed_->usable()) process_changes();
    bool crowd = mesh_world_old_ && view_.nodes().size() > kManyNodes;
    update_peers();
    // Where much changes at once, a large cluster that comes up, say, changes are gathered: it takes a part of the
    // time.
    auto rest = std::chrono::duration_cast<std::chrono::milliseconds>((Clock::now() - begun) * kRestAfterWork);
    if (crowd) rest = std::max(rest, kManyNodesRest);
    if (rest >= kWorthGathering) co_await async::sleep_for(std::min(rest, kLongestRest));
  }
}

// From the view to the rooms. The overlay first: pods need its MTU; then Services, then pods.
void NodeAgent::process_changes() {
  auto services_seen = feed_->revision(Kind::services), slices_seen = feed_->revision(Kind::slices);
  auto dirty = view_.take_dirty();
  bool first = !std::exchange(begun_, true);
  bool dns_moved = update_zone(first, dirty.services);
  bool readdressed = std::exchange(readdressed_, false);
  if (first || dirty.nodes || dns_moved || readdressed) {
    mesh_world_old_ = true;
    auto refusals = std::move(topology_.refusals);
    topology_ = compute_topology(view_.nodes(), settings_.topology(dns_addresses_));
    for (const auto& line : topology_.refusals)
      if (std::find(refusals.begin(), refusals.end(), line) == refusals.end()) log_->warn("{}", line);
    pods_->set_cidrs(topology_.pod_cidrs);
    publish_overlay();
  }
  if (!local_endpoints_ && (first || dirty.pods || dirty.service_names || dirty.nodes || readdressed)) {
    sandboxes_told_ = Clock::now();
    update_pods(first || dirty.service_names);
  }
  auto own = view_.node(settings_.options.node_name);
  auto context = settings_.services(topology_);
  if (local_endpoints_) local_endpoints_->update(view_, dirty.services);
  auto node = settings_.node_facts(own.get(), local_endpoints_ ? local_endpoints_->addresses() : pods_->local_pods());
  auto before = rooms_->services().generation();
  services_->update(view_, dirty, context, node);
  service_facts_.generation = rooms_->services().generation();
  if (service_facts_.generation != before && service_facts_.programmed == before) services_told_ = Clock::now();
  services_->seen(services_seen, slices_seen);
  report_node();
}

void NodeAgent::update_pods(bool service_names) {
  pods_->update(service_names);
  sandbox_facts_.generation = rooms_->sandboxes().generation();
}

void NodeAgent::overlay_status(const overlay::Status& status) {
  if (ending_) return;
  if (status.in_sync) overlay_well_ = Clock::now();
  if ((status.in_sync || overlay_mtu_ > 0) && overlay_mtu_ != status.vxlan_mtu) {
    overlay_mtu_ = status.vxlan_mtu;
    mesh_world_old_ = true;
  }
  if (status.tunnel_mtu > 0 && tunnel_mtu_ != status.tunnel_mtu) {
    tunnel_mtu_ = status.tunnel_mtu;
    mesh_world_old_ = true;
  }
  note_wireguard(status);
  auto plain = plain_of(status);
  if (auto uplinks = uplinks_of(status); uplinks != uplinks_) {
    uplinks_ = std::move(uplinks);
    mesh_world_old_ = true;
  }
  if (plain_ != plain) {
    plain_ = plain;
    mesh_world_old_ = true;
  }
  bool worse = !overlay_status_ || overlay_status_->problems != status.problems;
  if (worse)
    for (const auto& line : status.problems) log_->warn("overlay: {}", line);
  overlay_status_ = status;
  overlay_facts_.passes = rooms_->overlay_passes();
  count_pass(overlay_facts_, status.generation, status.operations,
             status.in_sync ? std::vector<std::string>() : status.problems, overlay_told_);
  overlay_facts_.in_sync = status.in_sync;
  pods_->set_mtu(status.mtu > 0 ? status.mtu : kUsualMtu);
  changed_.set();
  if (begun_ && !local_endpoints_) update_pods(false);
}

void NodeAgent::sandbox_report(const async::PassReport& report) {
  if (ending_) return;
  sandbox_facts_.passes = rooms_->sandbox_passes();
  sandboxes_passed_ = report.generation;  // one bad pod does not make the others wait
  count_pass(sandbox_facts_, report.generation, report.operations, report.failures, sandboxes_told_);
  pods_->on_report(report);
  changed_.set();
}

bool NodeAgent::all_programmed() const {
  return begun_ && overlay_wanted_ && overlay_facts_.in_sync &&
         overlay_facts_.programmed >= overlay_facts_.generation &&
         (local_endpoints_ || (sandboxes_passed_ > 0 && sandboxes_passed_ >= rooms_->sandboxes().generation())) &&
         rooms_->services().programmed_generation() >= rooms_->services().generation();
}

void NodeAgent::report_node() {
  NodeFindings node;
  node.node_name = settings_.options.node_name;
  node.node_ips = settings_.node_ips;
  node.labels = settings_.options.labels;
  node.machine = machine_;
  node.max_pods = settings_.options.max_pods;
  node.api_port = settings_.options.ports.api;
  node.now = now_seconds();
  auto recently = [](Clock::time_point then) { return then != Clock::time_point{} && Clock::now() - then < kPatience; };
  if (rooms_->services().programmed_generation() >= rooms_->services().generation()) services_well_ = Clock::now();
  bool overlay_ok = overlay_status_ && (overlay_status_->in_sync || recently(overlay_well_));
  bool services_ok = begun_ && service_facts_.passes > 0 && (recently(services_well_) || service_facts_.in_sync);
  node.network_ready = overlay_ok;
  node.obstacles = obstacles_;
  if (peers_seen_) node.paths = judge_paths(*peers_seen_);
  node.ready = overlay_ok && services_ok;
  if (node.ready) {
    node.reason = "AgentReady";
    node.message = "trama agent: sandboxes, overlay and services are programmed";
  } else if (begun_ && topology_.pod_cidrs.empty()) {
    node.reason = "NoPodCIDR";
    node.message = "the controller has not given this node a pod CIDR yet";
  } else if (!overlay_ok) {
    node.reason = "OverlayNotProgrammed";
    node.message = overlay_status_ && !overlay_status_->problems.empty() ? overlay_status_->problems.front()
                                                                         : "the overlay is not programmed yet";
  } else {
    node.reason = "ServicesNotProgrammed";
    node.message =
        service_facts_.failures.empty() ? "services are not programmed yet" : service_facts_.failures.front();
  }
  reporter_->node(std::move(node), view_.node(settings_.options.node_name));
  if (!said_ready_ && all_programmed() && (local_endpoints_ || reporter_->registered())) say_ready();
}

void NodeAgent::say_ready() {
  said_ready_ = true;
  std::vector<std::string> cidrs;
  for (const auto& cidr : topology_.pod_cidrs) cidrs.push_back(cidr.to_string());
  log_->info("trama agent ready: node {}, pods {}", settings_.options.node_name, fmt::join(cidrs, ","));
  notify_ready(settings_.options.ready_fd);
  settings_.options.ready_fd = -1;
}

// What only time brings about.
awaitable<void> NodeAgent::tick() {
  for (;;) {
    co_await async::sleep_for(std::chrono::milliseconds(500));
    if (begun_ && !topology_.overlay && !overlay_status_ && !local_endpoints_) {
      // No pod CIDR, so no overlay that could say an MTU: adopted sandboxes keep theirs.
      pods_->set_mtu(kUsualMtu);
      pods_->update(false);
    }
    if (!local_endpoints_) pods_->tick();
    report_node();
  }
}

}  // namespace trama::agent
