// SPDX-License-Identifier: GPL-2.0-or-later
// Certificates that live for seconds: everything renews itself, and nobody who is at work notices.
#include <filesystem>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

// Serial number of the certificate that a port presents, asked from a node's namespace; "" when none came.
std::string presented(Cluster& cluster, const std::string& netns, const std::string& address) {
  std::string out;
  shell(fmt::format("nsenter --net=/run/netns/{} sh -c 'timeout 5 openssl s_client -connect {} </dev/null 2>/dev/null "
                    "| openssl x509 -noout -serial 2>/dev/null'",
                    cluster.netns(netns), address),
        &out);
  return out;
}

constexpr const char* kPod = R"(
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  containers: [{name: main, image: host, command: [sh, -c, "while :; do date; sleep 1; done"]}]
)";

TEST(Identity, EverythingRenewsItselfAndNothingIsLost) {
  ClusterOptions options;
  options.controller_arguments = "--lab-timers --certificate-life 12s --own-certificate-life 12s";
  Cluster cluster(options);
  cluster.start_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  ASSERT_TRUE(cluster.apply(kPod));
  ASSERT_TRUE(cluster.wait_pod_ready("talker"));

  auto node_file = cluster.directory() + "/n1/data/pki/node.crt";
  auto first = read_all(node_file);
  auto old_certificate = cluster.directory() + "/old.crt", old_key = cluster.directory() + "/old.key";
  std::filesystem::copy_file(node_file, old_certificate);
  std::filesystem::copy_file(cluster.directory() + "/n1/data/pki/node.key", old_key);
  // A watch by the administrator, begun with a certificate that will end meanwhile.
  auto watch_log = cluster.directory() + "/watch";
  std::thread watcher([&] {
    std::string ignored;
    shell(fmt::format("nsenter --net=/run/netns/{} timeout 30 {} --kubeconfig {}/controller/admin.kubeconfig get pods "
                      "-w >{} 2>&1",
                      cluster.netns("hub"), cluster.binary(), cluster.directory(), watch_log),
          &ignored);
  });

  std::set<std::string> nodes, agents, servers, admins;
  int unready = 0, silent = 0, rounds = 0;
  auto until = std::chrono::steady_clock::now() + 26s;
  while (std::chrono::steady_clock::now() < until) {
    ++rounds;
    nodes.insert(read_all(node_file));
    admins.insert(read_all(cluster.directory() + "/controller/admin.kubeconfig"));
    if (auto s = presented(cluster, "hub", cluster.node_ip("n1") + ":10250"); !s.empty()) agents.insert(s);
    if (auto s = presented(cluster, "hub", "10.90.0.1:6443"); !s.empty()) servers.insert(s);
    auto node = json::serialize(cluster.get("node n1"));
    if (node.find("AgentReady") == std::string::npos) ++unready;
    // Through the controller to the agent: its certificate towards the agent, and the agent's own.
    std::string logs;
    if (cluster.trama("logs talker --tail 1", &logs) != 0) ++silent;
    std::this_thread::sleep_for(300ms);
  }
  EXPECT_GE(nodes.size(), 3u) << "the node's certificate";
  EXPECT_GE(agents.size(), 3u) << "the agent's serving certificate";
  EXPECT_GE(servers.size(), 3u) << "the controller's serving certificate";
  EXPECT_GE(admins.size(), 3u) << "admin.kubeconfig";
  EXPECT_GT(rounds, 10);
  EXPECT_EQ(unready, 0);
  EXPECT_EQ(silent, 0) << cluster.log("controller");
  EXPECT_EQ(json::serialize(cluster.get("node n1")).find("NodeStatusUnknown"), std::string::npos);

  // The watch of the beginning is still there: it sees what happens now.
  ASSERT_TRUE(cluster.apply(std::string(kPod).replace(std::string(kPod).find("name: talker"), 12, "name: second")));
  EXPECT_TRUE(eventually([&] { return read_all(watch_log).find("second") != std::string::npos; }, 3000))
      << read_all(watch_log);
  watcher.join();

  // What has been renewed does not live on: the first certificate has ended and is refused.
  auto ask = [&](const std::string& certificate, const std::string& key) {
    std::string answer;
    shell(fmt::format("nsenter --net=/run/netns/{0} curl -sS --max-time 5 --cacert {1}/n1/data/pki/ca.crt --cert {2} "
                      "--key {3} -o /dev/null -w '%{{http_code}}' https://10.90.0.1:6443/api/v1/nodes/n1 2>&1",
                      cluster.netns("hub"), cluster.directory(), certificate, key),
          &answer);
    return answer;
  };
  EXPECT_THAT(ask(old_certificate, old_key), testing::AnyOf(HasSubstr("expired"), HasSubstr("000")));
  EXPECT_EQ(ask(node_file, cluster.directory() + "/n1/data/pki/node.key"), "200") << "control";
}

std::string only_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

TEST(Identity, TokensAndNames) {
  Cluster cluster;
  cluster.start_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  auto trama = [&](const std::string& arguments, int status = 0) {
    std::string out;
    EXPECT_EQ(cluster.trama(arguments, &out), status) << arguments << ": " << out;
    return out;
  };
  auto join = only_line(trama("token create --uses 2 --node n9 --ttl 1h --description rack-4"));
  ASSERT_THAT(join, testing::StartsWith("trama1."));
  auto id = join.substr(7, 6), secret = join.substr(14, 32);
  EXPECT_THAT(trama("token list"), testing::ContainsRegex(id + " +in .* +2 +n9 +rack-4"));
  auto stored = trama("get secrets -n kube-system -o json");
  EXPECT_THAT(stored, HasSubstr(id));
  EXPECT_EQ(stored.find(secret), std::string::npos) << "only its hash is kept";

  // A second machine that calls itself n1, one that the token is not for, one with a deleted token.
  auto intruder = [&](const std::string& name, const std::string& with) {
    std::string out;
    int rc = shell(fmt::format("nsenter --net=/run/netns/{0} timeout 20 {1} agent --node-name {2} --node-ip 10.90.0.1 "
                               "--server https://10.90.0.1:6443 --join {3} --data-dir {4}/intruder --run-dir "
                               "{4}/intruder-run --netns-prefix {0}.x. --cgroup-root trama.slice/{0} --port 0 "
                               "--health-port 0 --metrics-port 0 2>&1",
                               cluster.netns("hub"), cluster.binary(), name, with, cluster.directory()),
                   &out);
    EXPECT_NE(rc, 0) << out;
    EXPECT_NE(rc, 124) << "it must not go on trying: " << out;
    EXPECT_FALSE(std::filesystem::exists(cluster.directory() + "/intruder/pki/node.crt"));
    return out;
  };
  auto any = only_line(trama("token create"));
  EXPECT_THAT(intruder("n1", any), HasSubstr("a node named n1 exists already"));
  EXPECT_THAT(intruder("n8", join), HasSubstr("for node n9 only"));
  EXPECT_THAT(trama("token delete " + join), HasSubstr(id + " deleted"));
  EXPECT_THAT(trama("token list"), testing::Not(HasSubstr(id)));
  EXPECT_THAT(intruder("n9", join), testing::AnyOf(HasSubstr("Unauthorized"), HasSubstr("401")));
  trama("token delete nosuch", 3);
  EXPECT_TRUE(cluster.wait_node_ready("n1"));
  EXPECT_EQ(json::serialize(cluster.get("node n1")).find("NodeStatusUnknown"), std::string::npos);
  shell(fmt::format("find /sys/fs/cgroup -maxdepth 3 -path '*trama.slice/{}' -type d -exec rmdir {{}} +",
                    cluster.netns("hub")));
}

constexpr const char* kWithSecret = R"(
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: host, command: [sleep, infinity], envFrom: [{secretRef: {name: login}}]}]
)";

// The machine keeps its certificate when its Node is deleted; docs/roles.md says what that is still good for.
TEST(Identity, ADeletedNodesCertificateOpensNothingAndIsNotRenewed) {
  Cluster cluster;
  cluster.start_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  ASSERT_TRUE(cluster.apply(kWithSecret));
  ASSERT_TRUE(cluster.wait_pod_ready("user"));
  auto pki = cluster.directory() + "/n1/data/pki/", body_file = cluster.directory() + "/body";
  std::string said;
  // The status code of a request with the node's own key; `said` is the answer.
  auto ask = [&](const std::string& method, const std::string& path, const std::string& body = "") {
    EXPECT_TRUE(base::write_file_atomic(body_file, body));
    shell(fmt::format("nsenter --net=/run/netns/{} curl -sS --max-time 5 --cacert {}ca.crt --cert {}node.crt --key "
                      "{}node.key -w '\n%{{http_code}}' -X {} {} -H 'Content-Type: application/json' "
                      "'https://10.90.0.1:6443{}' 2>&1",
                      cluster.netns("hub"), pki, pki, pki, method, body.empty() ? "" : "--data-binary @" + body_file,
                      path),
          &said);
    return said.size() < 3 ? "" : said.substr(said.size() - 3);
  };
  const std::string of_n1 = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
                    secret = "/api/v1/namespaces/default/secrets/login",
                    token = "/api/v1/namespaces/default/serviceaccounts/default/token";
  auto uid = api::text_at(cluster.get("pod user").get_object(), "metadata.uid");
  auto bound = fmt::format(R"({{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{{)"
                           R"("boundObjectRef":{{"kind":"Pod","apiVersion":"v1","name":"user","uid":"{}"}}}}}})",
                           uid);
  auto renewal = [&](const std::string& name) {
    std::string request;
    shell(fmt::format("openssl req -new -key {}node.key -subj /O=system:nodes/CN=system:node:n1 | base64 -w0", pki),
          &request);
    return fmt::format(R"({{"kind":"CertificateSigningRequest","apiVersion":"certificates.k8s.io/v1","metadata":{{)"
                       R"("name":"{}"}},"spec":{{"signerName":"kubernetes.io/kube-apiserver-client-kubelet","request":)"
                       R"("{}","usages":["digital signature","client auth"]}}}})",
                       name, request);
  };
  auto verdict = [&](const std::string& name) {
    std::string out;
    eventually([&] {
      out = json::serialize(api::array_at(cluster.get("csr " + name).get_object(), "status.conditions"));
      return out != "[]";
    });
    return out;
  };
  const std::string requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

  // The control: all of it is open to a node that is one.
  EXPECT_EQ(ask("GET", secret), "200") << said;
  EXPECT_EQ(ask("POST", token, bound), "201") << said;
  EXPECT_EQ(ask("GET", of_n1), "200") << said;
  EXPECT_THAT(said, HasSubstr(uid));
  EXPECT_EQ(ask("POST", requests, renewal("before")), "201") << said;
  EXPECT_THAT(verdict("before"), HasSubstr("Renewal by the node itself"));

  cluster.stop_agent("n1", 9);
  auto deleted = [&](const std::string& what) {
    std::string out;
    EXPECT_EQ(cluster.trama("delete " + what + " --wait=false", &out), 0) << out;
  };
  deleted("node n1");
  EXPECT_TRUE(eventually([&] { return !cluster.get("pod user").is_object(); }, 20000)) << cluster.log("controller");
  EXPECT_EQ(ask("GET", secret), "403") << said;
  EXPECT_EQ(ask("GET", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"), "403") << said;
  EXPECT_EQ(ask("POST", token, bound), "403") << said;
  EXPECT_EQ(ask("GET", of_n1), "200") << said;
  EXPECT_THAT(said, Not(HasSubstr(uid)));
  EXPECT_EQ(ask("PUT", "/api/v1/nodes/n2/status", R"({"metadata":{"name":"n2"}})"), "403") << said;
  EXPECT_EQ(ask("GET", "/api/v1/namespaces/default/services"), "200") << "what every node reads it reads to the end";
  EXPECT_EQ(ask("POST", requests, renewal("after")), "201") << said;
  EXPECT_THAT(verdict("after"), HasSubstr("node n1 was deleted; it has to join again with a token"));

  // As upstream's kubelet it may register anew while the certificate lasts, and is a node like any other then.
  cluster.start_agent("n1");
  EXPECT_TRUE(cluster.wait_node_ready("n1")) << cluster.log("n1");
  EXPECT_EQ(ask("GET", secret), "403") << "no pod of its names it";
  EXPECT_EQ(ask("POST", requests, renewal("again")), "201") << said;
  EXPECT_THAT(verdict("again"), HasSubstr("Renewal by the node itself"));
}

}  // namespace
}  // namespace trama::test
