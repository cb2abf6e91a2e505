// SPDX-License-Identifier: GPL-2.0-or-later
// A cluster gets a new CA while it runs: who is there follows, who was away is shut out and told what to do.
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

std::size_t certificates_in(const std::string& text) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find("BEGIN CERTIFICATE", at)) != std::string::npos; ++at) ++n;
  return n;
}

constexpr const char* kPod = R"(
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  nodeName: n1
  containers: [{name: main, image: host, command: [sh, -c, "while :; do date; sleep 1; done"]}]
)";

// A node that says it is well, and does not follow.
constexpr const char* kGhost = R"(
apiVersion: v1
kind: Node
metadata: {name: ghost}
status:
  conditions: [{type: Ready, status: "True", reason: KubeletReady, message: ok}]
)";

class CaRotation : public ::testing::Test {
 protected:
  explicit CaRotation(bool etcd = false) : cluster(options(etcd)) {}
  static ClusterOptions options(bool etcd) {
    ClusterOptions o;
    o.controller_arguments = "--lab-timers --certificate-life 50s";  // agents look twice a second
    o.etcd = etcd;
    return o;
  }
  int rotate(const std::string& step, std::string* output = nullptr) {
    return shell(fmt::format("nsenter --net=/run/netns/{} {} controller --data-dir {}/controller rotate-ca {} 2>&1",
                             cluster.netns("hub"), cluster.binary(), cluster.directory(), step),
                 output);
  }
  // Exit status of curl's TLS with these, from the switch's namespace; "200" and the like when it got through.
  std::string curl(const std::string& url, const std::string& ca, const std::string& certificate = "",
                   const std::string& key = "") {
    std::string out;
    auto identity = certificate.empty() ? "" : fmt::format("--cert {} --key {}", certificate, key);
    shell(fmt::format("nsenter --net=/run/netns/{} curl -s --max-time 5 --cacert {} {} -o /dev/null -w "
                      "'%{{http_code}}' {}",
                      cluster.netns("hub"), ca, identity, url),
          &out);
    return out;
  }
  std::string data(const std::string& node) const { return cluster.directory() + "/" + node + "/data/pki/"; }

  Cluster cluster;
};

TEST_F(CaRotation, WhoIsThereFollowsAndWhoMissedItIsToldWhatToDo) {
  cluster.start_controller();
  cluster.add_node("n1");
  cluster.add_node("n2");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1") && cluster.wait_node_ready("n2"));
  ASSERT_TRUE(cluster.apply(kPod) && cluster.wait_pod_ready("talker"));
  const auto pki = cluster.directory() + "/controller/pki/", kept = cluster.directory() + "/kept/";
  std::filesystem::create_directories(kept);
  for (const char* name : {"node.crt", "node.key", "ca.crt"})
    std::filesystem::copy_file(data("n1") + name, kept + name);
  std::filesystem::copy_file(cluster.directory() + "/controller/admin.kubeconfig", kept + "admin.kubeconfig");
  const auto old_ca = read_all(pki + "ca.crt");
  const std::string server = "https://10.90.0.1:6443";
  const auto nodes_url = server + "/api/v1/nodes/n1";
  ASSERT_EQ(curl(nodes_url, kept + "ca.crt", kept + "node.crt", kept + "node.key"), "200") << "before";

  // Out of order, it says what comes first.
  std::string said;
  EXPECT_EQ(rotate("switch", &said), 4) << said;
  EXPECT_THAT(said, HasSubstr("rotate-ca start"));
  EXPECT_EQ(rotate("finish", &said), 4) << said;
  EXPECT_EQ(rotate("status", &said), 0) << said;
  EXPECT_THAT(said, HasSubstr("phase: steady"));

  cluster.stop_agent("n2");  // misses all of it
  ASSERT_EQ(rotate("start", &said), 0) << said;
  ASSERT_EQ(rotate("start", &said), 0) << "again is no harm: " << said;
  EXPECT_TRUE(eventually([&] { return certificates_in(read_all(data("n1") + "ca.crt")) == 2; }, 5000));
  EXPECT_EQ(read_all(pki + "ca.crt"), old_ca) << "the old one still signs";
  ASSERT_EQ(cluster.trama("kubeconfig --role view --ttl 1h > " + kept + "view.kubeconfig"), 0);
  EXPECT_EQ(certificates_in(read_all(cluster.directory() + "/controller/pki/ca-next.crt")), 1u);

  // Whoever is alive is waited for, by name.
  ASSERT_TRUE(cluster.apply(kGhost));
  EXPECT_EQ(rotate("switch", &said), 1) << said;
  EXPECT_THAT(said, HasSubstr("node/ghost"));
  EXPECT_EQ(read_all(pki + "ca.crt"), old_ca) << "and nothing has happened";
  EXPECT_EQ(cluster.trama("delete node ghost"), 0);

  // n2 is waited for until it counts as away.
  if (rotate("switch", &said) != 0) {
    EXPECT_THAT(said, HasSubstr("node/n2"));
  }
  ASSERT_TRUE(eventually([&] { return rotate("switch", &said) == 0; }, 15000)) << said;
  EXPECT_NE(read_all(pki + "ca.crt"), old_ca);
  EXPECT_EQ(curl(server + "/version", pki + "ca.crt"), "200") << "the server shows a certificate of the new CA";
  EXPECT_EQ(curl(server + "/version", kept + "ca.crt"), "000");
  EXPECT_EQ(curl(nodes_url, pki + "ca.crt", kept + "node.crt", kept + "node.key"), "200")
      << "certificates of the old one are still taken";
  EXPECT_TRUE(eventually(
      [&] { return shell(fmt::format("openssl verify -CAfile {}ca.crt {}node.crt", pki, data("n1"))) == 0; }, 10000));

  ASSERT_TRUE(cluster.apply(kGhost));
  EXPECT_TRUE(
      eventually([&] { return rotate("finish", &said) == 1 && said.find("node/n1") == std::string::npos; }, 2000))
      << said;
  EXPECT_THAT(said, HasSubstr("node/ghost"));
  EXPECT_EQ(rotate("finish --force", &said), 0) << said;
  EXPECT_THAT(said, HasSubstr("node/ghost; going on all the same (--force)"));
  EXPECT_THAT(said, HasSubstr("phase: steady"));
  EXPECT_EQ(cluster.trama("delete node ghost"), 0);
  EXPECT_FALSE(std::filesystem::exists(pki + "ca-old.key"));
  EXPECT_TRUE(eventually([&] { return certificates_in(read_all(data("n1") + "ca.crt")) == 1; }, 5000));
  EXPECT_EQ(read_all(data("n1") + "ca.crt"), read_all(pki + "ca.crt"));
  EXPECT_EQ(curl(nodes_url, pki + "ca.crt", kept + "node.crt", kept + "node.key"), "000") << "no longer";
  EXPECT_EQ(curl(nodes_url, pki + "ca.crt", data("n1") + "node.crt", data("n1") + "node.key"), "200") << "control";

  // People: the kubeconfig of before, and the one that carried both.
  auto with = [&](const std::string& file) {
    return shell(fmt::format("nsenter --net=/run/netns/{} {} --kubeconfig {}{} get nodes 2>&1", cluster.netns("hub"),
                             cluster.binary(), kept, file),
                 &said);
  };
  EXPECT_NE(with("admin.kubeconfig"), 0);
  EXPECT_THAT(said, HasSubstr("none of the CAs that we trust has signed it"));
  EXPECT_THAT(said, HasSubstr("a person needs a new kubeconfig"));
  EXPECT_NE(with("view.kubeconfig"), 0) << "it trusts the new CA, but was signed by the old one";
  EXPECT_THAT(said, HasSubstr("the server does not accept our certificate"));
  EXPECT_THAT(said, HasSubstr("a person needs a new kubeconfig"));
  ASSERT_EQ(cluster.trama("kubeconfig --role view --ttl 1h > " + kept + "view.kubeconfig"), 0);
  EXPECT_EQ(with("view.kubeconfig"), 0) << said;
  EXPECT_EQ(cluster.trama("get nodes"), 0);

  // The node that followed works in both directions, and was not away for a moment.
  EXPECT_TRUE(cluster.wait_node_ready("n1"));
  EXPECT_EQ(cluster.trama("logs talker --tail 1", &said), 0) << said;
  EXPECT_EQ(json::serialize(cluster.get("node n1")).find("NodeStatusUnknown"), std::string::npos);

  // The one that missed it is refused, says what to do, and that works.
  cluster.start_agent("n2");
  EXPECT_TRUE(eventually(
      [&] {
        return cluster.log("n2").find("delete") != std::string::npos &&
               cluster.log("n2").find("join again") != std::string::npos;
      },
      10000))
      << cluster.log("n2");
  EXPECT_THAT(cluster.log("n2"), HasSubstr("trama controller rotate-ca"));
  cluster.stop_agent("n2");
  ASSERT_EQ(cluster.trama("delete node n2"), 0);
  std::filesystem::remove_all(cluster.directory() + "/n2/data");
  cluster.start_agent("n2");
  EXPECT_TRUE(cluster.wait_node_ready("n2"));
}

class CaRotationOnEtcd : public CaRotation {
 protected:
  CaRotationOnEtcd() : CaRotation(true) {}
};

TEST_F(CaRotationOnEtcd, SeveralControllersFollowOnceTheyHaveTheKey) {
  cluster.start_controller();
  cluster.start_second_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  const auto pki = cluster.directory() + "/controller/pki/", second = cluster.directory() + "/controller2/pki/";
  const auto old_ca = cluster.directory() + "/old-ca.crt", url = std::string("https://10.90.0.2:6443/version");
  std::filesystem::copy_file(pki + "ca.crt", old_ca);
  std::string said;
  ASSERT_EQ(rotate("start", &said), 0) << said;
  // The second one trusts the new CA, but could not sign with it.
  EXPECT_TRUE(eventually([&] { return certificates_in(read_all(data("n1") + "ca.crt")) == 2; }, 5000));
  EXPECT_EQ(rotate("switch", &said), 1) << said;
  EXPECT_THAT(said, HasSubstr("copy ca-next.crt and ca-next.key"));
  ASSERT_EQ(curl(url, old_ca), "200");
  ASSERT_EQ(shell(fmt::format("cp -p {}ca-next.* {}", pki, second)), 0);
  ASSERT_TRUE(eventually([&] { return rotate("switch", &said) == 0; }, 15000)) << said;
  EXPECT_TRUE(eventually([&] { return curl(url, pki + "ca.crt") == "200"; }, 5000)) << cluster.log("controller2");
  EXPECT_EQ(read_all(second + "ca.crt"), read_all(pki + "ca.crt"));
  EXPECT_EQ(curl(url, old_ca), "000");
  ASSERT_TRUE(eventually([&] { return rotate("finish", &said) == 0; }, 15000)) << said;
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(second + "ca-old.key"); }, 5000));
  // The agent goes on at the other one, with what it has now.
  cluster.stop_controller(9);
  ASSERT_TRUE(cluster.apply(kPod) && cluster.wait_pod_ready("talker", 20000)) << cluster.log("n1");
  // A controller that was away and knows only the old CA does not start, and says what to do.
  shell(fmt::format("rm -f {}*; cp {} {}ca.crt", pki, old_ca, pki));
  int rc = shell(fmt::format("nsenter --net=/run/netns/{} timeout 10 {} controller --data-dir {}/controller --listen "
                             "10.90.0.1:6443 --scheduler-port 0 --controllers-port 0 --store "
                             "etcd:http://127.0.0.1:2379 2>&1",
                             cluster.netns("hub"), cluster.binary(), cluster.directory()),
                 &said);
  EXPECT_EQ(rc, 78) << said;
  EXPECT_THAT(said, HasSubstr("Copy ca.crt and ca.key"));
}

}  // namespace
}  // namespace trama::test
