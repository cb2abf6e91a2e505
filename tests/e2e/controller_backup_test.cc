// SPDX-License-Identifier: GPL-2.0-or-later
// `trama controller backup` and `restore` with the real program.
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/contract/store/log_model.h"
#include "tests/support/private_netns.h"

namespace trama {
namespace {

class ControllerBackup : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(binary_) << "TRAMA_BINARY is not set: run this through ctest"; }
  void TearDown() override { stop(); }

  void start() {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    process_ = fork();
    ASSERT_GE(process_, 0);
    if (process_ == 0) {
      int quiet = open("/dev/null", O_WRONLY);
      dup2(quiet, STDOUT_FILENO), dup2(quiet, STDERR_FILENO), dup2(ends[1], 100);
      execl(binary_, binary_, "controller", "--data-dir", data_.c_str(), "--listen", "127.0.0.1:0", "--scheduler-port",
            "0", "--controllers-port", "0", "--ready-fd", "100", nullptr);
      _exit(9);
    }
    close(ends[1]);
    char text[6];
    ASSERT_EQ(read(ends[0], text, sizeof text), 6) << "the controller did not start";
    close(ends[0]);
  }
  void stop() {
    if (process_ <= 0) return;
    kill(process_, SIGTERM);
    int status = 0;
    waitpid(process_, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    process_ = 0;
  }
  int trama(const std::string& arguments) {
    said_.clear();
    return test::shell(fmt::format("{} {} 2>&1", binary_, arguments), &said_);
  }
  int api(const std::string& arguments) {
    return trama(fmt::format("--kubeconfig {}/admin.kubeconfig {}", data_, arguments));
  }

  const char* binary_ = std::getenv("TRAMA_BINARY");
  test::ScratchDirectory directory_;
  std::string data_ = directory_.path + "/data", file_ = directory_.path + "/backup";
  std::string said_;
  pid_t process_ = 0;
};

TEST_F(ControllerBackup, BringsBackWhatWasThere) {
  start();
  ASSERT_EQ(
      test::shell(fmt::format("printf 'apiVersion: v1\\nkind: Namespace\\nmetadata: {{name: early}}\\n' >{0}/a.yaml; "
                              "sed s/early/late/ {0}/a.yaml >{0}/b.yaml",
                              directory_.path)),
      0);
  ASSERT_EQ(api("apply -f " + directory_.path + "/a.yaml"), 0) << said_;
  // Beside the running controller.
  ASSERT_EQ(trama(fmt::format("controller backup {} --data-dir {}", file_, data_)), 0) << said_;
  EXPECT_NE(said_.find("objects, revision "), std::string::npos) << said_;
  ASSERT_EQ(api("apply -f " + directory_.path + "/b.yaml"), 0) << said_;
  ASSERT_EQ(api("get namespace late"), 0) << said_;

  EXPECT_EQ(trama(fmt::format("controller backup {} --data-dir {}", file_, data_)), 4) << said_;
  EXPECT_NE(said_.find("overwrites nothing"), std::string::npos) << said_;
  EXPECT_EQ(trama(fmt::format("controller restore {} --data-dir {}", file_, data_)), 4) << said_;
  EXPECT_NE(said_.find("another controller uses it"), std::string::npos) << said_;
  EXPECT_NE(said_.find("next: stop the controller"), std::string::npos) << said_;
  EXPECT_EQ(trama(fmt::format("controller backup {}2 --data-dir {}/none", file_, data_)), 3) << said_;

  stop();
  ASSERT_EQ(trama(fmt::format("controller restore --data-dir {} {}", data_, file_)), 0) << said_;
  EXPECT_NE(said_.find("revisions go on at 1000"), std::string::npos) << said_;
  start();
  EXPECT_EQ(api("get namespace early"), 0) << said_;
  EXPECT_EQ(api("get namespace late"), 3) << said_;
  ASSERT_EQ(api("apply -f " + directory_.path + "/b.yaml"), 0) << said_;
}

}  // namespace
}  // namespace trama
