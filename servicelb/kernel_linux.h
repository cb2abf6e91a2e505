// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "base/nft/session.h"
#include "servicelb/kernel.h"

namespace trama::servicelb {

// The kernel of the network namespace in which the session was opened. open() must run there too, on the thread that
// will use it; the session outlives this object.
class LinuxKernel : public Kernel {
 public:
  static Result<std::unique_ptr<LinuxKernel>> open(nft::Session& session);
  Result<> commit(nft::Batch& batch) override;
  void wait_for_packets() override;
  Result<std::uint64_t> epoch() override;
  Result<std::string> damage(const nft::Blueprint& blueprint, std::map<std::string, std::size_t>& counts) override;
  Result<std::vector<nft::Element>> elements(const nft::Table& table, const nft::Set& set) override;
  Result<std::size_t> forget_flows(const std::vector<FlowsOf>& stale) override;

 private:
  LinuxKernel(nft::Session& session, netlink::Client conntrack) : session_(session), conntrack_(std::move(conntrack)) {}
  nft::Session& session_;
  netlink::Client conntrack_;
};

}  // namespace trama::servicelb
