// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "base/netlink/client.h"
#include "base/netlink/rtnl.h"

namespace trama::netlink {

// The link of that name in the client's namespace; ENODEV when there is none.
Result<Link> find_link(Client& client, const std::string& name);

}  // namespace trama::netlink
