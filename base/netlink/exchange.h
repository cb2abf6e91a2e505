// SPDX-License-Identifier: GPL-2.0-or-later
// One netlink conversation without a socket: bytes in, outcome out. Unit-tested and fuzzed as it stands.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/netlink/message.h"

namespace trama::netlink {

// One message of a reply: type, flags and payload (header stripped).
struct Part {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  std::vector<std::byte> payload;
};
using Reply = std::vector<Part>;

struct Incomplete {};   // keep reading
struct Interrupted {};  // the kernel says the dump is inconsistent: ask again
using Step = std::variant<Incomplete, Interrupted, Result<Reply>>;

// The request/response rules, for messages that carry this exchange's sequence number:
//  - an error message ends it, with the kernel's own sentence (EXT_ACK) in the Error when there is one;
//  - a dump ends with DONE, which may itself carry an error and a sentence (a dump can fail half-way);
//  - NLM_F_DUMP_INTR on any part makes the whole dump Interrupted;
//  - OVERRUN ends it with EOVERFLOW.
class Exchange {
 public:
  Exchange(std::uint32_t seq, std::string what) : seq_(seq), what_(std::move(what)) {}
  std::uint32_t seq() const noexcept { return seq_; }
  Step feed(const nlmsghdr& header, Bytes payload);

 private:
  Step finish(std::int32_t err, std::string_view detail);

  std::uint32_t seq_;
  bool interrupted_ = false;
  std::string what_;
  Reply reply_;
};

// The sentence the kernel put into an error or DONE message (NLMSGERR_ATTR_MSG); empty when there is none. Points into
// the payload.
std::string_view extended_ack(const nlmsghdr& header, Bytes payload);

}  // namespace trama::netlink
