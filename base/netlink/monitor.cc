// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/monitor.h"

#include <boost/asio/error.hpp>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "base/unique_fd.h"

namespace trama::netlink {

Result<Monitor> Monitor::open(async::asio::any_io_executor ex, std::vector<unsigned> groups) {
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
  return Monitor(async::asio::posix::stream_descriptor(std::move(ex), fd.release()));
}

async::awaitable<void> Monitor::run(std::function<void(Seen)> on_event) {
  for (;;) {
    auto buffer = async::asio::buffer(buffer_.data(), buffer_.size());
    auto [ec, n] = co_await fd_.async_read_some(buffer, async::kTuple);
    if (ec == async::asio::error::operation_aborted) throw boost::system::system_error(ec);
    Seen seen;
    if (ec) {
      seen.overrun = true;  // ENOBUFS: the queue overflowed
    } else if (auto header = fixed_header<nlmsghdr>(Bytes(buffer_.data(), n))) {
      seen.type = header->nlmsg_type;
    }
    on_event(seen);
  }
}

}  // namespace trama::netlink
