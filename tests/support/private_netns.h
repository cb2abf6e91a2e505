// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <string>

#include "base/unique_fd.h"

namespace trama::test {

// A fresh network namespace (lo up) that lives as long as this object. Nothing is pinned anywhere: when the object
// and the processes inside are gone, the namespace is gone. Needs root; without it the test fails, it does not skip.
class PrivateNetns {
 public:
  PrivateNetns();
  int fd() const { return fd_.get(); }
  // Path that setns/nsenter/mount accept while this object lives: /proc/<pid>/fd/<n>.
  std::string path() const;
  // Runs `job` on a thread of its own inside the namespace and waits for it.
  void run(const std::function<void()>& job) const;
  // Runs a shell command inside (by a child process); returns its exit code and puts stdout+stderr into *output.
  int shell(const std::string& command, std::string* output = nullptr) const;

 private:
  base::UniqueFd fd_;
};

// Runs a shell command in the current namespace; for tests only, the product spawns nothing to configure networking.
int shell(const std::string& command, std::string* output = nullptr);

// A file's whole content; "" when there is none yet.
std::string read_all(const std::string& path);

// Polls until `condition` holds or `milliseconds` have passed; returns whether it held.
bool eventually(const std::function<bool()>& condition, int milliseconds = 5000);

}  // namespace trama::test
