// SPDX-License-Identifier: GPL-2.0-or-later
// trama2 in the real kernel, beside what is common to all links; part of KernelLinux.
#pragma once

#include <optional>
#include <string>

#include "base/netlink/client.h"
#include "overlay/plan.h"

namespace trama::overlay {

// The private key lives in the kernel's device, from which an agent that starts takes it up, and in this object. On
// disk it is nowhere. So a device that is deleted comes back as the one that peers know; where neither is left, the key
// is a new one. Somebody else's key on the device is known to somebody else: it is replaced by ours.
class WireguardLinux {
 public:
  ~WireguardLinux() { forget(); }

  // Everything of `out` but what a link has. Without the family, or on a device of another kind, nothing.
  base::Result<> observe(base::IfIndex link, WireguardDevice& out);
  // Whether observe() would say anything else than last time.
  base::Result<bool> touched();
  base::Result<> configure(base::IfIndex link, std::uint16_t port);
  base::Result<> put(base::IfIndex link, const netlink::WireguardPeer& peer);
  base::Result<> remove(base::IfIndex link, const base::WireguardKey& key);
  void gone() { last_.reset(); }

 private:
  base::Result<netlink::Wireguard> look(base::IfIndex link);
  base::Result<> ready();
  void forget() {
    if (key_) key_->wipe();
    key_.reset();
  }

  std::optional<netlink::Client> client_;  // opened when it is needed
  std::uint16_t family_ = 0;
  std::optional<base::WireguardKey> key_;  // private
  std::optional<WireguardDevice> last_;
};

}  // namespace trama::overlay
