// SPDX-License-Identifier: GPL-2.0-or-later
// What strangers and peers send to 6783, and what a saved list of members holds. The first byte says which; what parses
// keeps to what the rest relies on.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "overlay/peers/keys.h"
#include "overlay/peers/members.h"
#include "overlay/peers/plain.h"
#include "overlay/peers/session.h"
#include "overlay/peers/splices.h"
#include "overlay/peers/wireguard.h"

namespace {

using namespace trama::overlay::peers;

Hello me() {
  Hello h;
  h.node = "n1";
  h.uid = std::string(32, 'a');
  return h;
}

void greet(std::string_view text) {
  for (std::size_t n = 0; n <= text.size() && n <= kGreetingSize; ++n) {
    auto judgement = judge_greeting(text.substr(0, n));
    if (judgement.verdict == Judgement::Verdict::more && n >= kGreetingSize) std::abort();
    bool good = judgement.verdict == Judgement::Verdict::fine || judgement.verdict == Judgement::Verdict::more;
    if (!good && judgement.sentence.empty()) std::abort();  // nobody is refused without a word
    if (judgement.verdict != Judgement::Verdict::more) break;
  }
}

void converse(std::string_view text) {
  Session session(me(), "n2", Millis(0));
  bool closed = false;
  for (std::size_t at = 0; at < text.size(); at += 7)
    for (const auto& event : session.receive(text.substr(at, 7), Millis(1))) {
      if (closed) std::abort();  // nothing comes after the end
      closed = std::holds_alternative<Session::Closed>(event);
      if (std::holds_alternative<Session::Established>(event) && session.theirs().node != "n2") std::abort();
    }
  session.tick(Millis(20'000));
  if (!session.closed()) std::abort();
}

void open(std::string_view text) {
  static auto keys = DatagramKeys::make(std::string(kExportedSize, 'k'), Side::acceptor, 7, 8);
  if (keys->open(text)) std::abort();  // whoever guesses a tag may have a prize
}

// What a few members say to the third node between them, byte for byte: who (2 bits), then a frame with its size before
// it. Whatever it is, what is passed on goes to a member, never back, and there is a bound to all of it.
void splice(std::string_view text) {
  SpliceDesk desk("n2");
  const std::string names[] = {"n1", "n3", "n4", "n5"};
  Millis now{1000};
  while (text.size() >= 2) {
    auto who = static_cast<unsigned char>(text[0]);
    auto size = std::min<std::size_t>(static_cast<unsigned char>(text[1]), text.size() - 2);
    auto parsed = parse_splice(text.substr(2, size));
    text.remove_prefix(2 + size);
    now += Millis(who >> 2);
    const auto& from = names[who & 3];
    auto outs = parsed ? desk.take(
                             from, *parsed, [](auto& to) { return to == "n9" ? "no member" : ""; }, now)
                       : desk.tick(now);
    for (const auto& out : outs) {
      if (out.to == "n2" || out.to == "n9") std::abort();
      if (out.to == from && out.splice.action != Splice::Action::close) std::abort();
      auto again = parse_splice(encode(out.splice));
      if (!again || again->action != out.splice.action) std::abort();
    }
    if (desk.open() > SpliceDesk::kMost) std::abort();
  }
  for (const auto& name : names) desk.gone(name);
  desk.tick(now + SpliceDesk::kLongest);
  if (desk.open() != 0) std::abort();
}

template <class Value, class Parse>
void round_trip(const Value& value, Parse parse) {
  auto again = parse(encode(value));
  if (!again || !(*again == value)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'g': greet(text); break;
    case 's': converse(text); break;
    case 'd': open(text); break;
    case 'h':
      if (auto hello = parse_hello(text)) round_trip(*hello, parse_hello);
      break;
    case 'b':
      if (auto beat = parse_heartbeat(text)) round_trip(*beat, parse_heartbeat);
      break;
    case 'r':
      if (auto report = parse_report(text)) round_trip(*report, parse_report);
      break;
    case 'm':
      if (auto members = parse_members(text)) {
        MemberTable table;
        table.peer_says(*members);
        if (table.entries().size() > members->size()) std::abort();
      }
      break;
    case 'e': (void)parse_echo(text); break;
    case 'c':
      if (auto mac = plain_mac({std::string(text)}))
        if ((mac->octets[0] & 1) || plain_capability(*mac) != text) std::abort();
      break;
    case 'W':
      if (auto end = wireguard_end({std::string(text)}))
        if (end->port == 0 || end->key.is_zero() || wireguard_capability(*end) != text) std::abort();
      break;
    case 'a':
      if (auto asks = parse_asks(text)) round_trip(*asks, parse_asks);
      break;
    case 'R':
      if (auto reaches = parse_reaches(text)) round_trip(*reaches, parse_reaches);
      break;
    case 'p': splice(text); break;
    default:
      if (auto members = parse_file(text)) {
        if (*parse_file(encode_file(*members)) != *members) std::abort();
      }
  }
  return 0;
}
