// SPDX-License-Identifier: GPL-2.0-or-later
// The whole loop on the real kernel: damage of each kind is noticed and healed within a second, without being told.
#include "netns/reconciler.h"

#include <future>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gmock/gmock.h>

#include "base/async/task_group.h"
#include "base/async/worker.h"
#include "base/file.h"
#include "tests/kernel/netns/node.h"

namespace trama::netns::test {
namespace {

PrivateMounts mounts;

using ::testing::HasSubstr;
using trama::test::eventually;

// An agent's brain and worker in the namespace of a node.
class Loop {
 public:
  Loop(Node& node, Reconciler::Options options) : node_(node) {
    std::promise<void> ready;
    brain_ = std::thread([&, options] {
      node.net.run([&, options] {
        worker_ = std::make_unique<async::Worker>("kernel");
        want_ = std::make_unique<async::Latest<Desired>>(context_.get_executor());
        auto report = [this](const async::PassReport& r) {
          for (const auto& f : r.failures) ADD_FAILURE() << f;
        };
        reconciler_ =
            std::make_unique<Reconciler>(*want_, *node.kernel, *node.kernel, worker_->executor(), options, report);
        tasks_ = std::make_unique<async::TaskGroup>(context_.get_executor());
        tasks_->spawn("reconciler", reconciler_->run());
        ready.set_value();
        context_.run();
        reconciler_.reset();
        worker_.reset();
      });
    });
    ready.get_future().wait();
  }
  ~Loop() {
    auto stop = [this] { async::asio::co_spawn(context_, tasks_->stop(), [](std::exception_ptr) {}); };
    async::asio::post(context_, stop);
    brain_.join();
  }
  void publish(const Desired& d) {
    auto generation = std::make_shared<std::promise<std::uint64_t>>();
    async::asio::post(
        context_, [this, d, generation] { generation->set_value(want_->publish(std::make_shared<const Desired>(d))); });
    auto wanted = generation->get_future().get();
    ASSERT_TRUE(eventually([&] { return ask([&] { return reconciler_->reconciled_generation(); }) >= wanted; }));
  }
  std::uint64_t ask(std::function<std::uint64_t()> f) {
    auto answer = std::make_shared<std::promise<std::uint64_t>>();
    async::asio::post(context_, [f, answer] { answer->set_value(f()); });
    return answer->get_future().get();
  }
  std::uint64_t passes() {
    return ask([&] { return reconciler_->passes(); });
  }

 private:
  Node& node_;
  async::asio::io_context context_{1};
  std::unique_ptr<async::Worker> worker_;
  std::unique_ptr<async::Latest<Desired>> want_;
  std::unique_ptr<Reconciler> reconciler_;
  std::unique_ptr<async::TaskGroup> tasks_;
  std::thread brain_;
};

TEST(SandboxReconciler, heals_every_kind_of_damage_within_a_second_and_then_rests) {
  Node node;
  Sandbox web = pod("web-1", 7), db = pod("db", 8);
  node.want(web);
  node.want(db);
  Reconciler::Options options;
  options.paths = node.paths;
  options.refresh = std::chrono::minutes(10);  // the events alone must do it
  Loop loop(node, options);
  loop.publish(node.desired);

  std::string link = veth_name(web.uid);
  std::string state = "ip -o link show " + link +
                      " | sed 's/^[0-9]*: //; s/@if[0-9]*//'; ip route show proto 116; ip -6 route show proto 116;"
                      "ip neigh show dev " +
                      link + " | sort; ip -6 neigh show dev " + link +
                      "; nft -s list ruleset;"
                      "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/" +
                      link +
                      "/rp_filter; ls /run/netns;"
                      "cat " +
                      node.paths.etc_netns_dir + "/default.web-1/*";
  std::string inside =
      "ip -br link | sed s/@if[0-9]*//; ip -br addr | sed s/@if[0-9]*//; ip route; ip -6 route; ip neigh";
  auto look = [&] { return node.shell(state) + "\n---\n" + node.in_pod(web, inside); };
  std::string good = look();
  struct Damage {
    std::string by;
    bool inside;
  };
  for (const auto& d : std::vector<Damage>{
           {"ip route del 10.244.0.8", false},
           {"ip -6 route del fd00:244::8", false},
           {"ip neigh del 10.244.0.8 dev " + link, false},
           {"ip link set " + link + " down", false},
           {"ip link del " + link, false},
           {"sysctl -qw net.ipv4.conf." + link + ".rp_filter=0", false},
           {"sysctl -qw net.ipv4.ip_forward=0", false},
           {"nft flush ruleset", false},
           {"rm " + node.paths.etc_netns_dir + "/default.web-1/hosts", false},
           {"echo 1.2.3.4 evil > " + node.paths.etc_netns_dir + "/default.web-1/hosts", false},
           {"umount /run/netns/default.web-1 && rm /run/netns/default.web-1", true},
           {"ip link set eth0 down", true},
           {"ip addr flush dev eth0", true},
           {"ip route del default", true},
           {"ip neigh del 169.254.1.1 dev eth0", true},
       }) {
    SCOPED_TRACE(d.by);
    std::string out;
    if (d.by.starts_with("umount"))
      ASSERT_EQ(trama::test::shell(d.by, &out), 0) << out;
    else if (d.inside)
      node.in_pod(web, d.by);
    else
      ASSERT_EQ(node.net.shell(d.by, &out), 0) << out;
    std::string now;
    EXPECT_TRUE(eventually(
        [&] {
          now = look();
          return now == good;
        },
        1500))  // a second, and the time that looking takes
        << good << "\n=== now ===\n"
        << now;
  }
  // Its own work must not keep it awake.
  std::uint64_t passes = 0;
  EXPECT_TRUE(eventually([&] {
    auto before = loop.passes();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    passes = loop.passes();
    return passes == before;
  }));
  // And what is not about sandboxes does not wake it.
  ASSERT_EQ(node.run("ip link add x0 type veth peer name x1; ip link set x0 up; ip link set x1 up; ip link del x0"), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LE(loop.passes(), passes + 2);  // link-local routes of the new links may cause a look
  loop.publish({});
  EXPECT_THAT(node.shell("ls /run/netns"), "");
}

}  // namespace
}  // namespace trama::netns::test
