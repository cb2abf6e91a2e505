// SPDX-License-Identifier: GPL-2.0-or-later
// Limits are felt by the processes, not only written into files.
#include <thread>

#include "tests/kernel/process_fixture.h"

namespace trama::netns {
namespace {

class LimitsTest : public ProcessTest {
 protected:
  // CPU time the pod gets in about half a second, as a share of one CPU.
  double cpu_share(const Uid& uid) {
    auto before = pods_->usage(uid);
    auto began = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(600));  // the measured time itself
    auto after = pods_->usage(uid);
    std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - began;
    return static_cast<double>(after->cpu_usec - before->cpu_usec) / wall.count();
  }
};

TEST_F(LimitsTest, CpuQuota) {
  PodSpec limited = pod("echo up; while :; do :; done"), free = pod("echo up; while :; do :; done");
  limited.limits.cpu_millis = 20;
  start_until(limited, "up");
  EXPECT_LT(cpu_share(limited.uid), 0.04);
  ASSERT_TRUE(pods_->remove(limited.uid));
  start_until(free, "up");
  // The control has no quota; on a busy machine it may take a while until it is its turn.
  EXPECT_TRUE(test::eventually([&] { return cpu_share(free.uid) > 0.06; }, 20'000));
  Limits less;
  less.cpu_millis = 20;
  ASSERT_TRUE(pods_->update_limits(free.uid, less));
  (void)cpu_share(free.uid);  // one period under the old limit may still be running
  EXPECT_LT(cpu_share(free.uid), 0.04) << "a changed limit is in force at once";
}

TEST_F(LimitsTest, MemoryOfTheContainerOrOfThePod) {
  for (bool whole_pod : {false, true}) {
    PodSpec s = pod("echo up; exec tail /dev/zero");
    (whole_pod ? s.limits : s.containers[0].limits).memory_bytes = 32 << 20;
    run(s);
    ContainerStatus c = container(s.uid);
    EXPECT_EQ(c.state.reason, "OOMKilled") << story(s.uid);
    EXPECT_EQ(c.state.exit_code, 137);
    EXPECT_GE(pods_->usage(s.uid)->oom_kills, 1u);
  }
  PodSpec control = pod("head -c 1000000 /dev/zero | tail -c 1000000 | wc -c; kill -KILL $$");
  control.limits.memory_bytes = 32 << 20;
  EXPECT_EQ(run(control), "1000000\n");
  EXPECT_EQ(container(control.uid).state.reason, "Error") << "killed, but not for memory";
}

TEST_F(LimitsTest, NumberOfProcesses) {
  std::string many =
      "n=0; for i in $(seq 30); do sleep 5 & [ $? = 0 ] && n=$((n+1)); done 2>/dev/null; echo $n; kill $(jobs -p)";
  PodSpec limited = pod(many), control = pod(many);
  limited.limits.pids = 12;
  run(limited);
  EXPECT_EQ(output(limited.uid).find("30"), std::string::npos) << output(limited.uid);
  EXPECT_NE(run(control).find("30"), std::string::npos) << output(control.uid);
}

TEST_F(LimitsTest, KillAllGetsForkingProcesses) {
  PodSpec s = pod("echo up; f() { sleep 0.01; f & f & wait; }; f");
  s.limits.pids = 64;
  start_until(s, "up");
  ASSERT_TRUE(test::eventually([&] { return live(s.uid) > 20; })) << live(s.uid);
  EXPECT_TRUE(pods_->cgroups().kill_all("pod-" + s.uid));
  EXPECT_EQ(live(s.uid), 0u);
}

TEST_F(LimitsTest, GroupsAreListedAndOthersLeftAlone) {
  PodSpec s = pod("true");
  run(s);
  EXPECT_EQ(pods_->cgroups().list(), std::vector<std::string>{"pod-" + s.uid});
  auto elsewhere = CgroupRoot::open(root_ + "2");
  ASSERT_TRUE(elsewhere);
  ASSERT_TRUE(elsewhere->create("pod-other", Limits{}));
  EXPECT_EQ(pods_->cgroups().list(), std::vector<std::string>{"pod-" + s.uid});
  EXPECT_TRUE(elsewhere->remove("pod-other"));
  EXPECT_TRUE(elsewhere->remove_root());
}

}  // namespace
}  // namespace trama::netns
