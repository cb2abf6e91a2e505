// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include <unistd.h>

#include "base/file.h"
#include "cli/apply.h"
#include "cli/echo/socket.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/lab/daemon.h"
#include "cli/lab/lab.h"
#include "cli/lab/network.h"
#include "cli/lab/ready.h"
#include "cli/lab/screen.h"
#include "cli/links/service.h"
#include "cli/token.h"
#include "cli/yaml/emit.h"
#include "control/api/object.h"
#include "control/client/kubeconfig.h"

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint16_t kApiPort = 6443;
constexpr const char* kNetnsDir = "/run/netns";

Result<std::string> own_program() {
  char path[PATH_MAX];
  auto n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n < 0) return Error::from_errno(errno, "find this program");
  return std::string(path, static_cast<std::size_t>(n));
}

// A lab while it comes up. On failure or Ctrl-C the caller tears down what the record names.
class LabUp {
 public:
  LabUp(const LabRegistry& registry, LabSpec lab, const LabUpOptions& options, Screen& screen)
      : registry_(registry),
        lab_(std::move(lab)),
        options_(options),
        screen_(screen),
        deadline_(Clock::now() + options.timeout) {}

  LabRecord& record() { return record_; }

  Result<> run() {
    auto steps = {&LabUp::write_record, &LabUp::build_network, &LabUp::wait_controller, &LabUp::start_agents,
                  &LabUp::wait_agents,  &LabUp::apply_objects, &LabUp::apply_links};
    for (auto step : steps) {
      if (auto r = (this->*step)(); !r) return r;
      if (interrupted()) return Error::text("interrupted", std::errc::operation_canceled);
    }
    record_.state = "up";
    return registry_.write(record_);
  }

  Result<> settle() {
    auto on = [this](const char* stage, const char* suffix) {
      return [this, stage, suffix](const Progress& p) {
        screen_.progress(stage, fmt::format("{}/{}{}{}", p.done, p.wanted, *suffix ? " " : "", suffix));
      };
    };
    if (auto r = wait_pods(*api_, on("pods", ""), deadline_); !r) return std::move(r).error().in("pods");
    screen_.done("pods");
    if (auto r = wait_services(*api_, node_names(), on("services", "nodes have programmed them"), deadline_); !r)
      return std::move(r).error().in("services");
    screen_.done("services");
    return {};
  }

  // For a lab that runs already: only its objects.
  Result<> reapply(const LabRecord& running) {
    record_ = running;
    std::vector<std::string> names = node_names(), there;
    for (const auto& n : running.nodes) there.push_back(n.name);
    std::sort(names.begin(), names.end());
    std::sort(there.begin(), there.end());
    if (names != there)
      return Error::text(
          fmt::format("lab \"{}\" is up with the nodes {}; other nodes need a new lab (trama lab down {})",
                      running.name, fmt::join(there, ", "), running.name),
          std::errc::file_exists);
    if (auto r = open_api(); !r) return r;
    if (auto r = apply_objects(); !r) return r;
    auto lock = registry_.lock(lab_.name);
    if (!lock) return std::move(lock).error();
    lock_ = std::move(*lock);
    return apply_links();
  }

  Api& api() { return *api_; }
  std::vector<std::string> node_names() const {
    std::vector<std::string> names;
    for (const auto& n : lab_.nodes) names.push_back(n.name);
    return names;
  }

 private:
  std::string directory(const std::string& sub = "") const {
    return registry_.directory(lab_.name) + (sub.empty() ? "" : "/" + sub);
  }

  // Everything that will be made is written down before it is made.
  Result<> write_record() {
    auto me = identify(getpid());
    if (!me) return std::move(me).error();
    record_.name = lab_.name;
    record_.creator = *me;
    record_.switch_address = lab_.switch_address.to_string();
    record_.file = lab_.file;
    record_.created_at = std::time(nullptr);
    for (const auto& n : lab_.nodes) record_.nodes.push_back(LabNode{n.name, n.address.to_string()});
    for (const char* d : {"/run/trama", "/run/trama/labs", kNetnsDir, "/etc/netns"})
      if (access(d, F_OK) != 0) record_.made_directories.emplace_back(d);
    record_.made_netns_mount = !is_mount_point(kNetnsDir);
    if (auto r = registry_.write(record_); !r) return r;
    auto lock = registry_.lock(lab_.name);
    if (!lock) return std::move(lock).error();
    lock_ = std::move(*lock);
    auto program = own_program();
    if (!program) return std::move(program).error();
    program_ = *program;
    // The machine's resolvers cannot be reached from a lab: asking them would only take its time.
    auto none = fmt::format(
        "# Whom the nodes of lab {} ask about names outside it, e.g. nameserver {}; read again every "
        "five seconds.\n",
        lab_.name, lab_.switch_address.to_string());
    if (auto r = base::write_file_replace(directory("resolv.conf"), none); !r) return r;
    return base::make_directories(directory("controller"), 0700);
  }

  Result<> build_network() {
    auto network = LabNetwork::open(kNetnsDir);
    if (!network) return std::move(network).error();
    network_ = std::make_unique<LabNetwork>(std::move(*network));
    for (const auto& op : plan_switch(lab_))
      if (auto r = network_->apply(op); !r) return r;
    // The controller reads its keys and makes certificates while the nodes' network is made.
    if (auto r = start_controller(); !r) return r;
    for (const auto& n : lab_.nodes)
      for (const auto& op : plan_node(lab_, n))
        if (auto r = network_->apply(op); !r) return r;
    screen_.progress("network", fmt::format("{} on {}", lab_.underlay.to_string(), switch_netns(lab_.name)));
    screen_.done("network");
    return {};
  }

  Result<UniqueFd> listen_on_host() {
    // The usual port when it is free, so that kubectl's examples fit; any other otherwise: labs stand side by side.
    auto usual = bind_socket(SOCK_STREAM, HostPort{"127.0.0.1", kApiPort});
    return usual ? std::move(usual) : bind_socket(SOCK_STREAM, HostPort{"127.0.0.1", 0});
  }

  Result<> start_controller() {
    auto outside = listen_on_host();
    if (!outside) return std::move(outside).error();
    record_.api_port = local_address(outside->get()).port();
    UniqueFd inside;
    auto bound = network_->inside(switch_netns(lab_.name), [&]() -> Result<> {
      auto fd = bind_socket(SOCK_STREAM, HostPort{lab_.switch_address.to_string(), kApiPort});
      if (!fd) return std::move(fd).error();
      inside = std::move(*fd);
      return {};
    });
    if (!bound) return bound;
    DaemonSpec d;
    d.program = program_;
    d.netns_fd = network_->fd(switch_netns(lab_.name));
    d.log_path = directory("controller.log");
    d.sockets = {inside.get(), outside->get()};
    d.arguments = {"controller",
                   "--data-dir",
                   directory("controller"),
                   "--advertise",
                   fmt::format("{}:{}", lab_.switch_address.to_string(), kApiPort),
                   "--certificate-name",
                   lab_.switch_address.to_string(),
                   "--certificate-name",
                   "127.0.0.1",
                   "--lab-timers",
                   "--log-level",
                   options_.log_level};
    for (const auto& c : lab_.service_cidrs) d.arguments.insert(d.arguments.end(), {"--service-cidr", c});
    for (const auto& c : lab_.pod_cidrs) d.arguments.insert(d.arguments.end(), {"--cluster-cidr", c});
    auto started = start_daemon(d);
    if (!started) return std::move(started).error();
    record_.processes.push_back(LabProcess{"controller", "", started->id});
    controller_.push_back(std::move(*started));
    return registry_.write(record_);
  }

  Result<> wait_controller() {
    std::vector<std::string> logs{directory("controller.log")};
    if (auto r = wait_ready(controller_, logs, deadline_); !r) return std::move(r).error().in("the controller");
    // Its own kubeconfig names the address inside the lab; ours the one on this machine.
    auto config = client::read_kubeconfig(directory("controller/admin.kubeconfig"));
    if (!config) return std::move(config).error();
    config->context = "trama-" + lab_.name;
    config->server = fmt::format("https://127.0.0.1:{}", record_.api_port);
    if (auto r = client::write_kubeconfig(registry_.kubeconfig(lab_.name), *config); !r) return r;
    if (auto r = open_api(); !r) return r;
    screen_.progress("controller", config->server);
    screen_.done("controller");
    return {};
  }

  Result<> open_api() {
    auto config = client::read_kubeconfig(registry_.kubeconfig(lab_.name));
    if (!config) return std::move(config).error();
    ca_pem_ = config->ca_pem;
    auto api = Api::open(*config);
    if (!api) return std::move(api).error();
    api_ = std::move(*api);
    return {};
  }

  Result<> start_agents() {
    TokenOptions token;
    token.lifetime = std::chrono::minutes(10);
    token.uses = static_cast<std::int64_t>(lab_.nodes.size());
    token.description = "trama lab up";
    auto join = create_token(*api_, ca_pem_, token);
    if (!join) return std::move(join).error();
    for (const auto& n : lab_.nodes) {
      DaemonSpec d;
      d.program = program_;
      d.netns_fd = network_->fd(node_netns(lab_.name, n.name));
      d.log_path = directory(n.name + ".log");
      d.environment = {{"TRAMA_JOIN", *join}};  // not on the command line, where everybody can read it
      d.arguments = {"agent",
                     "--server",
                     fmt::format("https://{}:{}", lab_.switch_address.to_string(), kApiPort),
                     "--node-name",
                     n.name,
                     "--node-ip",
                     n.address.to_string() + (lab_.uplinks == 2 ? "," + lab_.second_address(n).to_string() : ""),
                     "--netns-prefix",
                     pod_netns_prefix(lab_.name, n.name),
                     "--cgroup-root",
                     cgroup_root(lab_.name, n.name),
                     "--run-dir",
                     directory(n.name),
                     "--data-dir",
                     directory(n.name) + "/data",
                     "--cluster-id",
                     lab_.name,
                     "--resolv-conf",
                     directory("resolv.conf"),
                     "--lease-period",
                     "1s",
                     "--encryption",
                     lab_.encryption,
                     "--wireguard",
                     lab_.wireguard,
                     "--log-level",
                     options_.log_level};
      if (lab_.direct_routing) d.arguments.push_back("--direct-routing");
      for (const auto& c : lab_.service_cidrs) d.arguments.insert(d.arguments.end(), {"--service-cidr", c});
      for (const auto& c : lab_.pod_cidrs) d.arguments.insert(d.arguments.end(), {"--cluster-cidr", c});
      for (const auto& [key, value] : n.labels) d.arguments.insert(d.arguments.end(), {"--label", key + "=" + value});
      auto started = start_daemon(d);
      if (!started) return std::move(started).error();
      record_.processes.push_back(LabProcess{"agent", n.name, started->id});
      agents_.push_back(std::move(*started));
    }
    return registry_.write(record_);
  }

  // After the nodes: pods that come first would all be put on the node that happens to be ready first.
  Result<> apply_objects() {
    auto manifests = lab_.manifests;
    std::stable_partition(manifests.begin(), manifests.end(),
                          [](const Manifest& m) { return m.kind->kind == "Namespace"; });
    std::size_t changed = 0;
    for (const auto& m : manifests) {
      auto done = apply_one(*api_, m, "default");
      if (!done) return std::move(done).error();
      for (const auto& w : done->warnings) screen_.warn(w);
      if (done->outcome != Outcome::unchanged) ++changed;
    }
    screen_.progress("objects", fmt::format("{} ({} created or changed)", manifests.size(), changed));
    screen_.done("objects");
    return {};
  }

  // Last of all: a cluster comes together over good links, whatever they are then made into.
  Result<> apply_links() {
    LinkChange change;
    change.what = LinkChange::What::file;
    change.specs = lab_.links;
    if (auto r = change_links(registry_, record_, change); !r) return std::move(r).error().in("links");
    if (lab_.links.empty()) return {};
    std::size_t ways = 0;
    for (const auto& l : lab_.links) ways += l.keys.size();
    screen_.progress("links", fmt::format("{} as described (trama link show)", ways));
    screen_.done("links");
    return {};
  }

  Result<> wait_agents() {
    std::vector<std::string> logs;
    for (const auto& n : lab_.nodes) logs.push_back(directory(n.name + ".log"));
    if (auto r = wait_ready(agents_, logs, deadline_); !r) return std::move(r).error().in("an agent");
    auto tell = [this](const Progress& p) {
      screen_.progress("nodes", fmt::format("{}/{}  {}", p.done, p.wanted, p.names));
    };
    if (auto r = wait_nodes(*api_, node_names(), tell, deadline_); !r) return r;
    screen_.done("nodes");
    return {};
  }

  const LabRegistry& registry_;
  LabSpec lab_;
  const LabUpOptions& options_;
  Screen& screen_;
  Clock::time_point deadline_;
  LabRecord record_;
  UniqueFd lock_;
  std::string program_, ca_pem_;
  std::unique_ptr<LabNetwork> network_;
  std::vector<Daemon> controller_, agents_;
  std::unique_ptr<Api> api_;
};

Result<LabSpec> read_lab(const std::string& file) {
  if (file.empty()) {
    auto documents = load_yaml(hello_lab(), "the built-in lab");
    if (!documents) return std::move(documents).error();
    return parse_lab(std::move(*documents));
  }
  std::vector<std::string> files{file};
  auto documents = read_documents(files);
  if (!documents) return std::move(documents).error();
  return parse_lab(std::move(*documents));
}

int print_plan(const LabSpec& lab) {
  for (const auto& op : plan_switch(lab)) fmt::print("{}\n", to_text(op));
  for (const auto& n : lab.nodes)
    for (const auto& op : plan_node(lab, n)) fmt::print("{}\n", to_text(op));
  fmt::print("process controller in {}\n", switch_netns(lab.name));
  for (const auto& n : lab.nodes) fmt::print("process agent {} in {}\n", n.name, node_netns(lab.name, n.name));
  for (const auto& l : lab.links)
    for (const auto& k : l.keys)
      fmt::print("link {}{}{}{}\n", k.text(), l.only == Match{} ? "" : " only " + l.only.text(),
                 l.cut ? " " + l.cut->text() : "", l.shape ? " " + l.shape->text() : "");
  for (const auto& m : lab.manifests) fmt::print("apply {}\n", display_name(*m.kind, m.name));
  return code(Exit::ok);
}

int finish(LabUp& up, const LabRegistry& registry, const LabUpOptions& options, Screen& screen, bool was_up) {
  const auto& name = up.record().name;
  if (options.wait) {
    if (auto r = up.settle(); !r) {
      screen.stop();
      return fail(
          r.error(),
          fmt::format("the lab stays up: trama get pods -o wide, trama events; logs are in {}; trama lab down {}",
                      registry.directory(name), name));
    }
  }
  if (options.output == "json") {
    auto v = screen.report();
    auto& o = v.get_object();
    o["lab"] = name;
    o["kubeconfig"] = registry.kubeconfig(name);
    o["server"] = fmt::format("https://127.0.0.1:{}", up.record().api_port);
    o["wasUp"] = was_up;
    std::fputs(to_pretty_json(v).c_str(), stdout);
    return code(Exit::ok);
  }
  screen.stop();
  fmt::print(stderr, "lab {} {} in {:.2f} s\n", name, was_up ? "was up; its objects are as described" : "is up",
             screen.seconds());
  auto other = LabRegistry().list().size() > 1 ? "--lab " + name + " " : "";
  fmt::print(stderr,
             "  next: trama {0}get pods -o wide   ·   trama {0}get services   ·   ip netns   ·   trama lab down {1}\n",
             other, name);
  return code(Exit::ok);
}

}  // namespace

int lab_up(const LabUpOptions& options) {
  auto lab = read_lab(options.file);
  if (!lab) return fail(lab.error());
  if (options.dry_run) return print_plan(*lab);
  if (auto r = require_root("up"); !r) return fail(r.error());
  LabRegistry registry;
  catch_interrupts();
  Screen screen(options.output == "json", options.timings);
  auto name = lab->name;
  auto existing = registry.read(name);
  std::error_code ec;
  if (!existing && std::filesystem::exists(registry.directory(name), ec))
    return fail(Exit::conflict,
                fmt::format("{} is left of an earlier lab and holds no readable record", registry.directory(name)),
                fmt::format("trama lab down {}", name));
  if (existing) {
    auto state = state_of(*existing);
    if (state == LabState::starting)
      return fail(Exit::conflict,
                  fmt::format("lab \"{}\" is being started right now (process {})", name, existing->creator.pid));
    if (state == LabState::broken)
      return fail(Exit::conflict, fmt::format("an earlier lab \"{}\" is half dead: its controller does not run", name),
                  fmt::format("trama lab down {}   or   trama lab prune", name));
    LabUp up(registry, std::move(*lab), options, screen);
    if (auto r = up.reapply(*existing); !r) {
      screen.stop();
      return fail(r.error());
    }
    return finish(up, registry, options, screen, true);
  }
  LabUp up(registry, std::move(*lab), options, screen);
  if (auto r = up.run(); !r) {
    screen.stop();
    int rc = fail(r.error());
    // Keep what explains the failure, then leave nothing else behind.
    fmt::print(stderr, "trama: taking the unfinished lab down\n");
    if (auto down = tear_down(registry, up.record()); !down) fail(down.error(), "trama lab down " + name);
    return interrupted() ? code(Exit::interrupted) : rc;
  }
  return finish(up, registry, options, screen, false);
}

}  // namespace trama::cli
