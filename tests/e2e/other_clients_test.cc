// SPDX-License-Identifier: GPL-2.0-or-later
// Clients that share nothing with client-go: see python_client.py and node_client.mjs.
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

TEST(PythonClient, DoesAllThatItsUsersDo) {
  Cluster cluster;
  cluster.start_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  auto python = [&](const std::string& arguments, std::string* said) {
    return shell(fmt::format("nsenter --net=/run/netns/{} timeout 120 /usr/bin/python3 {}/tests/e2e/python_client.py "
                             "{}/controller/admin.kubeconfig {} 2>&1",
                             cluster.netns("hub"), std::getenv("TRAMA_SOURCE_DIR"), cluster.directory(), arguments),
                 said);
  };
  std::string said;
  ASSERT_EQ(python("talk", &said), 0) << said;
  for (const char* done : {"strategic patch", "watch resumes", "pages", "exec, stdin", "events"})
    EXPECT_THAT(said, HasSubstr(std::string("ok ") + done));
  auto at = said.find("revision ");
  ASSERT_NE(at, std::string::npos) << said;
  auto revision = said.substr(at + 9, said.find('\n', at) - at - 9);
  // Events are written behind: what was before a restart can not be replayed, and the server says so.
  cluster.stop_controller();
  cluster.start_controller();
  EXPECT_EQ(python("expired " + revision, &said), 0) << said;
  // The control: something that does not hold is a failure.
  EXPECT_NE(python("expired 99999999999", &said), 0) << said;
}

// Debian has no such package: TRAMA_NODE_MODULES names a folder that npm has filled.
TEST(NodeClient, DoesAllThatItsUsersDo) {
  const char* modules = std::getenv("TRAMA_NODE_MODULES");
  if (!modules || !std::filesystem::exists(std::string(modules) + "/@kubernetes/client-node"))
    GTEST_SKIP() << "set TRAMA_NODE_MODULES to a folder with @kubernetes/client-node 1.x";
  Cluster cluster;
  cluster.start_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  std::string said;
  int rc = shell(fmt::format("nsenter --net=/run/netns/{} timeout 120 node {}/tests/e2e/node_client.mjs {} "
                             "{}/controller/admin.kubeconfig 2>&1",
                             cluster.netns("hub"), std::getenv("TRAMA_SOURCE_DIR"), modules, cluster.directory()),
                 &said);
  EXPECT_EQ(rc, 0) << said;
  for (const char* done : {"informer", "patch application/strategic-merge-patch+json", "logs", "exec", "a pod is gone"})
    EXPECT_THAT(said, HasSubstr(std::string("ok ") + done));
}

}  // namespace
}  // namespace trama::test
