// SPDX-License-Identifier: GPL-2.0-or-later
// A small cluster for tests: one controller and any number of agents, real binaries in namespaces of their own on one
// switch. Nothing touches the machine's own network.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <sys/types.h>

namespace trama::test {

namespace json = boost::json;

struct ClusterOptions {
  std::string controller_arguments = "--lab-timers";
  std::string agent_arguments = "--lease-period 1s --resync 5s";
  std::string log_level = "info,netns=debug,overlay=debug,servicelb=debug";
  bool automatic_ips = false;  // agents find their address themselves
  bool etcd = false;           // the store is an etcd in the switch's namespace, which several controllers can share
};

// Failures of a step are reported as GoogleTest failures with the daemons' logs; ok() tells whether to go on.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options = {});
  // Ends what runs, uninstalls every node, removes namespaces and files, and fails the test if something is left.
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  bool ok() const { return ok_; }

  void start_controller();
  void stop_controller(int signal = 15);  // SIGTERM; waits until it has ended
  // With etcd: another one at 10.90.0.2, its data in <directory>/controller2. Agents started later, and trama(), know
  // both.
  void start_second_controller();
  void stop_second_controller(int signal = 15);
  // Makes the node's namespace and starts its agent; returns without waiting for Ready. Every later start of this
  // node's agent has the same arguments.
  void add_node(const std::string& name, const std::string& more_arguments = "");
  void start_agent(const std::string& name, const std::string& more_arguments = "");
  void stop_agent(const std::string& name, int signal = 15);
  // Runs `trama agent` with the node's arguments and waits for its end: --dry-run, --uninstall.
  int run_agent(const std::string& name, const std::string& more_arguments, std::string* output);
  pid_t agent_pid(const std::string& name) const;

  // `trama` against this cluster: trama("get pods"). Returns the exit code.
  int trama(const std::string& arguments, std::string* output = nullptr, const std::string& input = "");
  // stdout and stderr of the real kubectl, which must end with `status`.
  std::string kubectl(const std::string& arguments, int status = 0);
  // Creates or changes the objects of a YAML or JSON text.
  bool apply(const std::string& manifest);
  // `get <what> -o json`; null when that failed.
  json::value get(const std::string& what);
  bool wait_pod_ready(const std::string& pod, int milliseconds = 15000);
  bool wait_node_ready(const std::string& node, int milliseconds = 15000);
  std::string pod_ip(const std::string& pod);
  std::string cluster_ip(const std::string& service);

  // A shell command in a node's, or a pod's, namespace.
  int on_node(const std::string& node, const std::string& command, std::string* output = nullptr);
  int in_pod(const std::string& node, const std::string& pod, const std::string& command,
             std::string* output = nullptr);
  // A page of the agent's plain ports: "http://127.0.0.1:10249/metrics".
  std::string page(const std::string& node, const std::string& url);
  // A sample of /metrics by its whole name with labels; -1 when there is none.
  double metric(const std::string& node, const std::string& sample);

  std::string node_ip(const std::string& name) const;
  std::string netns(const std::string& node) const { return prefix_ + "." + node; }
  std::string log(const std::string& daemon) const;  // "controller" or a node's name
  const std::string& directory() const { return directory_; }
  const std::string& binary() const { return binary_; }

 private:
  struct Node {
    std::string name, ip, arguments;
    pid_t pid = -1;
  };
  std::string agent_command(const Node& node, const std::string& more) const;
  std::string controller_command(const std::string& data, const std::string& address) const;
  pid_t spawn(const std::string& netns, const std::string& command, const std::string& log_name);
  void end(pid_t& pid, int signal, const std::string& what);
  bool must(const std::string& command, const std::string& what);
  void show_logs() const;

  ClusterOptions options_;
  std::string prefix_, directory_, binary_, join_, server_;
  std::map<std::string, Node> nodes_;
  pid_t controller_ = -1, second_ = -1, etcd_ = -1;
  bool made_netns_mount_ = false;
  bool ok_ = true;
};

}  // namespace trama::test
