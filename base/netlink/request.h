// SPDX-License-Identifier: GPL-2.0-or-later
// A netlink request under construction. libnl encodes; our own transport (client.h) sends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <netlink/msg.h>

#include "base/c_ptr.h"
#include "base/ip.h"
#include "base/netlink/message.h"

namespace trama::netlink {

class Request {
 public:
  // `what` names the request in errors: "create link trama0". NLM_F_REQUEST is implied.
  Request(std::uint16_t type, std::uint16_t flags, std::string what);

  template <class T>
  Request& body(const T& header) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&header, sizeof header);
    return *this;
  }
  Request& put(std::uint16_t type, Bytes value);
  Request& u8(std::uint16_t type, std::uint8_t value);
  Request& u16(std::uint16_t type, std::uint16_t value);
  Request& u32(std::uint16_t type, std::uint32_t value);
  Request& be16(std::uint16_t type, std::uint16_t host_value);
  Request& be32(std::uint16_t type, std::uint32_t host_value);
  Request& be64(std::uint16_t type, std::uint64_t host_value);
  Request& flag(std::uint16_t type);
  Request& text(std::uint16_t type, std::string_view value);
  Request& ip(std::uint16_t type, const base::Ip& value);
  Request& mac(std::uint16_t type, const base::Mac& value);

  // Attributes put between begin and end stand inside the nest.
  nlattr* begin(std::uint16_t type);
  void end(nlattr* nest);

  const std::string& what() const { return what_; }
  std::uint16_t flags() const;
  // The finished message with this sequence number, NLM_F_REQUEST and the extra flags.
  Bytes finish(std::uint32_t seq, std::uint16_t extra_flags);
  // Of one that has carried a secret, once it is sent: nothing of it stays in memory.
  void wipe();

 private:
  void append(const void* data, std::size_t n);
  base::CPtr<nl_msg, nlmsg_free> msg_;
  std::string what_;
};

}  // namespace trama::netlink
