// SPDX-License-Identifier: GPL-2.0-or-later
// Starting our own program again as a helper process, safely from a process with many threads.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::netns {

// A descriptor of `path` on a read-only mount of its own: a process started from it and then shown to a container
// cannot be used to overwrite the program (the container sees it as /proc/<pid>/exe). Falls back to a plain descriptor.
base::Result<base::UniqueFd> open_executable(const std::string& path);

struct Child {
  pid_t pid = 0;
  base::UniqueFd pidfd;
};
// Runs `executable` with argv (argv[0] included), an empty signal mask, default signals, a session of its own, PATH as
// the only variable, and exactly the descriptors `fds` as 0, 1, 2, …; the caller keeps its own and must reap the child.
base::Result<Child> spawn(int executable, const std::vector<std::string>& argv, const std::vector<int>& fds);

// An anonymous file that holds `content`, read position at the start.
base::Result<base::UniqueFd> memory_file(const char* name, std::string_view content);

// A message with at most one descriptor over a SEQPACKET socket.
struct Message {
  std::string text;
  base::UniqueFd fd;
  bool end = false;  // the other side has closed
};
base::Result<> send_message(int socket, std::string_view text, int fd = -1);
// Waits at most `timeout_ms` (-1: for ever); ETIMEDOUT after that.
base::Result<Message> receive_message(int socket, int timeout_ms);

}  // namespace trama::netns
