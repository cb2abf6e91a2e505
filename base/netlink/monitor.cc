// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/monitor.h"

#include <boost/asio/error.hpp>
#include <linux/nexthop.h>
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

Monitor::Seen Monitor::read(Bytes datagram) {
  Seen seen;
  auto header = fixed_header<nlmsghdr>(datagram);
  if (!header) return seen;
  seen.type = header->nlmsg_type;
  auto payload = behind_header<nlmsghdr>(datagram);
  switch (seen.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      if (auto m = fixed_header<ifinfomsg>(payload)) seen.link = static_cast<std::uint32_t>(m->ifi_index);
      break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      if (auto m = fixed_header<ifaddrmsg>(payload)) seen.link = m->ifa_index;
      break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      if (auto m = fixed_header<ndmsg>(payload)) seen.link = static_cast<std::uint32_t>(m->ndm_ifindex);
      break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (auto m = fixed_header<rtmsg>(payload)) seen.protocol = m->rtm_protocol;
      break;
    case RTM_NEWNEXTHOP:
    case RTM_DELNEXTHOP:
      if (auto m = fixed_header<nhmsg>(payload)) seen.protocol = m->nh_protocol;
      break;
    default: break;
  }
  return seen;
}

async::awaitable<void> Monitor::run(std::function<void(Seen)> on_event) {
  for (;;) {
    auto buffer = async::asio::buffer(buffer_.data(), buffer_.size());
    auto [ec, n] = co_await fd_.async_read_some(buffer, async::kTuple);
    if (ec == async::asio::error::operation_aborted) throw boost::system::system_error(ec);
    Seen seen;
    if (ec) {
      seen.overrun = true;  // ENOBUFS: the queue overflowed
    } else {
      seen = read(Bytes(buffer_.data(), n));
    }
    on_event(seen);
  }
}

}  // namespace trama::netlink
