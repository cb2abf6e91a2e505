// SPDX-License-Identifier: GPL-2.0-or-later
// DNS messages (RFC 1035, EDNS of RFC 6891) from and to bytes, with ldns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agent/dns/record.h"
#include "base/result.h"

namespace trama::agent::dns {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kLargestMessage = 65'535;
constexpr std::size_t kPlainUdp = 512;           // without EDNS
constexpr std::size_t kLargestUdpAnswer = 1232;  // what passes everywhere unfragmented, whatever the client offers

struct Query {
  std::uint16_t id = 0;
  std::uint8_t opcode = 0;
  bool recursion_desired = false;
  bool edns = false;
  std::size_t udp_size = kPlainUdp;  // what the client takes over UDP, at most kLargestUdpAnswer
  std::string asked;                 // the name as it was written, for the echo
  Question question;
  Rcode refusal = Rcode::ok;  // not a question that can be answered: reply with this
};

// An error: no reply is due (no header, or itself a reply).
base::Result<Query> read_query(std::span<const std::uint8_t> message);
// At most `limit` bytes: additional records go first, then everything, and the client is told to ask over TCP.
Bytes write_answer(const Query& query, const Answer& answer, std::size_t limit);

// A question of our own, with EDNS.
Bytes write_question(std::uint16_t id, const Question& question);
// Records of an answer's first section that the zone knows how to write (addresses and aliases), and its code.
base::Result<Answer> read_answer(std::span<const std::uint8_t> message);
// The same question under the same number, and it is a reply: nobody guessed it.
bool answers(std::span<const std::uint8_t> reply, std::span<const std::uint8_t> query);

}  // namespace trama::agent::dns
