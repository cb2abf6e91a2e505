// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/echo/socket.h"

#include <charconv>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/c_ptr.h"

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;

Result<HostPort> parse_host_port(std::string_view text, int default_port) {
  auto wrong = [&] {
    return Error::text(fmt::format("\"{}\" is not an address (expected :PORT, HOST:PORT or [V6]:PORT)", text));
  };
  HostPort out;
  std::string_view port;
  if (text.starts_with('[')) {
    auto close = text.find(']');
    if (close == std::string_view::npos) return wrong();
    out.host = std::string(text.substr(1, close - 1));
    auto rest = text.substr(close + 1);
    if (!rest.empty() && !rest.starts_with(':')) return wrong();
    port = rest.empty() ? rest : rest.substr(1);
  } else {
    auto colon = text.rfind(':');
    out.host = std::string(text.substr(0, colon));
    if (colon != std::string_view::npos) port = text.substr(colon + 1);
    if (out.host.find(':') != std::string::npos) return wrong();
  }
  if (port.empty() && default_port >= 0) {
    out.port = static_cast<std::uint16_t>(default_port);
    return out;
  }
  unsigned n = 0;
  auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), n);
  if (ec != std::errc() || end != port.data() + port.size() || n > 65535 || port.empty()) return wrong();
  out.port = static_cast<std::uint16_t>(n);
  return out;
}

std::string SocketAddress::to_string() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    auto* a = reinterpret_cast<const sockaddr_in*>(&storage);
    inet_ntop(AF_INET, &a->sin_addr, text, sizeof text);
    return fmt::format("{}:{}", text, ntohs(a->sin_port));
  }
  if (storage.ss_family != AF_INET6) return "?";
  auto* a = reinterpret_cast<const sockaddr_in6*>(&storage);
  if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr)) {
    inet_ntop(AF_INET, &a->sin6_addr.s6_addr[12], text, sizeof text);
    return fmt::format("{}:{}", text, ntohs(a->sin6_port));
  }
  inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof text);
  return fmt::format("[{}]:{}", text, ntohs(a->sin6_port));
}

std::uint16_t SocketAddress::port() const {
  if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
}

Result<SocketAddress> resolve(const HostPort& where, int type) {
  addrinfo hints{};
  hints.ai_socktype = type;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  int rc = getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &list);
  if (rc != 0)
    return Error::text(fmt::format("cannot resolve \"{}\": {}", where.host, gai_strerror(rc)),
                       rc == EAI_NONAME ? std::errc::no_such_file_or_directory : std::errc::host_unreachable);
  base::CPtr<addrinfo, freeaddrinfo> owned(list);
  SocketAddress out;
  std::memcpy(&out.storage, list->ai_addr, list->ai_addrlen);
  out.length = list->ai_addrlen;
  return out;
}

SocketAddress local_address(int fd) {
  SocketAddress a;
  a.length = sizeof a.storage;
  if (getsockname(fd, a.get(), &a.length) < 0) a.length = 0;
  return a;
}

namespace {
Result<UniqueFd> bind_to(int type, const SocketAddress& a, const std::string& shown) {
  UniqueFd fd(socket(a.storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error::from_errno(errno, "open a socket for " + shown);
  int on = 1, off = 0;
  if (type == SOCK_STREAM) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (a.storage.ss_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd.get(), a.get(), a.length) < 0) return Error::from_errno(errno, "listen on " + shown);
  if (type == SOCK_STREAM && listen(fd.get(), SOMAXCONN) < 0) return Error::from_errno(errno, "listen on " + shown);
  return fd;
}
}  // namespace

Result<UniqueFd> bind_socket(int type, const HostPort& where) {
  auto shown = fmt::format("{}:{}", where.host, where.port);
  if (!where.host.empty()) {
    auto address = resolve(where, type);
    if (!address) return std::move(address).error().in("listen on " + shown);
    return bind_to(type, *address, shown);
  }
  SocketAddress any;
  auto* six = reinterpret_cast<sockaddr_in6*>(&any.storage);
  six->sin6_family = AF_INET6;
  six->sin6_port = htons(where.port);
  any.length = sizeof *six;
  auto both = bind_to(type, any, shown);
  if (both || both.error().is(std::errc::address_in_use) || both.error().is(std::errc::permission_denied)) return both;
  any = SocketAddress();
  auto* four = reinterpret_cast<sockaddr_in*>(&any.storage);
  four->sin_family = AF_INET;
  four->sin_port = htons(where.port);
  any.length = sizeof *four;
  return bind_to(type, any, shown);
}

}  // namespace trama::cli
