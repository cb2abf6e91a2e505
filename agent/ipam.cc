// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/ipam.h"

#include <algorithm>

namespace trama::agent {
namespace {

constexpr std::uint64_t kFirstOffset = 2;

// Offsets that pods may have are [kFirstOffset, end).
std::uint64_t end_offset(const Cidr& cidr) {
  unsigned host_bits = cidr.address().bits() - cidr.length();
  if (host_bits >= 16) return std::uint64_t{1} << 16;  // more than any node runs; bounds what is remembered
  std::uint64_t size = std::uint64_t{1} << host_bits;
  if (cidr.family() == base::Family::v4 && size > 0) --size;  // the broadcast address
  return size;
}

// How far `ip` is from the start of the CIDR, which must contain it.
std::uint64_t offset_of(const Cidr& cidr, const Ip& ip) {
  auto low = [](const Ip& a) {
    auto raw = a.bytes();
    std::uint64_t value = 0;
    for (std::size_t i = raw.size() > 8 ? raw.size() - 8 : 0; i < raw.size(); ++i)
      value = value << 8 | std::to_integer<std::uint64_t>(raw[i]);
    return value;
  };
  return low(ip) - low(cidr.address());
}

}  // namespace

void AddressPool::Range::put(const Ip& ip, Time when) {
  take(ip);
  freed[ip] = when;
  oldest.emplace(when, ip);
}

void AddressPool::Range::take(const Ip& ip) {
  auto it = freed.find(ip);
  if (it == freed.end()) return;
  oldest.erase({it->second, ip});
  freed.erase(it);
}

void AddressPool::set_cidrs(std::vector<Cidr> cidrs) {
  cidrs_ = std::move(cidrs);
  for (const auto& cidr : cidrs_) ranges_.try_emplace(cidr);
}

std::vector<Ip> AddressPool::adopt(const std::string& owner, const std::vector<Ip>& addresses) {
  std::vector<Ip> refused;
  for (const auto& ip : addresses) {
    auto [it, fresh] = used_.try_emplace(ip, owner);
    if (!fresh && it->second != owner) {
      refused.push_back(ip);
      continue;
    }
    auto& mine = owners_[owner];
    if (std::find(mine.begin(), mine.end(), ip) == mine.end()) mine.push_back(ip);
  }
  return refused;
}

void AddressPool::adopted(Time now) {
  for (const auto& cidr : cidrs_) {
    auto& range = ranges_[cidr];
    std::uint64_t highest = 0;
    for (const auto& [ip, owner] : used_)
      if (cidr.contains(ip)) highest = std::max(highest, offset_of(cidr, ip));
    for (; range.next <= highest && range.next < end_offset(cidr); ++range.next) {
      Ip ip = cidr.address().plus(range.next);
      if (!used_.contains(ip)) range.put(ip, now);
    }
  }
}

bool AddressPool::usable(const Cidr& cidr, const Ip& ip) const {
  if (ip.family() != cidr.family() || !cidr.contains(ip)) return false;
  auto offset = offset_of(cidr, ip);
  return offset >= kFirstOffset && offset < end_offset(cidr);
}

base::Result<std::vector<Ip>> AddressPool::assign(const std::string& owner, Time now, const std::vector<Ip>& wanted) {
  auto known = owners_.find(owner);
  if (cidrs_.empty() && known == owners_.end())
    return base::Error::text("the controller has not given this node a pod CIDR yet", std::errc::invalid_argument);
  std::vector<Ip> addresses = known == owners_.end() ? std::vector<Ip>{} : known->second;
  for (const auto& cidr : cidrs_) {
    auto has_family = [&](const Ip& ip) { return ip.family() == cidr.family(); };
    if (std::any_of(addresses.begin(), addresses.end(), has_family)) continue;
    auto wish = std::find_if(wanted.begin(), wanted.end(),
                             [&](const Ip& ip) { return usable(cidr, ip) && !used_.contains(ip); });
    if (wish != wanted.end()) {
      addresses.push_back(*wish);
      continue;
    }
    auto ip = pick(cidr, now);
    if (!ip) return ip.error();
    addresses.push_back(*ip);
  }
  for (const auto& ip : addresses) {
    used_[ip] = owner;
    for (const auto& cidr : cidrs_) ranges_[cidr].take(ip);
  }
  owners_[owner] = addresses;
  return addresses;
}

// Leaves the address in its range: it is taken when the caller marks it used.
base::Result<Ip> AddressPool::pick(const Cidr& cidr, Time now) {
  auto& range = ranges_[cidr];
  auto end = end_offset(cidr);
  for (; range.next < end; ++range.next) {
    Ip ip = cidr.address().plus(range.next);
    if (!used_.contains(ip) && !range.freed.contains(ip)) return ip;
  }
  if (!range.oldest.empty() && now - range.oldest.begin()->first >= hold_down_) return range.oldest.begin()->second;
  std::size_t in_use = 0;
  for (const auto& [ip, owner] : used_) in_use += cidr.contains(ip) ? 1 : 0;
  auto size = end > kFirstOffset ? end - kFirstOffset : 0;
  if (range.freed.empty())
    return base::Error::text(
        fmt::format("no free pod address in {}: {} of {} are in use", cidr.to_string(), in_use, size),
        std::errc::address_not_available);
  return base::Error::text(
      fmt::format("no free pod address in {}: {} of {} are in use, the others were freed less than {} s ago",
                  cidr.to_string(), in_use, size, std::chrono::duration_cast<std::chrono::seconds>(hold_down_).count()),
      std::errc::resource_unavailable_try_again);
}

const std::vector<Ip>* AddressPool::of(const std::string& owner) const {
  auto it = owners_.find(owner);
  return it == owners_.end() ? nullptr : &it->second;
}

void AddressPool::release(const std::string& owner, Time now) {
  auto it = owners_.find(owner);
  if (it == owners_.end()) return;
  for (const auto& ip : it->second) {
    used_.erase(ip);
    for (const auto& cidr : cidrs_)
      if (usable(cidr, ip)) ranges_[cidr].put(ip, now);
  }
  owners_.erase(it);
}

}  // namespace trama::agent
