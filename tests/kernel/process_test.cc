// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/process_fixture.h"

namespace trama::netns {

TEST_F(ProcessTest, RunsToItsEnd) {
  PodSpec s = pod("echo hello; hostname; exit 3");
  EXPECT_EQ(run(s), "hello\nweb-0\n") << story(s.uid);
  ContainerStatus c = container(s.uid);
  EXPECT_EQ(c.state.exit_code, 3);
  EXPECT_EQ(c.state.reason, "Error");
}

}  // namespace trama::netns
