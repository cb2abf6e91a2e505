// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/monitor.h"

#include <boost/asio/error.hpp>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "base/unique_fd.h"

namespace trama::netlink {

Result<Monitor> Monitor::open(async::asio::any_io_executor ex, std::vector<unsigned> groups, Scope scope) {
  base::UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return Error::from_errno(errno, "open the netlink event socket");
  int size = 8 << 20;
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&self), sizeof self) < 0)
    return Error::from_errno(errno, "bind the netlink event socket");
  for (unsigned group : groups)
    if (setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
      return Error::from_errno(errno, fmt::format("subscribe to rtnetlink group {}", group));
  int on = 1;
  if (scope == Scope::with_children && setsockopt(fd.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on) < 0)
    return Error::from_errno(errno, "listen to events of child namespaces");
  return Monitor(async::asio::posix::stream_descriptor(std::move(ex), fd.release()));
}

// One datagram that is there already; nothing when there is none left.
std::optional<Monitor::Seen> Monitor::receive() {
  for (;;) {
    sockaddr_nl from{};
    iovec piece{buffer_.data(), buffer_.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(std::int32_t)) + 64];
    msghdr m{};
    m.msg_name = &from, m.msg_namelen = sizeof from, m.msg_iov = &piece, m.msg_iovlen = 1;
    m.msg_control = control, m.msg_controllen = sizeof control;
    ssize_t n = recvmsg(fd_.native_handle(), &m, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::nullopt;
    if (n < 0) {
      Seen lost;
      lost.overrun = true;  // ENOBUFS: the queue overflowed
      return lost;
    }
    if (from.nl_pid != 0) continue;  // only the kernel is believed
    Seen seen = read_event(Bytes(buffer_.data(), static_cast<std::size_t>(n)));
    for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
      if (c->cmsg_level != SOL_NETLINK || c->cmsg_type != NETLINK_LISTEN_ALL_NSID) continue;
      std::int32_t nsid = -1;
      std::memcpy(&nsid, CMSG_DATA(c), sizeof nsid);
      if (nsid >= 0) seen.nsid = nsid;
    }
    return seen;
  }
}

async::awaitable<void> Monitor::run(std::function<void(Seen)> on_event) {
  for (;;) {
    auto wait = async::asio::posix::stream_descriptor::wait_read;
    auto [ec] = co_await fd_.async_wait(wait, async::kTuple);
    if (ec == async::asio::error::operation_aborted) throw boost::system::system_error(ec);
    // Bounded, so that a storm of events does not hold up the rest of the thread.
    for (int i = 0; i < 256; ++i) {
      auto seen = receive();
      if (!seen) break;
      on_event(*seen);
    }
  }
}

}  // namespace trama::netlink
