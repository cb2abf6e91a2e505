// SPDX-License-Identifier: GPL-2.0-or-later
// A DNS message from a pod, or from a resolver: whatever it holds, the reply is a message that fits and answers it, and
// names go through the zone. What is kept of it comes back as it went in.
#include <cstdint>
#include <cstdlib>

#include "agent/dns/cache.h"
#include "agent/dns/message.h"
#include "agent/dns/zone.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama;
  using namespace trama::agent::dns;
  static const agent::ClusterView view;
  static const ZoneFacts facts{"cluster.local", {}, {*base::Cidr::parse("10.244.0.0/16")}, {}};
  static const Zone zone(view, facts);
  std::span message(data, size);
  (void)read_answer(message);
  (void)answers(message, message);
  Cache cache;
  Cache::Time now(std::chrono::hours(1));
  cache.keep(message, false, message, now);  // the reply to itself
  if (auto found = cache.find(message, false, now))
    if (!std::equal(message.begin(), message.end(), (*found)->begin(), (*found)->end())) std::abort();
  auto query = read_query(message);
  if (!query) return 0;
  Answer answer;
  answer.rcode = query->refusal;
  if (query->refusal == Rcode::ok) {
    (void)address_of_reverse(query->question.name);
    if (zone.covers(query->question.name)) answer = zone.answer(query->question);
  }
  auto reply = write_answer(*query, answer, kPlainUdp);
  if (reply.size() < 12 || reply.size() > kPlainUdp) std::abort();
  if (reply[0] != data[0] || reply[1] != data[1] || !(reply[2] & 0x80)) std::abort();
  if (query->refusal == Rcode::ok && !answers(reply, message)) std::abort();
  return 0;
}
