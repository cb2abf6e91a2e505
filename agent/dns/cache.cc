// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/dns/cache.h"

#include <algorithm>

#include "base/text.h"

namespace trama::agent::dns {

namespace {

using Wire = std::span<const std::uint8_t>;
constexpr std::size_t kHeader = 12;
constexpr std::uint16_t kSoa = 6, kOpt = 41;
constexpr std::uint8_t kTruncated = 0x02;

std::uint32_t number_at(Wire wire, std::size_t at, std::size_t size) {
  std::uint32_t n = 0;
  for (std::size_t i = 0; i < size; ++i) n = n << 8 | wire[at + i];
  return n;
}

// Behind the name that begins at `at`; nothing when it does not end.
std::optional<std::size_t> past_name(Wire wire, std::size_t at) {
  while (at < wire.size()) {
    auto length = wire[at];
    if (length == 0) return at + 1;
    if (length >= 0xC0) return at + 2;  // the rest stands elsewhere
    if (length > 63) return std::nullopt;
    at += length + 1u;
  }
  return std::nullopt;
}

// The end of the only question, which has a whole name; nothing for other messages.
std::optional<std::size_t> past_question(Wire wire) {
  if (wire.size() < kHeader || number_at(wire, 4, 2) != 1) return std::nullopt;
  auto name = past_name(wire, kHeader);
  if (!name || *name + 4 > wire.size()) return std::nullopt;
  return *name + 4;
}

std::optional<std::string> key_of(Wire query, bool tcp) {
  auto end = past_question(query);
  if (!end) return std::nullopt;
  std::string key(query.begin() + 2, query.end());
  auto question = base::lower(key.substr(kHeader - 2, *end - kHeader));
  key.replace(kHeader - 2, question.size(), question);
  key += tcp ? 't' : 'u';
  return key;
}

struct Lives {
  std::vector<std::size_t> at;
  std::uint32_t shortest = UINT32_MAX;
};

// Every record's time to live; nothing when the message is not whole, or says nothing about how long it holds.
std::optional<Lives> lives_of(Wire reply) {
  auto at = past_question(reply);
  if (!at) return std::nullopt;
  Lives out;
  auto answers = number_at(reply, 6, 2), authority = number_at(reply, 8, 2), additional = number_at(reply, 10, 2);
  bool authoritative_end = false;  // an SOA beside no answer
  for (std::uint32_t i = 0; i < answers + authority + additional; ++i) {
    auto fields = past_name(reply, *at);
    if (!fields || *fields + 10 > reply.size()) return std::nullopt;
    auto type = number_at(reply, *fields, 2);
    auto life = number_at(reply, *fields + 4, 4);
    std::size_t data = *fields + 10, size = number_at(reply, *fields + 8, 2);
    if (data + size > reply.size()) return std::nullopt;
    at = data + size;
    if (type == kOpt) continue;  // its life is no life
    out.at.push_back(*fields + 4);
    if (life > INT32_MAX) life = 0;  // RFC 2181, 8
    bool end = type == kSoa && i >= answers && i < answers + authority;
    if (end && size >= 4) life = std::min(life, number_at(reply, data + size - 4, 4));  // RFC 2308, 5
    authoritative_end |= end;
    out.shortest = std::min(out.shortest, life);
  }
  auto code = reply[3] & 15;
  bool holds = code == 0 ? answers > 0 || authoritative_end : code == 3 && authoritative_end;
  if (!holds || out.shortest == 0 || out.shortest == UINT32_MAX) return std::nullopt;
  return out;
}

}  // namespace

std::optional<base::Result<Bytes>> Cache::find(Wire query, bool tcp, Time now) const {
  auto key = key_of(query, tcp);
  if (!key) return std::nullopt;
  const Entry* found = nullptr;
  for (const auto* generation : {&young_, &old_})
    if (auto it = generation->find(*key); !found && it != generation->end()) found = &it->second;
  if (!found || now >= found->until || now < found->from) return std::nullopt;
  if (found->failure) return base::Result<Bytes>(*found->failure);
  Bytes reply = found->reply;
  std::copy_n(query.begin(), 2, reply.begin());
  auto question = *past_question(query) - kHeader;
  std::copy_n(query.begin() + kHeader, question, reply.begin() + kHeader);  // in the case it was asked in
  auto age = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now - found->from).count());
  for (auto at : found->lives) {
    auto left = number_at(reply, at, 4);
    left = left > age ? left - age : 0;
    for (std::size_t i = 0; i < 4; ++i) reply[at + i] = static_cast<std::uint8_t>(left >> (24 - 8 * i));
  }
  return base::Result<Bytes>(std::move(reply));
}

void Cache::keep(Wire query, bool tcp, Wire reply, Time now) {
  auto key = key_of(query, tcp);
  auto asked = past_question(query), echoed = past_question(reply);
  if (!key || !asked || asked != echoed || reply.size() > kLargestKept || (reply[2] & kTruncated)) return;
  auto lives = lives_of(reply);
  if (!lives) return;
  auto life = std::min<std::chrono::seconds>(kLongest, std::chrono::seconds(lives->shortest));
  put(std::move(*key), {Bytes(reply.begin(), reply.end()), std::nullopt, std::move(lives->at), now, now + life});
}

void Cache::keep_failure(Wire query, bool tcp, base::Error why, Time now) {
  if (auto key = key_of(query, tcp)) put(std::move(*key), {{}, std::move(why), {}, now, now + kFailed});
}

void Cache::put(std::string key, Entry entry) {
  if (young_.size() >= kMost / 2 && !young_.contains(key)) {
    old_ = std::move(young_);
    young_.clear();
  }
  old_.erase(key);
  young_.insert_or_assign(std::move(key), std::move(entry));
}

}  // namespace trama::agent::dns
