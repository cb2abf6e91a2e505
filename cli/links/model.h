// SPDX-License-Identifier: GPL-2.0-or-later
// What a lab's links may be told to do to frames, as values and in people's words. Pure.
//
// Between two nodes a frame takes three links, one after the other: the sender's cable into the switch (n1>switch), the
// way between the two (n1>n2), the receiver's cable (switch>n2). Each has rules of its own. Where several rules of one
// link fit a frame, the most specific one shapes it, and each that is down stops it.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::cli {

namespace json = boost::json;
using Nanoseconds = std::chrono::nanoseconds;

// One direction of a link. "switch" is no node: with it, the link is the node's cable.
struct LinkKey {
  std::string from, to;
  std::string text() const { return from + ">" + to; }
  friend auto operator<=>(const LinkKey&, const LinkKey&) = default;
};
constexpr const char* kSwitch = "switch";

// "n1" and "n1-switch": a node's cable, both ways. "n1-n2": both ways. "n1>n2", "n1>switch", "switch>n1": one way.
// Names may hold dashes; a word that fits twice is an error that says how to be clear. An unknown node names those that
// there are.
base::Result<std::vector<LinkKey>> parse_link(std::string_view word, const std::vector<std::string>& nodes);

// Which frames a rule is about; protocol 0: all of them.
struct Match {
  std::uint8_t protocol = 0;          // IPPROTO_*
  std::optional<std::uint16_t> port;  // destination port
  int specific() const { return (protocol ? 1 : 0) + (port ? 1 : 0); }
  std::string text() const;  // "udp:6784", "icmp"; "" = all
  friend auto operator<=>(const Match&, const Match&) = default;
};
base::Result<Match> parse_match(std::string_view text);  // "udp:6784", "tcp", "icmp"

struct Impairment {
  Nanoseconds delay{0}, jitter{0};  // each frame takes delay ± jitter, equally distributed; order is kept
  std::uint32_t loss_ppm = 0;       // of frames, in millionths
  std::uint32_t reorder_ppm = 0;    // of frames, that go at once instead of after the delay
  std::uint64_t rate = 0;           // bits per second; 0 = as fast as it goes
  bool none() const { return *this == Impairment{}; }
  std::string text() const;  // "delay 20ms ±5ms, loss 1%, 10mbit"
  friend bool operator==(const Impairment&, const Impairment&) = default;
};
// A cable that is pulled: for good, or down and up in turn.
struct Cut {
  Nanoseconds down{0}, up{0};  // both 0: down and staying so
  bool flaps() const { return down.count() > 0; }
  std::string text() const;  // "down", "down 2s, up 3s"
  friend bool operator==(const Cut&, const Cut&) = default;
};

// A flapping link begins with being down.
bool is_down_at(const Cut& cut, Nanoseconds since, Nanoseconds now);
// When that changes next; nothing when it never does.
std::optional<Nanoseconds> next_flip(const Cut& cut, Nanoseconds since, Nanoseconds now);

// The fields as they stand on the command line and in a Lab document. Empty = not said.
struct ImpairmentWords {
  std::string delay, jitter, loss, reorder, rate;
};
// The error begins with the field's name. Nothing said is an error too, and jitter or reordering without a delay.
base::Result<Impairment> parse_impairment(const ImpairmentWords& words);
base::Result<Nanoseconds> parse_span(std::string_view text);     // "20ms", "1.5s", "500us", "2m"
base::Result<std::uint32_t> parse_share(std::string_view text);  // "1%", "0.05%": millionths
base::Result<std::uint64_t> parse_rate(std::string_view text);   // "10mbit", "500kbit", "1.5gbit": bits per second
std::string span_text(Nanoseconds t);

// `spec.links` of a Lab document: {"n1-n2": {delay: 20ms}, …} or [{link: n1>n2, only: udp:6784, down: true}, …].
struct LinkSpec {
  std::vector<LinkKey> keys;
  Match only;
  std::optional<Impairment> shape;
  std::optional<Cut> cut;
  friend bool operator==(const LinkSpec&, const LinkSpec&) = default;
};
// `where` is the mistake's path below spec ("links.n1-n2.delay"); the message says what was expected.
struct LinkMistake {
  std::string where, message;
};
std::variant<std::vector<LinkSpec>, LinkMistake> parse_links(const json::value& links,
                                                             const std::vector<std::string>& nodes);

}  // namespace trama::cli
