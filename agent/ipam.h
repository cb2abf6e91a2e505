// SPDX-License-Identifier: GPL-2.0-or-later
// Pod addresses of this node. Pure: time is a parameter, and what is in use is told, never looked up.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace trama::agent {

using base::Cidr;
using base::Ip;

// One pool per pod CIDR of the node, at most one per family. In every CIDR the network address belongs to the overlay,
// .1 is kept for a gateway, and the last IPv4 address is the broadcast address: pods get .2 up.
//
// An address that has never been used goes out first, in ascending order; then the one that was freed longest ago, and
// never before the hold-down is over: peers, conntrack entries and clients may still mean the pod that had it.
// An address in use is never given twice: adopt() what is there before the first assign().
class AddressPool {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit AddressPool(std::chrono::milliseconds hold_down = std::chrono::seconds(5)) : hold_down_(hold_down) {}

  // The node's CIDRs. Assignments made from other CIDRs stay valid until they are released.
  void set_cidrs(std::vector<Cidr> cidrs);
  const std::vector<Cidr>& cidrs() const { return cidrs_; }

  // `owner` was found to use these addresses. Those that another owner has already are not taken and are returned.
  std::vector<Ip> adopt(const std::string& owner, const std::vector<Ip>& addresses);
  // After the last adopt(): addresses below the highest one in use may have been freed shortly before the restart,
  // so they are treated as freed now.
  void adopted(Time now);

  // The owner's addresses, one per CIDR; those it has already stay. `wanted` addresses are preferred when they lie in a
  // CIDR and are free. All or nothing. Errors: EADDRNOTAVAIL the range is full, EAGAIN only held-down addresses are
  // left, EINVAL the node has no pod CIDR yet.
  base::Result<std::vector<Ip>> assign(const std::string& owner, Time now, const std::vector<Ip>& wanted = {});
  // nullptr when it has none.
  const std::vector<Ip>* of(const std::string& owner) const;
  // Idempotent.
  void release(const std::string& owner, Time now);

  const std::map<std::string, std::vector<Ip>>& assignments() const { return owners_; }

 private:
  struct Range {
    std::uint64_t next = 2;                // every address below this offset is in use or in `freed`
    std::set<std::pair<Time, Ip>> oldest;  // the same as `freed`, in the order in which they go out
    std::map<Ip, Time> freed;
    void put(const Ip& ip, Time when);
    void take(const Ip& ip);
  };
  base::Result<Ip> pick(const Cidr& cidr, Time now);
  bool usable(const Cidr& cidr, const Ip& ip) const;

  std::chrono::milliseconds hold_down_;
  std::vector<Cidr> cidrs_;
  std::map<Cidr, Range> ranges_;
  std::map<Ip, std::string> used_;
  std::map<std::string, std::vector<Ip>> owners_;
};

}  // namespace trama::agent
