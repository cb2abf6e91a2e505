// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/sockets.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sockaddr.h"

namespace trama::control {

using base::Error;
using base::Ip;
using base::IpPort;
using base::Result;

namespace {

Result<IpPort> bound_address(int fd) {
  sockaddr_storage a{};
  socklen_t size = sizeof a;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) != 0)
    return Error::from_errno(errno, "read a socket's address");
  return base::from_sockaddr(reinterpret_cast<sockaddr*>(&a));
}

int number_of(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return 0;
  int n = 0;
  std::from_chars(text, text + std::strlen(text), n);
  return n;
}

}  // namespace

Result<IpPort> parse_address(const std::string& text) {
  auto bad = [&] {
    return Error::text(fmt::format("\"{}\" is not an address to listen on; expected 0.0.0.0:6443 or [::]:6443", text));
  };
  auto colon = text.rfind(':');
  if (colon == std::string::npos) return bad();
  auto host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  auto ip = Ip::parse(host);
  std::uint16_t port = 0;
  auto [end, ec] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (!ip || ec != std::errc() || end != text.data() + text.size()) return bad();
  return IpPort{*ip, port};
}

Result<Listener> open_listener(const IpPort& address) {
  auto what = fmt::format("listen on {}", address.to_string());
  base::UniqueFd fd(::socket(address.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, what);
  int yes = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (!address.ip.is_v4() && !address.ip.is_unspecified())
    (void)::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  sockaddr_storage a{};
  auto size = base::to_sockaddr(address, a);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), size) != 0 || ::listen(fd.get(), 1024) != 0) {
    int e = errno;
    if (e == EADDRINUSE) what += " (is another controller running? choose another port with --listen)";
    return Error::from_errno(e, what);
  }
  auto bound = bound_address(fd.get());
  if (!bound) return std::move(bound).error();
  return Listener{std::move(fd), *bound};
}

Result<std::vector<Listener>> inherited_listeners() {
  std::vector<Listener> out;
  if (number_of("LISTEN_PID") != ::getpid()) return out;
  int count = number_of("LISTEN_FDS");
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  for (int fd = 3; fd < 3 + count; ++fd) {
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    base::UniqueFd owned(fd);
    int listening = 0;
    socklen_t size = sizeof listening;
    auto address = bound_address(fd);
    if (!address || ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
      return Error::text(fmt::format("LISTEN_FDS: descriptor {} is not a listening TCP socket", fd));
    out.push_back(Listener{std::move(owned), *address});
  }
  return out;
}

std::vector<Ip> local_addresses() {
  std::vector<Ip> out;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return out;
  for (auto* i = all; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr) continue;
    auto a = base::from_sockaddr(i->ifa_addr);
    if (a && !a->ip.is_loopback() && !a->ip.is_link_local()) out.push_back(a->ip);
  }
  ::freeifaddrs(all);
  return out;
}

void announce_ready(int ready_fd) {
  if (ready_fd >= 0) {
    constexpr char kReady[] = "READY\n";
    (void)!::write(ready_fd, kReady, sizeof kReady - 1);
    ::close(ready_fd);
  }
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un a{};
  auto length = std::strlen(path);
  if (length >= sizeof a.sun_path) return;
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path, length);
  if (a.sun_path[0] == '@') a.sun_path[0] = '\0';
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr char kMessage[] = "READY=1";
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (fd) (void)::sendto(fd.get(), kMessage, sizeof kMessage - 1, MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&a), size);
}

}  // namespace trama::control
