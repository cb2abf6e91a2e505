// SPDX-License-Identifier: GPL-2.0-or-later
// Starting and ending the processes of a lab. They outlive the command that starts them.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cli/lab/registry.h"

namespace trama::cli {

struct DaemonSpec {
  std::string program;                                           // absolute path
  std::vector<std::string> arguments;                            // without the program
  std::vector<std::pair<std::string, std::string>> environment;  // on top of ours
  int netns_fd = -1;                                             // the namespace to live in
  std::string log_path;                                          // stdout and stderr; appended to
  std::vector<int> sockets;  // listening sockets to hand over by systemd's protocol (LISTEN_FDS)
};

struct Daemon {
  ProcessId id;
  base::UniqueFd ready;  // "READY\n" comes here; end of file without it: the process died
};
// The process gets `--ready-fd N` appended to its arguments. It is a session of its own with standard input from
// /dev/null and nothing else inherited. Call from a process with one thread.
base::Result<Daemon> start_daemon(const DaemonSpec& spec);

// Waits for all of them. EIO for one that died, ETIMEDOUT for one that is late; the error holds the end of its log.
base::Result<> wait_ready(std::vector<Daemon>& daemons, const std::vector<std::string>& log_paths,
                          std::chrono::steady_clock::time_point deadline);

// SIGTERM to all, SIGKILL to those still there after `grace`; returns when none is left. Only exactly these processes:
// a pid that now belongs to another process is left alone.
base::Result<> end_processes(const std::vector<ProcessId>& processes, std::chrono::milliseconds grace);

// The last lines of a log, indented, for error messages.
std::string log_tail(const std::string& path, std::size_t lines = 8);

}  // namespace trama::cli
