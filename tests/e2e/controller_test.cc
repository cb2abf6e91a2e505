// SPDX-License-Identifier: GPL-2.0-or-later
// A whole controller process on loopback: what it starts with, what it keeps, what it refuses.
#include <csignal>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/e2e/support/controller_in_thread.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using namespace test;
using client::ApiClient;

TEST(Controller, DefaultsAndAllocation) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  auto kubernetes = c.get(std::string(kServices) + "/kubernetes");
  EXPECT_EQ(api::text_at(kubernetes, "spec.clusterIP"), "10.96.0.1");
  for (const char* ns : {"default", "kube-system", "kube-node-lease"})
    EXPECT_EQ(api::text_at(c.get(fmt::format("/api/v1/namespaces/{}", ns)), "status.phase"), "Active");
  ASSERT_EQ(c.create(kServices, R"({"metadata":{"name":"a"},"spec":{"type":"NodePort","ports":[{"port":80}]}})"), "");
  auto a = c.get(std::string(kServices) + "/a");
  EXPECT_EQ(api::text_at(a, "spec.clusterIP"), "10.96.1.1");
  EXPECT_EQ(api::int_at(api::array_at(a, "spec.ports")[0].as_object(), "nodePort"), 30086);
  auto twice =
      c.create(kServices, R"({"metadata":{"name":"b"},"spec":{"clusterIP":"10.96.1.1","ports":[{"port":80}]}})");
  EXPECT_NE(twice.find("provided IP is already allocated"), std::string::npos) << twice;
  auto moved = c.run(c.admin->patch(std::string(kServices) + "/a",
                                    object(R"({"spec":{"clusterIP":"10.96.1.9","clusterIPs":["10.96.1.9"]}})")));
  ASSERT_FALSE(moved);
  EXPECT_EQ(client::http_status(moved.error()), 422);
  auto plain = c.run(c.admin->patch(std::string(kServices) + "/a", object(R"({"spec":{"type":"ClusterIP"}})")));
  ASSERT_TRUE(plain) << plain.error().to_string();
  EXPECT_EQ(api::int_at(api::array_at(*plain, "spec.ports")[0].as_object(), "nodePort"), 0) << json::serialize(*plain);
}

TEST(Controller, NamespacesGoWithEverythingInThem) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  ASSERT_EQ(c.create("/api/v1/namespaces", R"({"metadata":{"name":"lab"}})"), "");
  ASSERT_EQ(c.create("/api/v1/namespaces/lab/services", R"({"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}})"),
            "");
  ASSERT_EQ(c.create("/api/v1/namespaces/lab/configmaps", R"({"metadata":{"name":"a"}})"), "");
  ASSERT_EQ(c.create("/api/v1/namespaces/lab/pods",
                     R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})"),
            "");
  ASSERT_TRUE(c.run(c.admin->remove("/api/v1/namespaces/lab")));
  EXPECT_TRUE(c.eventually([&] { return c.get("/api/v1/namespaces/lab").empty(); }));
  EXPECT_TRUE(c.list("/api/v1/services", "").size() == 1);
  EXPECT_TRUE(c.list("/api/v1/pods").empty());
}

// Acknowledged means there: whatever the moment of the kill.
TEST(Controller, KillNineLosesNothingAcknowledged) {
  auto dir = scratch();
  std::set<std::string> acknowledged;
  std::uint64_t newest = 0;
  for (int round = 0; round < 4; ++round) {
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    pid_t child = ::fork();
    if (child == 0) {
      ::close(fds[0]);
      auto o = options_for(dir);
      o.ready_fd = fds[1];
      auto r = run_controller(o);
      if (!r) std::fprintf(stderr, "%s\n", r.error().to_string().c_str());
      ::_exit(1);
    }
    ::close(fds[1]);
    char text[6];
    ASSERT_EQ(::read(fds[0], text, sizeof text), 6) << "round " << round;
    ::close(fds[0]);
    Runner run;
    auto admin = std::move(
        *ApiClient::make(run.executor(), client::read_kubeconfig(dir + "/admin.kubeconfig")->client_options()));
    std::set<std::string> found, ips;
    auto all = run(admin->list("/api/v1/services"));
    ASSERT_TRUE(all) << all.error().to_string();
    for (const auto& s : all->items) {
      found.insert(api::text_at(s, "metadata.name"));
      EXPECT_TRUE(ips.insert(api::text_at(s, "spec.clusterIP")).second) << "an address was given out twice";
    }
    for (const auto& name : acknowledged) EXPECT_TRUE(found.contains(name)) << name << " in round " << round;
    auto revision = std::stoull(all->revision);
    EXPECT_GE(revision, newest) << "the revision fell";
    // Write until the kill, which comes in the middle of it.
    std::thread killer([child, round] {
      std::this_thread::sleep_for(std::chrono::milliseconds(60 + 40 * round));
      ::kill(child, SIGKILL);
    });
    for (int i = 0;; ++i) {
      auto name = fmt::format("s{}-{}", round, i);
      auto made = run(admin->create(
          kServices, object(R"({"metadata":{"name":")" + name + R"("},"spec":{"ports":[{"port":80}]}})")));
      if (!made) break;
      acknowledged.insert(name);
      newest = std::max<std::uint64_t>(newest, std::stoull(api::text_at(*made, "metadata.resourceVersion")));
    }
    killer.join();
    int code = 0;
    ::waitpid(child, &code, 0);
    EXPECT_TRUE(WIFSIGNALED(code));
  }
  EXPECT_GT(acknowledged.size(), 4u);
  (void)base::remove_tree(dir);
}

TEST(Controller, BadOptionsAreRefusedInWords) {
  auto refused = [](const std::function<void(ControllerOptions&)>& change) {
    auto o = options_for("/nonexistent");
    change(o);
    auto r = run_controller(o);
    return r ? std::string("accepted") : r.error().to_string();
  };
  EXPECT_NE(refused([](auto& o) { o.listen = {"nonsense"}; }).find("not an address to listen on"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.service_cidrs = {"10.244.0.0/24"}; }).find("overlap"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.store = "mysql:x"; }).find("sqlite:PATH"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.timers.node_grace = 300ms; }).find("three lease periods"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.node_mask_v4 = 8; }).find("can not be a /8"), std::string::npos);
}

}  // namespace
}  // namespace trama::control
