// SPDX-License-Identifier: GPL-2.0-or-later
// The real `trama controller` as a process of its own on loopback, at a port that the kernel chose.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "control/client/kubeconfig.h"

namespace trama::test {

class ControllerProcess {
 public:
  // `binary` is trama; `directory` the data directory, made when missing, and kept: a second process continues there.
  ControllerProcess(std::string binary, std::string directory);
  // SIGTERM, and SIGKILL to whoever does not obey within 20 s.
  ~ControllerProcess();
  ControllerProcess(const ControllerProcess&) = delete;
  ControllerProcess& operator=(const ControllerProcess&) = delete;

  // Returns once it serves. `more` are further arguments, divided by blanks.
  base::Result<> start(const std::string& more = "");
  // The exit status; -1 when a signal ended it.
  int stop(int signal = 15);
  client::Kubeconfig kubeconfig() const;
  std::string kubeconfig_path() const { return directory_ + "/admin.kubeconfig"; }
  std::string log() const;
  pid_t pid() const { return pid_; }

 private:
  std::string binary_, directory_;
  pid_t pid_ = -1;
};

// Starts a program without a shell; stdout and stderr go to `log`. `pass_fd` is inherited (-1: none).
pid_t start_program(const std::vector<std::string>& command, const std::string& log, int pass_fd = -1);
// SIGNAL, and SIGKILL after 20 s; the exit status, or -1 when a signal ended it.
int end_program(pid_t pid, int signal);

// Of a running process: seconds of CPU used so far, and resident memory.
double cpu_seconds(pid_t pid);
std::uint64_t resident_bytes(pid_t pid);

}  // namespace trama::test
