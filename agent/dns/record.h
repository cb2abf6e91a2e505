// SPDX-License-Identifier: GPL-2.0-or-later
// Questions and answers of the cluster's DNS as values; the wire is message.h's business.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ip.h"

namespace trama::agent::dns {

// IANA's numbers. Whatever else is asked for is carried as its number.
enum class Type : std::uint16_t {
  a = 1,
  ns = 2,
  cname = 5,
  soa = 6,
  ptr = 12,
  txt = 16,
  aaaa = 28,
  srv = 33,
  any = 255
};
enum class Rcode : std::uint8_t { ok = 0, format = 1, server = 2, no_such_name = 3, not_implemented = 4, refused = 5 };

struct Question {
  std::string name;  // lower case, without the last dot; "" = the root
  Type type = Type::a;
  friend bool operator==(const Question&, const Question&) = default;
};

struct Target {
  std::string name;
  friend bool operator==(const Target&, const Target&) = default;
};
struct Place {  // RFC 2782
  std::uint16_t priority = 0, weight = 0, port = 0;
  std::string target;
  friend bool operator==(const Place&, const Place&) = default;
};
struct Text {
  std::string text;
  friend bool operator==(const Text&, const Text&) = default;
};
struct Authority {
  std::string server, mailbox;
  std::uint32_t serial = 0, negative_ttl = 0;
  friend bool operator==(const Authority&, const Authority&) = default;
};

struct Record {
  std::string name;
  Type type = Type::a;
  std::uint32_t ttl = 0;
  std::variant<base::Ip, Target, Place, Text, Authority> data;
  friend bool operator==(const Record&, const Record&) = default;
};

struct Answer {
  Rcode rcode = Rcode::ok;
  std::vector<Record> answers, authority, additional;
  std::string follow;  // the answers end at a name outside of the zone: whoever can resolves it too
  friend bool operator==(const Answer&, const Answer&) = default;
};

// Questions, by what became of them.
struct Counters {
  std::uint64_t answered = 0;    // from the cluster's zone
  std::uint64_t forwarded = 0;   // answered by the machine's resolvers
  std::uint64_t remembered = 0;  // answered as they did a moment ago
  std::uint64_t failed = 0;      // no resolver answered: the client was told "server failure"
  std::uint64_t refused = 0;     // not readable, or nothing that is answered here
  std::uint64_t dropped = 0;     // from strangers, or more than one source may ask
};

}  // namespace trama::agent::dns
