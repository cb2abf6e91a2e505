// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/request.h"

#include <stdexcept>

#include <arpa/inet.h>
#include <endian.h>
#include <netlink/attr.h>
#include <string.h>

namespace trama::netlink {
namespace {
void check(int r) {
  if (r < 0) throw std::length_error("netlink request too large");  // a bug: requests are small and bounded
}
}  // namespace

Request::Request(std::uint16_t type, std::uint16_t flags, std::string what)
    : msg_(nlmsg_alloc_size(8192)), what_(std::move(what)) {
  if (!msg_) throw std::bad_alloc();
  if (!nlmsg_put(msg_.get(), 0, 0, type, 0, NLM_F_REQUEST | flags)) throw std::bad_alloc();
}

void Request::append(const void* data, std::size_t n) {
  check(nlmsg_append(msg_.get(), const_cast<void*>(data), n, NLMSG_ALIGNTO));
}
Request& Request::put(std::uint16_t type, Bytes value) {
  check(nla_put(msg_.get(), type, static_cast<int>(value.size()), value.data()));
  return *this;
}
Request& Request::u8(std::uint16_t type, std::uint8_t value) {
  check(nla_put_u8(msg_.get(), type, value));
  return *this;
}
Request& Request::u16(std::uint16_t type, std::uint16_t value) {
  check(nla_put_u16(msg_.get(), type, value));
  return *this;
}
Request& Request::u32(std::uint16_t type, std::uint32_t value) {
  check(nla_put_u32(msg_.get(), type, value));
  return *this;
}
Request& Request::be16(std::uint16_t type, std::uint16_t v) { return u16(type, htons(v)); }
Request& Request::be32(std::uint16_t type, std::uint32_t v) { return u32(type, htonl(v)); }
Request& Request::be64(std::uint16_t type, std::uint64_t v) {
  std::uint64_t big = htobe64(v);
  check(nla_put_u64(msg_.get(), type, big));
  return *this;
}
Request& Request::flag(std::uint16_t type) {
  check(nla_put_flag(msg_.get(), type));
  return *this;
}
Request& Request::text(std::uint16_t type, std::string_view value) {
  check(nla_put_string(msg_.get(), type, std::string(value).c_str()));
  return *this;
}
Request& Request::ip(std::uint16_t type, const base::Ip& value) { return put(type, value.bytes()); }
Request& Request::mac(std::uint16_t type, const base::Mac& value) {
  return put(type, std::as_bytes(std::span(value.octets)));
}

nlattr* Request::begin(std::uint16_t type) {
  auto* nest = nla_nest_start(msg_.get(), type);
  if (!nest) throw std::length_error("netlink request too large");
  return nest;
}
void Request::end(nlattr* nest) { nla_nest_end(msg_.get(), nest); }

std::uint16_t Request::flags() const { return nlmsg_hdr(msg_.get())->nlmsg_flags; }

Bytes Request::finish(std::uint32_t seq, std::uint16_t extra_flags) {
  auto* h = nlmsg_hdr(msg_.get());
  h->nlmsg_seq = seq;
  h->nlmsg_pid = 0;
  h->nlmsg_flags = static_cast<std::uint16_t>(h->nlmsg_flags | extra_flags);
  return {reinterpret_cast<const std::byte*>(h), h->nlmsg_len};
}

void Request::wipe() {
  auto* h = nlmsg_hdr(msg_.get());
  explicit_bzero(nlmsg_data(h), h->nlmsg_len - NLMSG_HDRLEN);
}

}  // namespace trama::netlink
