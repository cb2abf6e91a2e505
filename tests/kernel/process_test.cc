// SPDX-License-Identifier: GPL-2.0-or-later
// The life of a pod's processes: ends, restarts, stops, being found again.
#include <csignal>

#include "tests/kernel/process_fixture.h"

namespace trama::netns {
namespace {
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

TEST_F(ProcessTest, ReportsOutputAndExitCode) {
  PodSpec s = pod("echo hello; hostname; echo oops >&2; exit 3");
  EXPECT_EQ(run(s), "hello\nweb-0\noops\n") << story(s.uid);
  ContainerStatus c = container(s.uid);
  EXPECT_EQ(c.state.phase, ContainerPhase::terminated);
  EXPECT_EQ(c.state.exit_code, 3);
  EXPECT_EQ(c.state.reason, "Error");
  EXPECT_EQ(c.state.restarts, 0);
  EXPECT_LT(c.state.started_at, c.state.finished_at);
}

TEST_F(ProcessTest, ReportsCompletionAndSignals) {
  PodSpec good = pod("true"), bad = pod("kill -SEGV $$");
  run(good), run(bad);
  EXPECT_EQ(container(good.uid).state.reason, "Completed");
  EXPECT_EQ(container(good.uid).state.exit_code, 0);
  EXPECT_EQ(container(bad.uid).state.reason, "Error");
  EXPECT_EQ(container(bad.uid).state.signal, SIGSEGV);
  EXPECT_EQ(container(bad.uid).state.exit_code, 128 + SIGSEGV);
}

TEST_F(ProcessTest, SaysWhyAContainerCannotStart) {
  PodSpec command = pod(""), user = pod("true"), image = pod("true"), directory = pod("true");
  command.containers[0].command = {"no-such-program"};
  user.containers[0].user = "nobody-of-that-name";
  image.containers[0].image = "dir:/no/such/image";
  directory.containers[0].working_dir = "/no/such/directory";
  for (const auto& [spec, text] : std::vector<std::pair<PodSpec, std::string>>{{command, "no-such-program"},
                                                                               {user, "nobody-of-that-name"},
                                                                               {image, "/no/such/image"},
                                                                               {directory, "/no/such/directory"}}) {
    run(spec);
    ContainerStatus c = container(spec.uid);
    EXPECT_EQ(c.state.reason, "StartError") << story(spec.uid);
    EXPECT_EQ(c.state.exit_code, 128);
    EXPECT_NE(c.state.message.find(text), std::string::npos) << c.state.message;
  }
}

TEST_F(ProcessTest, RestartsWithBackOff) {
  PodSpec s = pod("echo run; exit 1", RestartPolicy::always);
  s.timing.base = milliseconds(300), s.timing.highest = milliseconds(600);
  auto began = Clock::now();
  start(s);
  ASSERT_TRUE(test::eventually([&] { return container(s.uid).state.reason == "CrashLoopBackOff"; })) << story(s.uid);
  ContainerStatus waiting = container(s.uid);
  EXPECT_EQ(waiting.state.phase, ContainerPhase::waiting);
  ASSERT_TRUE(waiting.last);
  EXPECT_EQ(waiting.last->exit_code, 1);
  ASSERT_TRUE(test::eventually([&] { return container(s.uid).state.restarts >= 3; })) << story(s.uid);
  // The first restart is immediate, the next two wait 300 ms and 600 ms.
  EXPECT_GE(Clock::now() - began, milliseconds(900));
  EXPECT_TRUE(pods_->stop(s.uid, milliseconds(0)));
  EXPECT_TRUE(finished(s.uid));
  EXPECT_EQ(container(s.uid).state.phase, ContainerPhase::terminated);
}

TEST_F(ProcessTest, RestartPolicyDecides) {
  PodSpec ended = pod("true", RestartPolicy::on_failure), failed = pod("false", RestartPolicy::on_failure);
  run(ended);
  EXPECT_EQ(container(ended.uid).state.restarts, 0);
  start(failed);
  EXPECT_TRUE(test::eventually([&] { return container(failed.uid).state.restarts >= 1; })) << story(failed.uid);
}

TEST_F(ProcessTest, StopGivesTimeToLeave) {
  PodSpec s = pod("trap 'echo leaving; exit 7' TERM; echo up; while :; do sleep 0.05; done");
  start_until(s, "up");
  ASSERT_TRUE(pods_->stop(s.uid, milliseconds(5000)));
  EXPECT_EQ(output(s.uid), "up\nleaving\n");
  EXPECT_EQ(container(s.uid).state.exit_code, 7) << story(s.uid);
  EXPECT_TRUE(finished(s.uid));
  EXPECT_TRUE(pods_->stop(s.uid, milliseconds(0))) << "stopping twice is fine";
}

TEST_F(ProcessTest, StopKillsAfterGrace) {
  PodSpec s = pod("trap '' TERM; echo up; while :; do sleep 0.05; done", RestartPolicy::always);
  RunningPod p = start_until(s, "up");
  auto began = Clock::now();
  ASSERT_TRUE(pods_->stop(s.uid, milliseconds(400)));
  auto took = Clock::now() - began;
  EXPECT_GE(took, milliseconds(400));
  EXPECT_LT(took, milliseconds(4000));
  EXPECT_EQ(container(s.uid).state.signal, SIGKILL) << story(s.uid);
  EXPECT_TRUE(gone(p.pid));
}

TEST_F(ProcessTest, StopCopesWithAHungInit) {
  PodSpec s = pod("echo up; sleep 1000");
  RunningPod p = start_until(s, "up");
  ASSERT_EQ(::kill(p.pid, SIGSTOP), 0);
  ASSERT_TRUE(pods_->stop(s.uid, milliseconds(0)));
  EXPECT_TRUE(gone(p.pid));
  EXPECT_EQ(container(s.uid).state.exit_code, 137) << story(s.uid);
  EXPECT_TRUE(finished(s.uid));
}

TEST_F(ProcessTest, OnlyTheOutsideStopsThePod) {
  PodSpec s = pod("kill -TERM 1; kill -KILL 1; sleep 0.3; echo alive");
  EXPECT_EQ(run(s), "alive\n") << story(s.uid);
}

TEST_F(ProcessTest, AllContainersShareThePodAndEndWithIt) {
  PodSpec s = pod("echo up; sleep 1000");
  ContainerSpec second = s.containers[0];
  second.name = "second";
  second.command = {"sh", "-c", "cat /proc/1/comm; hostname; sleep 1000"};
  s.containers.push_back(second);
  start_until(s, "up");
  ASSERT_TRUE(test::eventually([&] { return output(s.uid, "second").find("web-0") != std::string::npos; }));
  EXPECT_EQ(output(s.uid, "second"), "trama-pod-init\nweb-0\n");
  ASSERT_TRUE(pods_->stop(s.uid, milliseconds(1000)));
  EXPECT_TRUE(finished(s.uid));
}

TEST_F(ProcessTest, AHeldContainerWaitsAloneUntilItIsReleased) {
  PodSpec s = pod("echo main $A; sleep 1000");
  s.containers[0].held = true;
  ContainerSpec side = pod("echo side; kill -USR1 1; sleep 1000").containers[0];
  side.name = "side";
  s.containers.push_back(side);
  start(s);
  ASSERT_TRUE(test::eventually([&] { return output(s.uid, "side") == "side\n"; })) << story(s.uid);
  EXPECT_EQ(container(s.uid).state.phase, ContainerPhase::waiting);
  EXPECT_EQ(container(s.uid).state.reason, "CreateContainerConfigError");

  PodSpec next = s;
  next.containers[0].env["A"] = "given";
  next.containers[1].env["A"] = "not for one that runs";
  ASSERT_TRUE(pods_->release(next));
  EXPECT_EQ(output(s.uid), "") << "still held";
  next.containers[0].held = false;
  // The control: without the word nothing happens; and a word from inside is none.
  auto spec = *pods_->read_spec(s.uid);
  spec.containers[0] = next.containers[0];
  ASSERT_TRUE(base::write_file_atomic(pods_->directory(s.uid) + "/spec.json", to_json(spec), 0600));
  EXPECT_FALSE(test::eventually([&] { return output(s.uid) != ""; }, 200));
  // As after an agent that was killed between the two.
  ASSERT_TRUE(pods_->release(next));
  ASSERT_TRUE(test::eventually([&] { return output(s.uid) == "main given\n"; })) << story(s.uid);
  EXPECT_TRUE(test::eventually([&] { return container(s.uid).state.phase == ContainerPhase::running; }));
  EXPECT_EQ(container(s.uid).state.restarts, 0);
  EXPECT_EQ(pods_->read_spec(s.uid)->containers[0].env.at("A"), "given") << "what exec gives";
  EXPECT_FALSE(pods_->read_spec(s.uid)->containers[1].env.contains("A"));
  ASSERT_TRUE(pods_->release(next)) << "once more is nothing";
  EXPECT_EQ(container(s.uid, 1).state.restarts, 0);

  // One that is stopped while it waits never runs.
  PodSpec never = pod("echo never");
  never.containers[0].held = true;
  start(never);
  ASSERT_TRUE(pods_->stop(never.uid, milliseconds(1000)));
  EXPECT_TRUE(finished(never.uid));
  EXPECT_EQ(output(never.uid), "");
  EXPECT_FALSE(pods_->release(never)) << "there is nobody to tell";
}

TEST_F(ProcessTest, ReapsOrphansAndKillsWhatIsLeft) {
  // 20 orphans end while the container runs; one daemon stays behind and holds the output open.
  PodSpec s =
      pod("for i in $(seq 20); do (true &) ; done; sleep 0.3; "
          "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; (setsid sleep 1000 &); exit 0");
  auto began = Clock::now();
  EXPECT_EQ(run(s), "0\n") << story(s.uid);
  EXPECT_LT(Clock::now() - began, milliseconds(10'000));
  EXPECT_TRUE(test::eventually([&] { return live(s.uid) == 0; }));
}

TEST_F(ProcessTest, SecondStartIsRefusedAndRemovedPodsCanComeBack) {
  PodSpec s = pod("echo up; sleep 1000");
  start_until(s, "up");
  auto again = pods_->start(s);
  ASSERT_FALSE(again);
  EXPECT_TRUE(again.error().is(std::errc::file_exists)) << again.error().to_string();
  ASSERT_TRUE(pods_->remove(s.uid));
  EXPECT_FALSE(pods_->cgroups().exists("pod-" + s.uid));
  EXPECT_FALSE(std::filesystem::exists(pods_->directory(s.uid)));
  EXPECT_TRUE(pods_->remove(s.uid)) << "removing twice is fine";
  start_until(s, "up");
}

TEST_F(ProcessTest, FailedStartLeavesNothing) {
  PodSpec s = pod("true");
  s.netns_path = "/run/netns/trama-test-there-is-none";
  auto r = pods_->start(s);
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().to_string().find(s.netns_path), std::string::npos) << r.error().to_string();
  EXPECT_TRUE(pods_->list().empty());
  EXPECT_EQ(leftovers(), "");
}

TEST_F(ProcessTest, SurvivesItsStarterAndIsAdopted) {
  PodSpec s = pod("echo up; while :; do sleep 0.05; done");
  pid_t starter = ::fork();
  if (starter == 0) ::_exit(pods_->start(s) ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(starter, &status, 0), starter);
  ASSERT_EQ(status, 0);

  auto fresh = CgroupRoot::open(root_);
  ASSERT_TRUE(fresh);
  PodProcesses other(options(), std::move(*fresh));
  EXPECT_EQ(other.list(), std::vector<Uid>{s.uid});
  auto adopted = other.adopt(s.uid);
  ASSERT_TRUE(adopted) << adopted.error().to_string();
  inits_.push_back(adopted->pid);
  ASSERT_TRUE(
      test::eventually([&] { return other.read_status(s.uid)->containers[0].state.phase == ContainerPhase::running; }));
  ASSERT_TRUE(other.stop(s.uid, milliseconds(0)));
  auto none = other.adopt(s.uid);
  ASSERT_FALSE(none);
  EXPECT_TRUE(none.error().is(std::errc::no_such_process)) << none.error().to_string();
}

TEST_F(ProcessTest, AdoptRefusesStrangers) {
  PodSpec s = pod("echo up; sleep 1000");
  RunningPod p = start_until(s, "up");
  std::string file = pods_->directory(s.uid) + "/init.json", original = *base::read_file(file);
  auto with = [&](pid_t pid, std::uint64_t since) {
    std::string text = original;
    auto replace = [&](const std::string& from, const std::string& to) {
      auto at = text.find(from);
      ASSERT_NE(at, std::string::npos) << text;
      text.replace(at, from.size(), to);
    };
    replace("\"pid\":" + std::to_string(p.pid), "\"pid\":" + std::to_string(pid));
    replace("\"startTime\":" + std::to_string(p.start_time), "\"startTime\":" + std::to_string(since));
    ASSERT_TRUE(base::write_file_atomic(file, text));
  };
  with(p.pid, p.start_time + 1);  // the same pid, another process
  auto recycled = pods_->adopt(s.uid);
  ASSERT_FALSE(recycled);
  EXPECT_TRUE(recycled.error().is(std::errc::no_such_process)) << recycled.error().to_string();
  with(::getpid(), *process_start_time(::getpid()));  // a live process that is no init of ours
  auto stranger = pods_->adopt(s.uid);
  ASSERT_FALSE(stranger);
  EXPECT_NE(stranger.error().to_string().find("cgroup"), std::string::npos) << stranger.error().to_string();
  with(p.pid, p.start_time);
  EXPECT_TRUE(pods_->adopt(s.uid)) << "the unchanged record is accepted";

  test::PrivateNetns elsewhere;
  PodSpec moved = s;
  moved.netns_path = elsewhere.path();
  ASSERT_TRUE(base::write_file_atomic(pods_->directory(s.uid) + "/spec.json", to_json(moved)));
  auto other = pods_->adopt(s.uid);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().to_string().find("network namespace"), std::string::npos) << other.error().to_string();
}

TEST_F(ProcessTest, AVanishedInitIsNoMystery) {
  PodSpec s = pod("echo up; sleep 1000");
  RunningPod p = start_until(s, "up");
  ASSERT_EQ(::kill(p.pid, SIGKILL), 0);
  ASSERT_TRUE(test::eventually([&] { return gone(p.pid); }));
  ContainerStatus c = container(s.uid);
  EXPECT_EQ(c.state.reason, "ContainerStatusUnknown") << story(s.uid);
  EXPECT_EQ(c.state.exit_code, 137);
  EXPECT_TRUE(finished(s.uid));
}

TEST_F(ProcessTest, LogsStayWithinTheirBound) {
  PodSpec s = pod("head -c 8000000 /dev/zero | tr '\\0' 'x' | fold -w 100; echo; echo the end");
  s.log.file_bytes = 256 * 1024;
  s.log.files = 3;
  std::string text = run(s);
  std::uint64_t total = 0;
  std::size_t files = 0;
  for (const auto& e : std::filesystem::directory_iterator(pods_->directory(s.uid)))
    if (e.path().filename().string().starts_with("main.log")) total += e.file_size(), ++files;
  EXPECT_EQ(files, 3u);
  EXPECT_LE(total, s.log.file_bytes * s.log.files);
  EXPECT_GT(total, s.log.file_bytes);
  EXPECT_TRUE(text.ends_with("the end\n"));
}

}  // namespace
}  // namespace trama::netns
