// SPDX-License-Identifier: GPL-2.0-or-later
// A program with the two entry points that `trama` has for pods, for tests that start pods without the whole of it.
#include <cstdio>
#include <cstring>

#include "netns/exec.h"
#include "netns/pod_init.h"

int main(int argc, char** argv) {
  if (argc > 1 && !std::strcmp(argv[1], "pod-init")) return trama::netns::pod_init_main(argc - 1, argv + 1);
  if (argc > 1 && !std::strcmp(argv[1], "pod-exec")) return trama::netns::pod_exec_main(argc - 1, argv + 1);
  std::fputs("usage: pod-init|pod-exec …\n", stderr);
  return 2;
}
