// SPDX-License-Identifier: GPL-2.0-or-later
// Commands inside a running container.
#include <csignal>

#include <poll.h>

#include "tests/kernel/process_fixture.h"

namespace trama::netns {
namespace {
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class ExecTest : public ProcessTest {
 protected:
  void SetUp() override {
    ProcessTest::SetUp();
    spec_ = pod("echo mark > /tmp/mark; echo up; while :; do sleep 0.1; done");
    spec_.containers[0].env = {{"COLOUR", "blue"}};
    init_ = start_until(spec_, "up");
    ASSERT_TRUE(test::eventually([&] { return container(spec_.uid).state.phase == ContainerPhase::running; }));
  }
  // Reads the terminal until `word` appears or its end.
  static std::string until(int fd, const std::string& word) {
    std::string all;
    char c[512];
    for (pollfd p{fd, POLLIN, 0}; all.find(word) == std::string::npos && ::poll(&p, 1, 5000) > 0;) {
      ssize_t n = ::read(fd, c, sizeof c);
      if (n <= 0) break;
      all.append(c, static_cast<std::size_t>(n));
    }
    return all;
  }
  PodSpec spec_;
  RunningPod init_;
};

TEST_F(ExecTest, OutputErrorsAndExitCode) {
  Captured c = exec(spec_.uid, {"sh", "-c", "echo out; echo err >&2; cat /tmp/mark; echo $COLOUR; hostname; exit 42"});
  EXPECT_EQ(c.out, "out\nmark\nblue\nweb-0\n");
  EXPECT_EQ(c.err, "err\n");
  EXPECT_EQ(c.code, 42);
  EXPECT_EQ(exec(spec_.uid, {"sh", "-c", "kill -9 $$"}).code, 137);
}

TEST_F(ExecTest, HasTheContainersNamespacesAndPrivileges) {
  Captured c = exec(
      spec_.uid, {"sh", "-c",
                  "for n in net pid mnt uts ipc; do readlink /proc/self/ns/$n; done; "
                  "grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp:)' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '"});
  for (const char* n : {"net", "pid", "mnt", "uts", "ipc"})
    EXPECT_TRUE(contains(
        c.out,
        std::filesystem::read_symlink("/proc/" + std::to_string(container(spec_.uid).pid) + "/ns/" + n).string()))
        << c.out;
  for (const char* line : {"CapEff:\t00000000000425fb", "CapBnd:\t00000000000425fb", "NoNewPrivs:\t1", "Seccomp:\t2"})
    EXPECT_TRUE(contains(c.out, line)) << c.out;
  EXPECT_TRUE(contains(c.out, "0 1 2 3 ")) << c.out;
  EXPECT_FALSE(contains(c.out, " 4")) << c.out;
}

TEST_F(ExecTest, RunsInTheContainersCgroup) {
  ExecRequest request;
  request.uid = spec_.uid;
  request.command = {"sleep", "1000"};
  auto process = start_exec(*pods_, request);
  ASSERT_TRUE(process) << process.error().to_string();
  auto in_group = [&] {
    std::string group = pods_->cgroups().directories("pod-" + spec_.uid + "/main").back();
    std::istringstream pids(base::read_file(group + "/cgroup.procs").value_or(std::string()));
    for (std::string pid; pids >> pid;)
      if (auto line = base::read_file("/proc/" + pid + "/cmdline");
          line && line->starts_with("sleep") && contains(*line, "1000"))
        return true;
    return false;
  };
  EXPECT_TRUE(in_group());
  ASSERT_TRUE(pods_->stop(spec_.uid, std::chrono::milliseconds(0)));  // takes the command along
  auto code = process->wait();
  ASSERT_TRUE(code);
  EXPECT_EQ(*code, 137);
}

TEST_F(ExecTest, StandardInput) {
  ExecRequest request;
  request.uid = spec_.uid;
  request.command = {"wc", "-c"};
  request.stdin_open = true;
  auto process = start_exec(*pods_, request);
  ASSERT_TRUE(process) << process.error().to_string();
  ASSERT_EQ(::write(process->stdin_w.get(), "12345", 5), 5);
  process->stdin_w.reset();
  EXPECT_EQ(drain(process->stdout_r.get()), "5\n");
  EXPECT_EQ(*process->wait(), 0);
  EXPECT_EQ(exec(spec_.uid, {"wc", "-c"}).out, "0\n") << "without stdin there is an end at once";
}

TEST_F(ExecTest, Terminal) {
  ExecRequest request;
  request.uid = spec_.uid;
  request.terminal = true;
  request.size = {33, 101};
  request.command = {"sh", "-c",
                     "test -t 0 && test -t 1 && test -t 2 && tty && stty size; trap 'stty size' WINCH; echo ready; "
                     "read x; echo got $x; exit 5"};
  auto process = start_exec(*pods_, request);
  ASSERT_TRUE(process) << process.error().to_string();
  std::string text = until(process->terminal.get(), "ready");
  EXPECT_TRUE(contains(text, "/dev/pts/0")) << text;
  EXPECT_TRUE(contains(text, "33 101")) << text;
  ASSERT_TRUE(process->resize({44, 55}));
  ASSERT_EQ(::write(process->terminal.get(), "word\n", 5), 5);
  text = until(process->terminal.get(), "got word");
  EXPECT_TRUE(contains(text, "44 55")) << text;
  EXPECT_EQ(*process->wait(), 5);
  EXPECT_EQ(exec(spec_.uid, {"sh", "-c", "test -t 0 || echo no"}).out, "no\n");
}

TEST_F(ExecTest, SaysWhatIsWrong) {
  auto attempt = [&](const Uid& uid, const std::string& name, std::vector<std::string> command) {
    ExecRequest request;
    request.uid = uid;
    request.container = name;
    request.command = std::move(command);
    auto process = start_exec(*pods_, request);
    EXPECT_FALSE(process);
    return process ? std::string() : process.error().to_string();
  };
  EXPECT_TRUE(contains(attempt(spec_.uid, "", {"no-such-program"}), "no-such-program"));
  EXPECT_TRUE(contains(attempt(spec_.uid, "", {"/etc/passwd"}), "Permission denied"));
  EXPECT_TRUE(contains(attempt(spec_.uid, "other", {"true"}), "\"other\""));
  EXPECT_NE(attempt("nobody", "", {"true"}), "");
  ASSERT_TRUE(pods_->stop(spec_.uid, std::chrono::milliseconds(0)));
  EXPECT_TRUE(contains(attempt(spec_.uid, "main", {"true"}), "not running"));
}

TEST_F(ExecTest, KillAndDropEndTheCommand) {
  ExecRequest request;
  request.uid = spec_.uid;
  request.command = {"sh", "-c", "trap '' TERM; echo $$; sleep 1000"};
  auto process = start_exec(*pods_, request);
  ASSERT_TRUE(process) << process.error().to_string();
  ASSERT_TRUE(process->kill());
  EXPECT_EQ(*process->wait(), 137);
  {
    auto dropped = start_exec(*pods_, request);
    ASSERT_TRUE(dropped) << dropped.error().to_string();
    EXPECT_NE(exec(spec_.uid, {"pgrep", "-f", "sleep 1000"}).out, "");
  }
  EXPECT_TRUE(test::eventually([&] { return exec(spec_.uid, {"pgrep", "-f", "trap.*sleep 1000"}).out.empty(); }));
}

}  // namespace
}  // namespace trama::netns
