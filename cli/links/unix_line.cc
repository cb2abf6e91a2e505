// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/unix_line.h"

#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;

namespace {

constexpr std::size_t kLongest = 4 << 20;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.size() >= sizeof a.sun_path) return Error::from_errno(ENAMETOOLONG, path);
  std::memcpy(a.sun_path, path.c_str(), path.size() + 1);
  return a;
}

void patience(int fd, int milliseconds) {
  timeval t{milliseconds / 1000, milliseconds % 1000 * 1000};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

}  // namespace

Result<UniqueFd> listen_for_lines(const std::string& path) {
  auto address = address_of(path);
  if (!address) return std::move(address).error();
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "open a socket");
  unlink(path.c_str());
  // The mode is set before anybody can connect: bind() makes the file, listen() opens it.
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) < 0 ||
      chmod(path.c_str(), 0600) < 0 || listen(fd.get(), 16) < 0)
    return Error::from_errno(errno, path);
  return fd;
}

std::optional<UniqueFd> accept_line(int listener) {
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) return std::nullopt;
  patience(fd.get(), 500);
  return fd;
}

Result<UniqueFd> connect_for_lines(const std::string& path) {
  auto address = address_of(path);
  if (!address) return std::move(address).error();
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "open a socket");
  patience(fd.get(), 10'000);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) < 0)
    return Error::from_errno(errno, path);
  return fd;
}

Result<std::string> read_line(int fd) {
  std::string line;
  char buffer[4096];
  for (;;) {
    auto n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno == EAGAIN ? ETIMEDOUT : errno, "wait for an answer");
    if (n == 0) return Error::from_errno(EPIPE, "the other side ended without an answer");
    line.append(buffer, static_cast<std::size_t>(n));
    if (line.back() == '\n') {
      line.pop_back();
      return line;
    }
    if (line.size() > kLongest) return Error::from_errno(EMSGSIZE, "read a line");
  }
}

Result<> write_line(int fd, std::string line) {
  line += '\n';
  for (std::string_view rest = line; !rest.empty();) {
    auto n = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "send a line");
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace trama::cli
