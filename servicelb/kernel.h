// SPDX-License-Identifier: GPL-2.0-or-later
// The port to the kernel: everything servicelb asks of it. Blocking; one thread.
#pragma once

#include "servicelb/plan.h"

namespace trama::servicelb {

using base::Error;
using base::Result;

class Kernel {
 public:
  virtual ~Kernel() = default;
  // All of the batch or nothing. ENOBUFS and ETIMEDOUT mean that nobody knows.
  virtual Result<> commit(nft::Batch& batch) = 0;
  // Returns when every packet that was on its way through the rules has left them.
  virtual void wait_for_packets() {}
  // Changes when somebody else has changed some ruleset in this namespace. About a microsecond.
  virtual Result<std::uint64_t> epoch() = 0;
  // Why the table in the kernel is not this one, elements aside; "" when it is.
  // counts: elements per set, where the kernel can say.
  virtual Result<std::string> damage(const nft::Blueprint& blueprint, std::map<std::string, std::size_t>& counts) = 0;
  // The elements of one of our sets; none when the table or the set is absent. All, or an error.
  virtual Result<std::vector<nft::Element>> elements(const nft::Table& table, const nft::Set& set) = 0;
  // Deletes the flows that match. Returns how many; an error leaves the rest for another try.
  virtual Result<std::size_t> forget_flows(const std::vector<FlowsOf>& stale) = 0;
};

}  // namespace trama::servicelb
