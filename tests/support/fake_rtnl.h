// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include "base/netlink/rtnl.h"

namespace trama::netlink::test {

// A kernel in memory that takes the very bytes a Client would send. It knows links by name, routes by prefix and
// metric, neighbours, FDB entries and nexthops, and answers with the kernel's error codes. Kept honest by the contract
// suite.
class FakeRtnl {
 public:
  Result<Reply> call(Request& request) {
    auto [header, part] = open(request);
    switch (header.nlmsg_type) {
      case RTM_NEWLINK: return new_link(header, part);
      case RTM_DELLINK: return del_link(part);
      case RTM_GETLINK: return get_link(part);
      case RTM_NEWROUTE: return put(routes_, header, part, route_key(part), ENETDOWN);
      case RTM_DELROUTE: return remove(routes_, route_key(part), ESRCH);
      case RTM_NEWNEIGH: return put(neighbours_, header, part, neighbour_key(part), ENODEV);
      case RTM_DELNEIGH: return remove(neighbours_, neighbour_key(part), ENOENT);
      case RTM_NEWNEXTHOP: return put(nexthops_, header, part, nexthop_key(part), ENODEV);
      case RTM_DELNEXTHOP: return del_nexthop(part);
      default: return Error::from_errno(EOPNOTSUPP, request.what());
    }
  }
  Result<Reply> dump(Request& request) {
    auto [header, part] = open(request);
    Reply out;
    auto all = [&](auto& objects, std::uint16_t type, auto keep) {
      for (auto& [key, object] : objects)
        if (keep(object)) out.push_back(Part{type, 0, object.payload});
    };
    switch (header.nlmsg_type) {
      case RTM_GETROUTE: {
        auto want = *fixed_header<rtmsg>(part.payload);
        all(routes_, RTM_NEWROUTE, [&](const Part& p) {
          auto have = *fixed_header<rtmsg>(p.payload);
          return have.rtm_family == want.rtm_family && (!want.rtm_protocol || have.rtm_protocol == want.rtm_protocol);
        });
        return out;
      }
      case RTM_GETNEIGH: {
        auto want = *fixed_header<ndmsg>(part.payload);
        auto attributes = Attributes::parse(behind_header<ndmsg>(part.payload));
        auto link = attributes ? attributes->get<std::uint32_t>(NDA_IFINDEX).value_or(0) : 0;
        if (want.ndm_ifindex) link = static_cast<std::uint32_t>(want.ndm_ifindex);
        all(neighbours_, RTM_NEWNEIGH, [&](const Part& p) {
          auto have = *fixed_header<ndmsg>(p.payload);
          return have.ndm_family == want.ndm_family && (!link || have.ndm_ifindex == static_cast<int>(link));
        });
        return out;
      }
      case RTM_GETNEXTHOP: all(nexthops_, RTM_NEWNEXTHOP, [](const Part&) { return true; }); return out;
      case RTM_GETLINK:
        for (auto& [name, link] : links_) out.push_back(link);
        return out;
      default: return Error::from_errno(EOPNOTSUPP, request.what());
    }
  }

 private:
  using Key = std::tuple<unsigned, std::vector<std::byte>, std::uint64_t>;
  using Table = std::map<Key, Part>;

  std::pair<nlmsghdr, Part> open(Request& request) {
    auto all = request.finish(1, 0);
    nlmsghdr h;
    std::memcpy(&h, all.data(), sizeof h);
    return {h, Part{h.nlmsg_type, 0, {all.begin() + NLMSG_HDRLEN, all.end()}}};
  }
  static std::vector<std::byte> bytes(const Ip& ip) { return {ip.bytes().begin(), ip.bytes().end()}; }

  std::optional<Key> route_key(Part p) {
    p.type = RTM_NEWROUTE;
    auto r = decode_route(p);
    if (!r) return std::nullopt;
    return Key{static_cast<unsigned>(r->destination.length()), bytes(r->destination.address()), r->metric};
  }
  std::optional<Key> neighbour_key(Part p) {
    auto h = *fixed_header<ndmsg>(p.payload);
    auto a = *Attributes::parse(behind_header<ndmsg>(p.payload));
    auto what = a.bytes(h.ndm_family == AF_BRIDGE ? NDA_LLADDR : NDA_DST);
    return Key{static_cast<unsigned>(h.ndm_ifindex), {what.begin(), what.end()}, h.ndm_family};
  }
  std::optional<Key> nexthop_key(Part p) {
    auto a = *Attributes::parse(behind_header<nhmsg>(p.payload));
    return Key{0, {}, a.get<std::uint32_t>(NHA_ID).value_or(0)};
  }
  bool is_up(const Part& p) {
    for (auto& [name, link] : links_) {
      auto have = *decode_link(link);
      Part route = p, neighbour = p, nexthop = p;
      std::uint32_t index = 0;
      if (p.type == RTM_NEWROUTE) {
        auto r = *decode_route(route);
        if (r.nexthop_id || r.type != RTN_UNICAST) return true;
        index = r.link.value;
      } else if (p.type == RTM_NEWNEIGH) {
        index = static_cast<std::uint32_t>(fixed_header<ndmsg>(p.payload)->ndm_ifindex);
      } else {
        index = decode_nexthop(nexthop)->link.value;
      }
      if (have.index.value == index) return have.up || p.type == RTM_NEWNEIGH;
    }
    return false;
  }
  Result<Reply> put(Table& table, const nlmsghdr& h, const Part& p, std::optional<Key> key, int no_link) {
    if (!key) return Error::from_errno(EINVAL, "put");
    bool exists = table.contains(*key);
    if (exists && (h.nlmsg_flags & NLM_F_EXCL)) return Error::from_errno(EEXIST, "put");
    if (!is_up(p)) return Error::from_errno(no_link, "put");
    table[*key] = p;
    return Reply{};
  }
  Result<Reply> remove(Table& table, std::optional<Key> key, int missing) {
    if (!key || !table.erase(*key)) return Error::from_errno(missing, "delete");
    return Reply{};
  }
  Result<Reply> del_nexthop(const Part& p) {
    auto key = nexthop_key(p);
    auto id = static_cast<std::uint32_t>(std::get<2>(*key));
    if (!nexthops_.erase(*key)) return Error::from_errno(ENOENT, "delete nexthop");
    std::erase_if(routes_, [&](auto& r) { return decode_route(r.second)->nexthop_id == id; });
    return Reply{};
  }
  Result<Reply> new_link(const nlmsghdr& h, const Part& p) {
    auto link = decode_link(p);
    if (!link) return std::move(link).error();
    auto header = *fixed_header<ifinfomsg>(p.payload);
    if (h.nlmsg_flags & NLM_F_CREATE) {
      if (links_.contains(link->name)) return Error::from_errno(EEXIST, "create");
      Part made = p;
      header.ifi_index = ++last_index_;
      std::memcpy(made.payload.data(), &header, sizeof header);
      links_[link->name] = made;
      return Reply{};
    }
    for (auto& [name, have] : links_) {
      auto now = *fixed_header<ifinfomsg>(have.payload);
      if (now.ifi_index != header.ifi_index) continue;
      now.ifi_flags = (now.ifi_flags & ~header.ifi_change) | (header.ifi_flags & header.ifi_change);
      std::memcpy(have.payload.data(), &now, sizeof now);
      if (header.ifi_change && !header.ifi_flags) drop_objects(now.ifi_index);
      return Reply{};
    }
    return Error::from_errno(ENODEV, "change link");
  }
  void drop_objects(int index) {
    auto link = static_cast<std::uint32_t>(index);
    std::erase_if(routes_, [&](auto& r) { return decode_route(r.second)->link.value == link; });
    std::erase_if(neighbours_, [&](auto& n) { return decode_neighbour(n.second)->link.value == link; });
    std::erase_if(nexthops_, [&](auto& n) { return decode_nexthop(n.second)->link.value == link; });
  }
  Result<Reply> del_link(const Part& p) {
    auto header = *fixed_header<ifinfomsg>(p.payload);
    for (auto it = links_.begin(); it != links_.end(); ++it)
      if (fixed_header<ifinfomsg>(it->second.payload)->ifi_index == header.ifi_index) {
        drop_objects(header.ifi_index);
        links_.erase(it);
        return Reply{};
      }
    return Error::from_errno(ENODEV, "delete link");
  }
  Result<Reply> get_link(const Part& p) {
    auto a = *Attributes::parse(behind_header<ifinfomsg>(p.payload));
    auto it = links_.find(a.text(IFLA_IFNAME));
    if (it == links_.end()) return Error::from_errno(ENODEV, "find link");
    return Reply{it->second};
  }

  int last_index_ = 1;
  std::map<std::string, Part> links_;
  Table routes_, neighbours_, nexthops_;
};

}  // namespace trama::netlink::test
