// SPDX-License-Identifier: GPL-2.0-or-later
// Who may become a node, as whom, and how often.
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/pki/certificate.h"
#include "tests/e2e/support/controller_in_thread.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using namespace test;

TEST(Controller, JoiningIsForThoseWhoMay) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  auto once = c.token(1);
  auto first = c.join("n1", once);
  ASSERT_TRUE(first) << first.error().to_string();
  auto certificate = pki::Certificate::from_pem(first->certificate_pem);
  EXPECT_EQ(certificate->subject().common_name, "system:node:n1");
  EXPECT_EQ(certificate->subject().organizations, std::vector<std::string>{"system:nodes"});
  EXPECT_EQ(first->ca_pem, c.kubeconfig.ca_pem);
  auto again = c.join("n2", once);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().to_string().find("used up"), std::string::npos) << again.error().to_string();

  c.add_node("n3");
  auto taken = c.join("n3", c.token());
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().to_string().find("a node named n3 exists already"), std::string::npos)
      << taken.error().to_string();
  auto bound = c.join("n4", c.token(1, "n5"));
  ASSERT_FALSE(bound);
  EXPECT_NE(bound.error().to_string().find("for node n5 only"), std::string::npos);
  auto wrong = c.token();
  wrong.secret[0] = wrong.secret[0] == 'a' ? 'b' : 'a';
  auto refused = c.join("n6", wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(client::http_status(refused.error()), 401) << refused.error().to_string();
  auto pin = c.token();
  pin.ca_pin = std::string(64, 'a');
  auto other = c.join("n6", pin);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().to_string().find("pinned key"), std::string::npos);

  // The node renews itself, and gets a serving certificate for its own names only.
  auto renewed = c.run(client::renew_node_certificate(*c.nodes["n3"], "n3"));
  ASSERT_TRUE(renewed) << renewed.error().to_string();
  auto serving = c.run(client::request_serving_certificate(*c.nodes["n3"], "n3", {"127.0.0.1"}, {}));
  ASSERT_TRUE(serving) << serving.error().to_string();
  EXPECT_EQ(pki::Certificate::from_pem(serving->certificate_pem)->alt_names().dns, std::vector<std::string>{"n3"});
  auto stolen = c.run(client::renew_node_certificate(*c.nodes["n3"], "n1"));
  EXPECT_FALSE(stolen) << "a node may not ask in another's name";

  // Deleted by the administrator: the name is free again, the old identity is not.
  ASSERT_TRUE(c.run(c.admin->remove("/api/v1/nodes/n3")));
  EXPECT_FALSE(c.run(client::renew_node_certificate(*c.nodes["n3"], "n3")));
}

// However many come at once: as many get in as the token says.
TEST(Controller, UsesAreCountedWhateverTheRush) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  auto token = c.token(3);
  std::atomic<int> in{0}, refused{0};
  std::vector<std::thread> machines;
  for (int i = 0; i < 10; ++i)
    machines.emplace_back([&, i] {
      Runner run;
      client::JoinOptions o;
      o.server = c.kubeconfig.server;
      o.token = token;
      o.node_name = fmt::format("rush{}", i);
      o.patience = 10s;
      auto joined = run(client::join_cluster(o));
      if (joined)
        ++in;
      else if (joined.error().to_string().find("used up") != std::string::npos)
        ++refused;
    });
  for (auto& m : machines) m.join();
  EXPECT_EQ(in, 3);
  EXPECT_EQ(refused, 7);
}

TEST(Controller, TheNameOfALivingMachineIsNotGivenAway) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  c.renew("n1");
  ASSERT_TRUE(c.run(c.admin->remove("/api/v1/nodes/n1")));
  c.renew("n1");  // its agent goes on
  auto taken = c.join("n1", c.token());
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().to_string().find("n1 is alive"), std::string::npos) << taken.error().to_string();
  EXPECT_TRUE(c.join("n2", c.token())) << "another name";
  // Once it is silent for the grace, its name is free.
  EXPECT_TRUE(c.eventually([&] { return c.join("n1", c.token()).has_value(); }));
}

TEST(Controller, TokensAreStoredHashed) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  // Upstream's shape, as kubeadm writes it.
  ASSERT_EQ(
      c.create(
          "/api/v1/namespaces/kube-system/secrets",
          R"({"metadata":{"name":"bootstrap-token-abcdef"},"type":"bootstrap.kubernetes.io/token","stringData":{"token-id":"abcdef","token-secret":"0123456789abcdef","usage-bootstrap-authentication":"true"}})"),
      "");
  auto secret = json::serialize(c.get("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef"));
  EXPECT_EQ(secret.find("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(secret.find("MDEyMzQ1Njc4OWFiY2RlZg"), std::string::npos) << secret;
  auto tokens = c.run(client::list_join_tokens(*c.admin));
  ASSERT_TRUE(tokens);
  ASSERT_EQ(tokens->size(), 1u) << secret;
  EXPECT_TRUE(pki::secret_matches(tokens->front(), "0123456789abcdef"));
}

}  // namespace
}  // namespace trama::control
