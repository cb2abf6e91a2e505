// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/message.h"

#include <algorithm>

namespace trama::netlink {

Result<> for_each_message(Bytes datagram, const std::function<void(const nlmsghdr&, Bytes)>& fn) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    nlmsghdr h;
    std::memcpy(&h, datagram.data(), sizeof h);
    if (h.nlmsg_len < sizeof h || h.nlmsg_len > datagram.size())
      return Error::from_errno(EBADMSG, "netlink message length out of range");
    fn(h, datagram.subspan(NLMSG_HDRLEN, h.nlmsg_len - NLMSG_HDRLEN));
    datagram = datagram.subspan(std::min<std::size_t>(NLMSG_ALIGN(h.nlmsg_len), datagram.size()));
  }
  if (!datagram.empty()) return Error::from_errno(EBADMSG, "trailing bytes after a netlink message");
  return {};
}

Result<> for_each_attribute(Bytes attributes, const std::function<void(const Attribute&)>& fn) {
  while (attributes.size() >= sizeof(nlattr)) {
    nlattr a;
    std::memcpy(&a, attributes.data(), sizeof a);
    if (a.nla_len < sizeof a || a.nla_len > attributes.size())
      return Error::from_errno(EBADMSG, "netlink attribute length out of range");
    Attribute one{static_cast<std::uint16_t>(a.nla_type & NLA_TYPE_MASK),
                  attributes.subspan(NLA_HDRLEN, a.nla_len - static_cast<std::size_t>(NLA_HDRLEN))};
    fn(one);
    attributes = attributes.subspan(std::min<std::size_t>(NLA_ALIGN(a.nla_len), attributes.size()));
  }
  return {};
}

Result<Attributes> Attributes::parse(Bytes attributes) {
  Attributes out;
  auto r = for_each_attribute(attributes, [&](const Attribute& a) { out.all_.push_back(a); });
  if (!r) return std::move(r).error();
  return out;
}

const Attribute* Attributes::find(std::uint16_t type) const {
  for (auto it = all_.rbegin(); it != all_.rend(); ++it)
    if (it->type == type) return &*it;
  return nullptr;
}

Bytes Attributes::bytes(std::uint16_t type) const {
  auto* a = find(type);
  return a ? a->payload : Bytes{};
}

std::string Attributes::text(std::uint16_t type) const {
  auto b = bytes(type);
  auto* p = reinterpret_cast<const char*>(b.data());
  return std::string(p, b.empty() ? 0 : strnlen(p, b.size()));
}

Attributes Attributes::nested(std::uint16_t type) const { return parse(bytes(type)).value_or(Attributes{}); }

}  // namespace trama::netlink
