// SPDX-License-Identifier: GPL-2.0-or-later
// The agent as kube-proxy and overlay of a cluster whose nodes are somebody else's: what it does under the role
// `proxy`, and that it asks for exactly what the manifest's ClusterRole allows.
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>
#include <yaml-cpp/yaml.h>

#include "control/api/object.h"
#include "control/server/handlers.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

struct Access {
  std::string verb, group, resource;  // resource with its subresource
  friend auto operator<=>(const Access&, const Access&) = default;
};
std::string to_string(const Access& a) { return fmt::format("{} {} in \"{}\"", a.verb, a.resource, a.group); }

// What the manifest's ClusterRole allows, every combination of its rules.
std::set<Access> manifest_rules() {
  std::set<Access> out;
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  auto path = std::string(source ? source : ".") + "/packaging/kubernetes/trama-agent.yaml";
  for (const auto& document : YAML::LoadAllFromFile(path)) {
    if (document["kind"].as<std::string>() != "ClusterRole") continue;
    for (const auto& rule : document["rules"])
      for (const auto& group : rule["apiGroups"])
        for (const auto& resource : rule["resources"])
          for (const auto& verb : rule["verbs"])
            out.insert({verb.as<std::string>(), group.as<std::string>(), resource.as<std::string>()});
  }
  return out;
}

// A request line of the controller's log -> what it asks for. Paths that are no objects have an empty resource.
Access access_of(const std::string& method, const std::string& target) {
  server::Request request;
  request.method = method;
  auto parsed = server::parse_target(target);
  if (!parsed) return {method, "", target};
  request.path = parsed->path;
  request.query = parsed->query;
  auto path = server::parse_resource(request.path);
  if (!path) return {method, "", request.path};
  auto attempt = server::attempt_of(request, *path, "");
  return {attempt.verb, std::string(path->kind->group), attempt.resource()};
}

std::set<Access> recorded(const std::string& log, const std::string& user) {
  std::set<Access> out;
  std::istringstream in(log);
  for (std::string line; std::getline(in, line);) {
    auto at = line.find(" api: " + user + " ");
    if (at == std::string::npos) continue;
    std::istringstream words(line.substr(at + 7 + user.size()));
    std::string method, target;
    words >> method >> target;
    out.insert(access_of(method, target));
  }
  return out;
}

// `trama echo` in a node's namespace for as long as this object lives.
struct Echo {
  Echo(Cluster& cluster, const std::string& node, const std::string& address) {
    std::string output;
    auto command = fmt::format("{} echo --http {} >/dev/null 2>&1 </dev/null & echo $!", cluster.binary(), address);
    EXPECT_EQ(cluster.on_node(node, command, &output), 0) << output;
    pid = std::atoi(output.c_str());
    EXPECT_GT(pid, 1);
  }
  ~Echo() {
    if (pid > 1) ::kill(pid, SIGTERM);
  }
  pid_t pid = -1;
};

std::string node_object(const std::string& name, const std::string& ip) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}},"status":{{"addresses":[
      {{"type":"InternalIP","address":"{}"}}]}}}}
---
)",
                     name, ip);
}

std::string slice(const std::string& address) {
  auto endpoints = address.empty() ? "[]" : fmt::format("[{{addresses: [{}], nodeName: n2}}]", address);
  return fmt::format(R"(
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: "", port: 8080, protocol: TCP}}]
endpoints: {}
)",
                     endpoints);
}

TEST(NetworkOnly, ServesUnderTheProxyRoleAndAsksForNothingElse) {
  ClusterOptions options;
  options.log_level = "info,api=debug";
  Cluster cluster(options);
  cluster.start_controller();
  ASSERT_TRUE(cluster.ok());
  auto config = cluster.directory() + "/proxy.kubeconfig";
  std::string output;
  ASSERT_EQ(cluster.trama("kubeconfig --role proxy --user the-agent -o " + config, &output), 0) << output;
  // The nodes are there before, as a kubelet makes them.
  ASSERT_EQ(cluster.trama("create -f -", &output, node_object("n1", "10.90.0.11") + node_object("n2", "10.90.0.12")), 0)
      << output;
  cluster.add_node("n1", "--kubeconfig " + config);
  cluster.add_node("n2", "--kubeconfig " + config);
  ASSERT_TRUE(cluster.ok());
  for (const char* node : {"n1", "n2"})
    ASSERT_TRUE(eventually([&] { return cluster.log(node).find("trama agent ready") != std::string::npos; }, 15000))
        << cluster.log(node);

  // What a CNI plugin would have made: an address of the node's share, and something that answers there.
  auto cidr = api::text_at(cluster.get("node n2").as_object(), "spec.podCIDR");
  ASSERT_FALSE(cidr.empty());
  auto pod = cidr.substr(0, cidr.rfind('.')) + ".5";
  ASSERT_EQ(cluster.on_node("n2", "ip addr add " + pod + "/32 dev lo", &output), 0) << output;
  Echo echo(cluster, "n2", pod + ":8080");
  ASSERT_TRUE(cluster.apply(
      "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, ports: [{port: 80, targetPort: "
      "8080, nodePort: 30080}]}\n---\n" +
      slice(pod)));
  auto ip = cluster.cluster_ip("web");
  auto asks = [&](const std::string& node, const std::string& where) {
    return cluster.on_node(node, "curl -sS -o /dev/null --max-time 1 http://" + where + "/") == 0;
  };
  EXPECT_TRUE(eventually([&] { return asks("n1", ip); }, 8000)) << "through the overlay\n" << cluster.log("n1");
  EXPECT_TRUE(eventually([&] { return asks("n2", ip); }, 8000)) << cluster.log("n2");
  EXPECT_TRUE(asks("n2", "10.90.0.11:30080")) << "a node port";
  std::string routes;
  cluster.on_node("n1", "ip route show proto 116", &routes);
  EXPECT_THAT(routes, HasSubstr(cidr)) << "the other node's share goes through the overlay";
  // The watch is alive: what changes is followed.
  ASSERT_TRUE(cluster.apply(slice("")));
  EXPECT_TRUE(eventually([&] { return !asks("n1", ip); }, 5000));
  ASSERT_TRUE(cluster.apply(slice(pod)));
  EXPECT_TRUE(eventually([&] { return asks("n1", ip); }, 5000));
  // Something to report: the port of a health check is taken.
  Echo taken(cluster, "n1", "10.90.0.11:32010");
  ASSERT_TRUE(cluster.apply(
      "apiVersion: v1\nkind: Service\nmetadata: {name: checked}\nspec: {type: LoadBalancer, externalTrafficPolicy: "
      "Local, healthCheckNodePort: 32010, ports: [{port: 80}]}\n"));
  auto reported = [&] {
    return json::serialize(cluster.get("events")).find("FailedToStartServiceHealthcheck") != std::string::npos;
  };
  EXPECT_TRUE(eventually(reported, 8000)) << cluster.log("n1");

  // It has touched nothing of the kubelet's.
  EXPECT_EQ(json::serialize(cluster.get("node n1")).find("AgentReady"), std::string::npos);
  EXPECT_EQ(api::array_at(cluster.get("leases -n kube-node-lease").as_object(), "items").size(), 0u);
  for (const char* node : {"n1", "n2"})
    EXPECT_EQ(cluster.log(node).find("orbidden"), std::string::npos) << cluster.log(node);

  auto allowed = manifest_rules(), asked = recorded(cluster.log("controller"), "the-agent");
  ASSERT_FALSE(allowed.empty());
  for (const auto& a : asked) EXPECT_TRUE(allowed.contains(a)) << "the manifest does not allow: " << to_string(a);
  for (const auto& a : allowed) EXPECT_TRUE(asked.contains(a)) << "the agent has no need of: " << to_string(a);
  // The recorder sees others, too, and would see what is not allowed.
  auto everything = recorded(cluster.log("controller"), "trama:admin");
  EXPECT_TRUE(everything.contains({"get", "", "services"}));
  EXPECT_FALSE(allowed.contains({"get", "", "services"}));
  for (const auto& a : asked) EXPECT_FALSE(a.resource.starts_with("/")) << to_string(a);

  // The kubeconfig is followed: damage changes nothing, a new identity is used from the next connection on.
  std::ofstream(config) << "damaged";
  EXPECT_TRUE(eventually([&] { return cluster.log("n1").find("going on as before") != std::string::npos; }, 15000));
  ASSERT_EQ(cluster.trama("kubeconfig --role proxy --user the-successor -o " + config, &output), 0) << output;
  EXPECT_TRUE(eventually([&] { return cluster.log("n1").find("recovered after") != std::string::npos; }, 15000));
  EXPECT_TRUE(asks("n1", ip));
  cluster.stop_controller();
  EXPECT_TRUE(asks("n1", ip)) << "without a controller";
  cluster.start_controller();
  EXPECT_TRUE(eventually([&] { return recorded(cluster.log("controller"), "the-successor").size() >= 3; }, 15000));
}

}  // namespace
}  // namespace trama::test
