// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>

#include "overlay/kernel.h"

namespace trama::overlay {

// A kernel in memory that keeps the kernel's own rules: what needs a device fails without one, what points at a
// thing dies with it. For tests of everything above the port; a contract test holds it to the real kernel.
class FakeKernel : public Kernel {
 public:
  explicit FakeKernel(Mode mode = Mode::nexthop) { world.mode = mode; }
  base::Result<Observed> observe() override;
  base::Result<> apply(const Op& op) override;
  bool guards_touched() override { return std::exchange(touched, false); }
  bool wireguard_touched() override { return std::exchange(wireguard_moved, false); }

  // ---- the world, and what a person at the keyboard does to it
  Observed world;
  std::set<Cidr> foreign_routes;  // prefixes that somebody else has routed
  bool port_taken = false;
  bool touched = false, wireguard_moved = false;
  base::WireguardKey
      wireguard_key{};  // the public one of a device that is made from now on; zero = a new one each time
  void delete_device();
  void delete_tunnel();
  void delete_wireguard();
  void set_down();

 private:
  struct Step;
  base::Result<> need_device(bool up) const;
  base::Result<> need_tunnel(bool up) const;
  base::Result<> need_wireguard(bool up) const;
  base::Result<> need(Through device, bool up) const;
  void drop_pointers(Through device);
};

}  // namespace trama::overlay
