// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/e2e/support/cluster.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/api/object.h"
#include "tests/support/private_netns.h"

namespace trama::test {

namespace {

constexpr const char* kControllerIp = "10.90.0.1";
constexpr const char* kSecondIp = "10.90.0.2";
std::atomic<int> serial{0};

std::string in_quotes(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

bool has_condition(const json::value& object, const std::string& type) {
  if (!object.is_object()) return false;
  for (const auto& c : api::array_at(object.get_object(), "status.conditions"))
    if (c.is_object() && api::text_at(c.get_object(), "type") == type)
      return api::text_at(c.get_object(), "status") == "True";
  return false;
}

}  // namespace

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  prefix_ = fmt::format("t{}x{}", getpid(), ++serial);
  directory_ = fmt::format("/tmp/trama-e2e-{}", prefix_);
  auto* binary = std::getenv("TRAMA_BINARY");
  if (!binary || !*binary) {
    ADD_FAILURE() << "TRAMA_BINARY is not set: run this through ctest";
    ok_ = false;
    return;
  }
  binary_ = binary;
  std::filesystem::create_directories(directory_);
  made_netns_mount_ = shell("mountpoint -q /run/netns") != 0;
  ok_ = must("mkdir -p /run/netns", "netns directory") && must("ip netns add " + netns("hub"), "hub") &&
        must(fmt::format("ip -n {0} link set lo up && ip -n {0} link add br0 address 02:5a:00:00:00:01 type bridge && "
                         "ip -n {0} link set br0 up && "
                         "ip -n {0} addr add {1}/24 dev br0",
                         netns("hub"), kControllerIp),
             "switch");
}

Cluster::~Cluster() {
  if (::testing::Test::HasFailure()) show_logs();
  for (auto& [name, node] : nodes_) {
    if (node.pid > 0) stop_agent(name);
    std::string output;
    int rc = run_agent(name, "--uninstall", &output);
    EXPECT_EQ(rc, 0) << "uninstall " << name << ": " << output;
    std::string left;
    // What is on its way out may vanish under the search; what stays is left behind.
    auto look = fmt::format(
        "ls /run/netns | grep -F '{0}.{1}.' ; ls -d /etc/netns/{0}.{1}.* 2>/dev/null; "
        "find /sys/fs/cgroup -maxdepth 4 -path '*trama.slice/{0}.{1}/*' -type d 2>/dev/null",
        prefix_, name);
    (void)eventually([&] { return shell(look, &left), left.empty(); }, 2000);
    EXPECT_EQ(left, "") << "left behind by " << name;
    // Without ip(8)'s complaints: it looks at all pinned namespaces, and those of others come and go.
    shell(fmt::format("ip -n {} -o link show 2>/dev/null | grep -E 'trama0|: tr[0-9a-f]{{11}}'", netns(name)), &left);
    EXPECT_EQ(left, "") << "links left behind by " << name;
    shell(fmt::format("nsenter --net=/run/netns/{} nft list tables | grep trama", netns(name)), &left);
    EXPECT_EQ(left, "") << "tables left behind by " << name;
    shell("ip netns del " + netns(name));
    shell(fmt::format("find /sys/fs/cgroup -maxdepth 3 -path '*trama.slice/{}.{}' -type d", prefix_, name), &left);
    EXPECT_EQ(left, "") << "control groups left behind by " << name;
  }
  if (second_ > 0) stop_second_controller();
  if (controller_ > 0) stop_controller();
  if (etcd_ > 0) end(etcd_, SIGKILL, "etcd");
  shell("ip netns del " + netns("hub"));
  // `ip netns` makes this mount the first time it is needed.
  if (made_netns_mount_) shell("[ -n \"$(ls /run/netns)\" ] || umount /run/netns");
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

bool Cluster::must(const std::string& command, const std::string& what) {
  std::string output;
  if (shell(command, &output) == 0) return true;
  ADD_FAILURE() << what << ": " << command << "\n" << output;
  return false;
}

pid_t Cluster::spawn(const std::string& netns, const std::string& command, const std::string& log_name) {
  auto line = fmt::format("exec nsenter --net=/run/netns/{} {}", netns, command);
  auto log_path = directory_ + "/" + log_name + ".log";
  pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    int log_fd = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null_fd = ::open("/dev/null", O_RDONLY);
    ::dup2(null_fd, 0);
    ::dup2(log_fd, 1);
    ::dup2(log_fd, 2);
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  return pid;
}

void Cluster::end(pid_t& pid, int signal, const std::string& what) {
  if (pid <= 0) return;
  ::kill(pid, signal);
  int status = 0;
  bool ended = eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }, 20000);
  if (!ended) {
    ADD_FAILURE() << what << " did not end within 20 s of signal " << signal;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
  } else if (signal == SIGTERM) {
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << what << " ended with status " << status << "\n"
                                                               << log(what);
  }
  pid = -1;
}

void Cluster::start_controller() {
  if (!ok_) return;
  server_ = fmt::format("https://{}:6443", kControllerIp);
  if (options_.etcd && etcd_ < 0) {
    // The namespace is ours alone, and so are its ports.
    etcd_ = spawn(netns("hub"),
                  fmt::format("etcd --data-dir {}/etcd --listen-client-urls http://127.0.0.1:2379 "
                              "--advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380",
                              directory_),
                  "etcd");
  }
  controller_ = spawn(netns("hub"), controller_command("controller", kControllerIp), "controller");
  ok_ = eventually([&] { return trama("get nodes") == 0; }, 15000);
  if (!ok_) ADD_FAILURE() << "the controller does not answer\n" << log("controller");
}

void Cluster::stop_controller(int signal) { end(controller_, signal, "controller"); }

std::string Cluster::controller_command(const std::string& data, const std::string& address) const {
  return fmt::format(
      "{} controller --data-dir {}/{} --listen {}:6443 --scheduler-port 0 --controllers-port 0 --log-level {} {} {}",
      binary_, directory_, data, address, options_.log_level, options_.controller_arguments,
      options_.etcd ? "--store etcd:http://127.0.0.1:2379" : "");
}

void Cluster::start_second_controller() {
  if (!ok_) return;
  ok_ =
      must(fmt::format("ip -n {} addr replace {}/24 dev br0", netns("hub"), kSecondIp), "second address") &&
      must(fmt::format("mkdir -p -m 0700 {0}/controller2/pki && cp -n -p {0}/controller/pki/ca.* {0}/controller2/pki/",
                       directory_),
           "a copy of the CA");
  second_ = spawn(netns("hub"), controller_command("controller2", kSecondIp), "controller2");
  server_ = fmt::format("https://{}:6443,https://{}:6443", kControllerIp, kSecondIp);
  ok_ = eventually([&] { return trama(fmt::format("--server {}:6443 get nodes", kSecondIp)) == 0; }, 15000);
  if (!ok_) ADD_FAILURE() << "the second controller does not answer\n" << log("controller2");
}

void Cluster::stop_second_controller(int signal) { end(second_, signal, "controller2"); }

std::string Cluster::node_ip(const std::string& name) const { return nodes_.at(name).ip; }

void Cluster::add_node(const std::string& name, const std::string& more_arguments) {
  if (!ok_) return;
  Node node;
  node.name = name;
  node.arguments = more_arguments;
  node.ip = fmt::format("10.90.0.{}", 11 + nodes_.size());
  auto port = fmt::format("p{}", nodes_.size());
  ok_ = must("ip netns add " + netns(name), "node namespace") &&
        must(fmt::format("ip -n {0} link set lo up && ip -n {0} link add eth0 type veth peer name {3} netns {1} && "
                         "ip -n {1} link set {3} master br0 up && ip -n {0} addr add {2}/24 dev eth0 && "
                         "ip -n {0} link set eth0 up && ip -n {0} route add default via {4}",
                         netns(name), netns("hub"), node.ip, port, kControllerIp),
             "node network");
  nodes_[name] = node;
  start_agent(name);
}

std::string Cluster::agent_command(const Node& node, const std::string& more) const {
  return fmt::format(
      "{0} agent --node-name {1} {2} --server {3} --netns-prefix {4}.{1}. --cgroup-root "
      "trama.slice/{4}.{1} --run-dir {5}/{1} --data-dir {5}/{1}/data --cluster-id {4} --log-level {6} {7} {8} {9}",
      binary_, node.name, options_.automatic_ips ? "" : "--node-ip " + node.ip, server_, prefix_, directory_,
      options_.log_level, options_.agent_arguments, node.arguments, more);
}

void Cluster::start_agent(const std::string& name, const std::string& more_arguments) {
  if (!ok_) return;
  auto& node = nodes_.at(name);
  bool joins = node.arguments.find("--kubeconfig") == std::string::npos;
  if (joins && !std::filesystem::exists(fmt::format("{}/{}/data/pki/node.key", directory_, name))) {
    std::string output;
    int rc = trama("token create", &output);
    auto at = output.find("trama1.");
    if (rc != 0 || at == std::string::npos) {
      ADD_FAILURE() << "token create: " << output;
      ok_ = false;
      return;
    }
    join_ = output.substr(at, output.find_first_of(" \n'\"", at) - at);
  }
  auto join = join_.empty() || !joins ? std::string() : " --join " + join_;
  node.pid = spawn(netns(name), agent_command(node, more_arguments + join), name);
}

void Cluster::stop_agent(const std::string& name, int signal) { end(nodes_.at(name).pid, signal, name); }
pid_t Cluster::agent_pid(const std::string& name) const { return nodes_.at(name).pid; }

int Cluster::run_agent(const std::string& name, const std::string& more_arguments, std::string* output) {
  return shell(
      fmt::format("nsenter --net=/run/netns/{} {}", netns(name), agent_command(nodes_.at(name), more_arguments)),
      output);
}

int Cluster::trama(const std::string& arguments, std::string* output, const std::string& input) {
  bool several = server_.find(',') != std::string::npos && arguments.find("--server") == std::string::npos;
  auto command = fmt::format("nsenter --net=/run/netns/{} {} --kubeconfig {}/controller/admin.kubeconfig {} {}",
                             netns("hub"), binary_, directory_, several ? "--server " + server_ : "", arguments);
  if (!input.empty()) command = fmt::format("printf %s {} | {}", in_quotes(input), command);
  return shell(command, output);
}

std::string Cluster::kubectl(const std::string& arguments, int status) {
  auto path = std::getenv("TRAMA_KUBECTL") ? std::string(std::getenv("TRAMA_KUBECTL")) : "";
  auto* source = std::getenv("TRAMA_SOURCE_DIR");
  if (path.empty()) path = std::string(source ? source : ".") + "/.cache/kubectl";
  if (!std::filesystem::exists(path)) path = "/usr/bin/kubectl";
  std::string out;
  int rc = shell(fmt::format("HOME={0} nsenter --net=/run/netns/{1} timeout 90 {2} --kubeconfig "
                             "{0}/controller/admin.kubeconfig --cache-dir {0}/cache {3} 2>&1",
                             directory_, netns("hub"), path, arguments),
                 &out);
  EXPECT_EQ(rc, status) << "kubectl " << arguments << "\n" << out;
  return out;
}

bool Cluster::apply(const std::string& manifest) {
  std::string output;
  int rc = trama("apply -f -", &output, manifest);
  EXPECT_EQ(rc, 0) << output;
  return rc == 0;
}

json::value Cluster::get(const std::string& what) {
  std::string output;
  if (trama("get " + what + " -o json", &output) != 0) return nullptr;
  boost::system::error_code ec;
  auto value = json::parse(output, ec);
  return ec ? json::value(nullptr) : value;
}

bool Cluster::wait_pod_ready(const std::string& pod, int milliseconds) {
  bool ready = eventually([&] { return has_condition(get("pod " + pod), "Ready"); }, milliseconds);
  EXPECT_TRUE(ready) << "pod " << pod << " is not ready: " << json::serialize(get("pod " + pod));
  return ready;
}

bool Cluster::wait_node_ready(const std::string& node, int milliseconds) {
  bool ready = eventually([&] { return has_condition(get("node " + node), "Ready"); }, milliseconds);
  EXPECT_TRUE(ready) << "node " << node << " is not ready: " << json::serialize(get("node " + node)) << "\n"
                     << log(node);
  return ready;
}

std::string Cluster::pod_ip(const std::string& pod) {
  auto object = get("pod " + pod);
  return object.is_object() ? api::text_at(object.get_object(), "status.podIP") : "";
}

std::string Cluster::cluster_ip(const std::string& service) {
  auto object = get("service " + service);
  return object.is_object() ? api::text_at(object.get_object(), "spec.clusterIP") : "";
}

int Cluster::on_node(const std::string& node, const std::string& command, std::string* output) {
  return shell(fmt::format("nsenter --net=/run/netns/{} sh -c {}", netns(node), in_quotes(command)), output);
}

int Cluster::in_pod(const std::string& node, const std::string& pod, const std::string& command, std::string* output) {
  return shell(fmt::format("nsenter --net=/run/netns/{}.{} sh -c {}", netns(node), pod, in_quotes(command)), output);
}

std::string Cluster::page(const std::string& node, const std::string& url) {
  std::string output;
  on_node(node, "curl -sS --max-time 5 " + url, &output);
  return output;
}

double Cluster::metric(const std::string& node, const std::string& sample) {
  std::istringstream lines(page(node, "http://127.0.0.1:10249/metrics"));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(sample + " ")) return std::stod(line.substr(sample.size() + 1));
  return -1;
}

std::string Cluster::log(const std::string& daemon) const { return read_all(directory_ + "/" + daemon + ".log"); }

void Cluster::show_logs() const {
  auto tail = [](const std::string& text) { return text.size() > 6000 ? text.substr(text.size() - 6000) : text; };
  std::fprintf(stderr, "---- controller\n%s\n", tail(log("controller")).c_str());
  for (const auto& [name, node] : nodes_)
    std::fprintf(stderr, "---- agent %s\n%s\n", name.c_str(), tail(log(name)).c_str());
}

}  // namespace trama::test
