// SPDX-License-Identifier: GPL-2.0-or-later
// Three nodes with a client each, shared by the tests of one file; and what tests of Services ask of them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "tests/e2e/support/cluster.h"

namespace trama::test {

// Ports of echo_pod(); HTTP also tells the path, TCP and UDP send back what they got.
constexpr int kHttp = 8080, kTcp = 8081, kUdp = 8082;
// Enough draws to meet each of three endpoints: one is missed once in 30 million times.
constexpr int kDraws = 40;

struct Answers {
  int answers = 0, failures = 0;
  std::map<std::string, int> pods;    // who answered, how often
  std::map<std::string, int> errors;  // sentence -> how often
  std::string last;                   // the last answer, one line
  int milliseconds = 0;               // all of it
  int longest_gap_milliseconds = 0;   // between two answers
  std::set<std::string> who() const;
  std::string text() const;  // for messages
};
using Names = std::set<std::string>;

// The value of `key` in an echo server's line: "client" is ADDRESS:PORT as the server saw it.
std::string told(const std::string& line, const std::string& key);
std::string client_address(const std::string& line);  // of "client", without the port

// A socket of a namespace that stays connected to one address, from one source port: what conntrack takes for one flow.
class Flow {
 public:
  Flow() = default;
  // `type` is SOCK_DGRAM or SOCK_STREAM. A connection that is not made in ten seconds reads as ended. A source port of
  // 0 is the kernel's choice.
  Flow(const std::string& netns_path, int type, const std::string& ip, int port, int source_port = 0);
  // Sends a line; the pod that answers, "" when nobody did within the time (or the answer was an error).
  std::string ask(int milliseconds = 300);
  bool open() const { return static_cast<bool>(fd_); }

 private:
  base::UniqueFd fd_;
  int type_ = 0;
};

// Places are named as namespaces are: "n1" is a node, "n1.c1" a pod on it, "hub" is outside of the cluster.
class ServiceSuite : public ::testing::Test {
 public:
  // Nodes n1 and n2 in zone east, n3 in zone west; pods c1, c2, c3, one on each, that do nothing.
  static void SetUpTestSuite();
  static void TearDownTestSuite();

 protected:
  void SetUp() override;
  static Cluster& cluster() { return *cluster_; }

  // `arguments` go behind the echo server's, `ports` into the container's list; told to end, the server answers for
  // `drain` longer.
  struct Pod {
    std::string name, node;
    std::string app = "";  // label; the name when empty
    std::string arguments = "", ports = "", drain = "0s";
  };
  static std::string echo_pod(const Pod& pod);
  // `app` on n1, n2 and n3: app-1, app-2, app-3.
  static std::string echo_pods(const std::string& app, int count = 3);
  // A Service that selects `app` = name: `spec` in YAML flow style without braces; port 80 to kHttp when it has no
  // ports.
  static std::string service(const std::string& name, const std::string& spec = "", const std::string& metadata = "");
  static std::string slice(const std::string& name, const std::string& service, const std::string& endpoints,
                           const std::string& ports);
  // Applies and waits until its pods are ready.
  static void make(const std::string& manifest);
  static void remove(const std::string& what, const std::string& options = "--now");
  // A merge patch of a Service by the API.
  static void change(const std::string& service, const std::string& merge_patch);
  static int kubectl(const std::string& arguments, std::string* output);
  // Writes status.loadBalancer.ingress, as a cloud's controller would.
  static void give_load_balancer(const std::string& service, const std::string& ingress);

  static std::string cluster_ip(const std::string& service) { return cluster().cluster_ip(service); }
  static int node_port(const std::string& service, int index = 0);
  static std::string ip_of(const std::string& node) { return cluster().node_ip(node); }
  static std::string netns_path(const std::string& place);

  // One probe: "http://…", "tcp://…" or "udp://…" `count` times.
  static Answers ask(const std::string& from, const std::string& url, int count = 1, const std::string& options = "");
  // Whether a probe comes that is answered by exactly these pods, all of them, and by nobody else.
  static ::testing::AssertionResult reaches(const std::string& from, const std::string& url, const Names& pods,
                                            int milliseconds = 8000);
  // Refused (RST or ICMP; a node's own datagram already by send()) at once; dropped = no answer of any kind.
  static ::testing::AssertionResult refused(const std::string& from, const std::string& url, int milliseconds = 8000);
  static ::testing::AssertionResult dropped(const std::string& from, const std::string& url, int milliseconds = 8000);

 private:
  static Cluster* cluster_;
};

std::string url(const std::string& protocol, const std::string& ip, int port);

}  // namespace trama::test
