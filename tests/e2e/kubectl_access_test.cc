// SPDX-License-Identifier: GPL-2.0-or-later
// Who may do what, as kubectl tells it.
#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/wait.h>

#include "tests/e2e/support/kubectl.h"

namespace trama::test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

TEST_F(Kubectl, ImpersonationAndStrangersAreRefused) {
  EXPECT_THAT(cluster("--as jane get pods", "", 1), HasSubstr("impersonation is not supported"));
  EXPECT_THAT(cluster("--as jane get pods -w", "", 1), HasSubstr("impersonation is not supported"));
  auto server = cluster("config view -o 'jsonpath={.clusters[0].cluster.server}'");
  auto anonymous =
      fmt::format("HOME=/nonexistent {} --server {} --insecure-skip-tls-verify --token wrong get pods 2>&1 </dev/null",
                  kubectl_path(), server);
  FILE* pipe = popen(anonymous.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char text[4096] = {};
  EXPECT_GT(fread(text, 1, sizeof text - 1, pipe), 0u);
  EXPECT_NE(pclose(pipe), 0);
  EXPECT_THAT(std::string(text), AnyOf(HasSubstr("Unauthorized"), HasSubstr("You must be logged in to the server")));
}

// What roles may do, asked by kubectl with kubeconfigs that `trama kubeconfig` has made.
TEST_F(Kubectl, RolesAndWhatTheyMay) {
  auto& cluster_ = KubectlCluster::instance();
  const char* binary = std::getenv("TRAMA_BINARY");
  ASSERT_TRUE(binary && *binary);
  auto trama = [&](const std::string& arguments, std::string* out) {
    auto line = fmt::format("{} --kubeconfig {}/admin.kubeconfig {} 2>&1 </dev/null", binary, cluster_.dir, arguments);
    FILE* pipe = popen(line.c_str(), "r");
    char buffer[4096];
    while (std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) out->append(buffer, n);
    return WEXITSTATUS(pclose(pipe));
  };
  for (const std::string role : {"admin", "edit", "view", "proxy"}) {
    std::string out;
    ASSERT_EQ(trama(fmt::format("kubeconfig --role {0} --ttl 1h -o {1}/{0}", role, cluster_.dir), &out), 0) << out;
  }
  auto as = [&](const std::string& role, const std::string& arguments, int status) {
    auto r = cluster_.kubectl(fmt::format("--kubeconfig {}/{} -n {} {}", cluster_.dir, role, ns_, arguments));
    EXPECT_EQ(r.status, status) << role << ": kubectl " << arguments << "\n" << r.out;
    return r.out;
  };
  struct Case {
    const char *role, *question;
    bool yes;
  };
  const Case cases[] = {{"admin", "'*' '*'", true},
                        {"admin", "create pods", true},
                        {"edit", "create pods", true},
                        {"edit", "create deployments.apps", true},
                        {"edit", "get secrets", true},
                        {"edit", "get secrets -n kube-system", false},
                        {"edit", "'*' '*'", false},
                        {"edit", "create nodes", false},
                        {"view", "create pods", false},
                        {"view", "list pods", true},
                        {"view", "get pods --subresource=log", true},
                        {"view", "get secrets", false},
                        {"view", "get /healthz", true},
                        {"view", "get /metrics", false},
                        {"proxy", "watch endpointslices.discovery.k8s.io", true},
                        {"proxy", "list pods", false}};
  for (const auto& c : cases)
    EXPECT_THAT(as(c.role, std::string("auth can-i ") + c.question, c.yes ? 0 : 1), HasSubstr(c.yes ? "yes" : "no"));
  EXPECT_THAT(as("view", "auth can-i --list", 0),
              AllOf(ContainsRegex("pods.* \\[get list watch\\]"), HasSubstr("/healthz"), Not(HasSubstr("secrets"))));
  EXPECT_THAT(as("admin", "auth can-i --list", 0), ContainsRegex("\\*\\.\\* .*\\[\\*\\]"));
  if (kubectl_minor() >= 28) {
    EXPECT_THAT(as("edit", "auth whoami", 0), AllOf(HasSubstr("trama:edit"), HasSubstr("system:authenticated")));
  }
  // And the deeds themselves.
  as("edit", "create configmap made --from-literal=a=1", 0);
  EXPECT_THAT(as("view", "get cm made", 0), HasSubstr("made"));
  EXPECT_THAT(as("view", "create configmap not --from-literal=a=1", 1), HasSubstr("cannot create resource"));
  EXPECT_THAT(as("view", "get secrets", 1), HasSubstr("cannot list resource \"secrets\""));
  EXPECT_THAT(as("edit", "get secrets -A", 1), HasSubstr("only in one namespace at a time"));
  EXPECT_THAT(as("edit", "get csr", 1), HasSubstr("forbidden"));
  EXPECT_THAT(as("admin", "get pods --as=jane", 1), HasSubstr("impersonation"));
  EXPECT_THAT(as("admin", "get csr", 0), HasSubstr("No resources found")) << "requests are cleaned up";
  // Only an administrator makes kubeconfigs.
  std::string out;
  auto line = fmt::format("{} --kubeconfig {}/edit kubeconfig --role admin 2>&1 </dev/null", binary, cluster_.dir);
  FILE* pipe = popen(line.c_str(), "r");
  char buffer[4096];
  while (std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 7) << out;
}

// From 1.24 on; the request is protobuf from 1.32 on.
TEST_F(Kubectl, TokensOfAccounts) {
  if (kubectl_minor() < 28) GTEST_SKIP() << "kubectl before 1.24 asks for no tokens, and before 1.28 not who one is";
  const auto& rig = KubectlCluster::instance();
  eventually("get serviceaccount default", "default");
  auto token = kubectl("create token default --duration 11m");
  while (token.ends_with('\n')) token.pop_back();
  EXPECT_EQ(std::count(token.begin(), token.end(), '.'), 2) << token;
  auto server = kubectl("config view --minify -o 'jsonpath={.clusters[0].cluster.server}'");
  auto bearer = [&](const std::string& arguments) {
    return rig.kubectl(
        fmt::format("--kubeconfig /dev/null --server {} --certificate-authority {}/pki/ca.crt --token {} -n {} {}",
                    server, rig.dir, token, ns_, arguments));
  };
  auto who = bearer("auth whoami");
  EXPECT_THAT(who.out, HasSubstr("system:serviceaccount:" + ns_ + ":default"));
  EXPECT_THAT(bearer("get pods").out, HasSubstr("cannot list resource \"pods\""));
  EXPECT_EQ(bearer("auth can-i list pods").status, 1);
  kubectl("annotate serviceaccount default trama.dev/role=view");
  EXPECT_THAT(bearer("get pods").out, HasSubstr("No resources found"));
  EXPECT_EQ(bearer("auth can-i list pods").status, 0);
  EXPECT_THAT(kubectl("create token nobody", "", 1), HasSubstr("serviceaccounts \"nobody\" not found"));
  EXPECT_THAT(kubectl("create token default --duration 1m", "", 1),
              HasSubstr("may not specify a duration less than 10 minutes"));
}

}  // namespace
}  // namespace trama::test
