// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <memory>
#include <optional>

#include "base/netlink/client.h"
#include "base/nft/session.h"
#include "overlay/kernel.h"
#include "overlay/wireguard_linux.h"

namespace trama::overlay {

// The real kernel. Everything happens in the network namespace of the thread that opens it and calls it (netlink stays
// in the namespace of open(), /proc/sys follows the calling thread: they must be the same). One thread at a time.
class KernelLinux : public Kernel {
 public:
  struct Options {
    std::optional<Mode> mode;  // nothing = probe
    bool wireguard = false;    // probe whether this kernel has it
  };
  // `session` is shared with the other rooms of the agent that write nft tables in this namespace, and outlives us.
  static base::Result<std::unique_ptr<KernelLinux>> open(nft::Session& session, Options options);
  static base::Result<std::unique_ptr<KernelLinux>> open(nft::Session& session) { return open(session, Options()); }

  base::Result<Observed> observe() override;
  base::Result<> apply(const Op& op) override;
  bool guards_touched() override;
  bool wireguard_touched() override;

  Mode mode() const { return mode_; }
  // Why the fallback was taken; empty when it was not, or was asked for.
  const std::string& mode_reason() const { return mode_reason_; }

 private:
  KernelLinux(netlink::Client client, nft::Session& session) : client_(std::move(client)), session_(session) {}

  base::Result<> call(netlink::Request request);
  base::Result<netlink::Reply> dump(netlink::Request request);
  base::Result<std::optional<netlink::Link>> find_link(const char* name);
  base::Result<> hold_tunnel();
  base::Result<> observe_wireguard(Observed& out);
  base::Result<> create_wireguard(const CreateWireguard& op);
  base::Result<> set_wireguard_up(std::uint16_t port);
  base::Result<> observe_addresses(Observed& out);
  base::Result<> observe_neighbours(Observed& out);
  base::Result<> observe_nexthops(Observed& out);
  base::Result<> observe_routes(Observed& out);
  base::Result<> observe_guards(Observed& out);
  base::Result<> commit(nft::Batch batch);
  base::Result<> set_sysctl(const SetSysctl& op);
  base::Result<> keep_router_advertisements();
  base::Result<> create_device(const CreateDevice& op);
  base::Result<> set_up(std::uint16_t port);
  base::Result<> add_route(const Route& route);
  netlink::Route wire(const Route& route) const;
  // The device's index, or ECANCELED when an earlier step of this plan did not get it made.
  base::Result<base::IfIndex> device() const;
  base::Result<base::IfIndex> tunnel() const;
  base::Result<base::IfIndex> wireguard() const;
  base::Result<base::IfIndex> over(Through through) const;

  netlink::Client client_;
  nft::Session& session_;
  Mode mode_ = Mode::nexthop;
  std::string mode_reason_;
  std::optional<base::IfIndex> device_, tunnel_, wireguard_;
  bool device_failed_ = false, tunnel_failed_ = false, wireguard_failed_ = false;
  WireguardLinux wireguard_port_;
  std::string no_wireguard_ = "not asked for";
  base::UniqueFd tunnel_hold_;
  bool tunnel_possible_ = false, said_no_tunnel_ = false;
  // The guards as last verified, and the moment of it.
  std::optional<SeenGuards> guards_;
  std::uint64_t guards_epoch_ = 0;
  bool guards_known_ = false;
  Family guards_underlay_ = Family::v4;
};

}  // namespace trama::overlay
