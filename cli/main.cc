// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstring>

#include "cli/commands/program.h"
#ifdef TRAMA_WITH_NETNS_PROCESS
#include "netns/exec.h"
#include "netns/pod_init.h"
#endif

int main(int argc, char** argv) {
#ifdef TRAMA_WITH_NETNS_PROCESS
  // These two run inside pods, single-threaded from the first instruction: before anything else is set up.
  if (argc > 1 && !std::strcmp(argv[1], "pod-init")) return trama::netns::pod_init_main(argc - 1, argv + 1);
  if (argc > 1 && !std::strcmp(argv[1], "pod-exec")) return trama::netns::pod_exec_main(argc - 1, argv + 1);
#endif
  return trama::cli::run_program(argc, argv);
}
