// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/find_link.h"

#include <cerrno>

namespace trama::netlink {

Result<Link> find_link(Client& client, const std::string& name) {
  auto request = get_link(name);
  auto reply = client.call(request);
  if (!reply) return std::move(reply).error();
  if (reply->empty()) return Error::from_errno(ENODEV, "find link " + name);
  return decode_link(reply->front());
}

}  // namespace trama::netlink
