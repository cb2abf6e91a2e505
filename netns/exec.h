// SPDX-License-Identifier: GPL-2.0-or-later
// A command inside a running container, with the container's namespaces, root, cgroup and privileges.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netns/process.h"

namespace trama::netns {

struct TerminalSize {
  unsigned short rows = 24, columns = 80;
};

struct ExecRequest {
  Uid uid;
  std::string container;             // "" = the first one
  std::vector<std::string> command;  // looked up in the container's PATH
  bool stdin_open = false;           // otherwise the command reads end of file
  bool terminal = false;             // a pseudo terminal of the container's own; stderr then comes through it too
  TerminalSize size;
};

// A command that has been executed. The caller owns the descriptors: non-blocking or not is its choice (they are
// blocking and close-on-exec). Closing stdin_w is the command's end of file; with a terminal write ^D instead.
// Reading `terminal` fails with EIO once the command and its children have let go of it: that is its end of file.
// The command does not outlive this object's wait() or kill(): dropping the object kills it.
class ExecProcess {
 public:
  base::UniqueFd stdin_w, stdout_r, stderr_r;  // without a terminal; stdin_w only if asked for
  base::UniqueFd terminal;                     // the master side, both directions
  base::UniqueFd pidfd;                        // readable when the command has ended: wait() then returns at once
  pid_t pid = 0;

  ExecProcess() = default;
  ExecProcess(ExecProcess&&) noexcept = default;
  ExecProcess& operator=(ExecProcess&&) noexcept = default;
  ~ExecProcess();

  // Blocks until the command has ended; 128 + n when it died of signal n. Call once.
  base::Result<int> wait();
  base::Result<> resize(TerminalSize size);
  // SIGKILL to the command; wait() still has to be called.
  base::Result<> kill();
};

// Blocks until the command has been executed, about ten milliseconds. Errors: ENOENT pod or container not running or
// command not found, EACCES not executable. Start it while the container runs; a container that ends takes it along.
base::Result<ExecProcess> start_exec(const PodProcesses& pods, const ExecRequest& request);

// The program behind it: `trama pod-exec`, not for people. Does not return.
int pod_exec_main(int argc, char** argv);

}  // namespace trama::netns
