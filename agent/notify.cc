// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/notify.h"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace trama::agent {

void notify_ready(int fd) {
  if (fd >= 0) {
    base::UniqueFd owned(fd);
    constexpr std::string_view text = "READY\n";
    if (::write(owned.get(), text.data(), text.size()) < 0) {
      // Nobody waits any more.
    }
  }
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (!path || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  auto length = std::strlen(path);
  if (length >= sizeof to.sun_path) return;
  std::memcpy(to.sun_path, path, length);
  if (path[0] == '@') to.sun_path[0] = '\0';
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr std::string_view state = "READY=1";
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (socket) ::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to), size);
}

}  // namespace trama::agent
