// SPDX-License-Identifier: GPL-2.0-or-later
// What two nodes tell each other about WireGuard: the capability "wg.6785.KEY", with the key in base 32, says that
// the sender's device listens on that port and has that public key. It stands in a conversation that certificates have
// opened, so nobody can name another node's key; therefore it is not in the table of members, which peers pass on.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/wireguard_key.h"

namespace trama::overlay::peers {

using base::WireguardEnd;

std::string wireguard_capability(const WireguardEnd& end);
// The first that is well-formed.
std::optional<WireguardEnd> wireguard_end(const std::vector<std::string>& capabilities);

// What packets through WireGuard may have, where datagrams of the tunnel with packets of `tunnel` bytes pass uncut and
// `tunnel_whole` is what they could have at best. The kernel lets WireGuard's own datagrams be cut underway, which the
// tunnel's are not, so what the tunnel has found counts here, too. Never more than `whole`.
unsigned wireguard_mtu_by_tunnel(unsigned whole, unsigned tunnel, unsigned tunnel_whole);

}  // namespace trama::overlay::peers
