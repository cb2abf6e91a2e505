// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/relay_wire.h"

#include "overlay/peers/wire.h"

namespace trama::overlay::peers {

using base::Error;
using base::Result;

namespace {

constexpr std::uint8_t kPrepare = 1;
constexpr std::size_t kLongestSentence = 300;

Error bad(const char* what) { return Error::text(fmt::format("malformed {}", what), std::errc::bad_message); }

}  // namespace

std::string encode(const std::vector<Ask>& asks) {
  Writer w;
  auto count = std::min(asks.size(), kMostAsked);
  w.u8(kReachVersion).u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) w.u8(asks[i].prepare ? kPrepare : 0).text(asks[i].node);
  return w.take();
}

// Later versions add flags and what follows; what is known keeps its place.
Result<std::vector<Ask>> parse_asks(std::string_view body) {
  Reader r(body);
  std::vector<Ask> out;
  if (r.u8() < kReachVersion) r.fail();
  auto count = r.u8();
  if (count > kMostAsked) r.fail();
  for (unsigned i = 0; r.ok() && i < count; ++i) {
    Ask ask;
    ask.prepare = (r.u8() & kPrepare) != 0;
    ask.node = r.text(kLongestNode);
    if (!is_node_name(ask.node)) r.fail();
    out.push_back(std::move(ask));
  }
  if (!r.ok()) return bad("question about paths");
  return out;
}

std::string encode(const std::vector<Reach>& reaches) {
  Writer w;
  auto count = std::min(reaches.size(), kMostAsked);
  w.u8(kReachVersion).u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    const auto& one = reaches[i];
    w.text(one.node).u8(static_cast<std::uint8_t>(one.state)).u8(one.loss).u32(one.round_trip_us);
  }
  return w.take();
}

Result<std::vector<Reach>> parse_reaches(std::string_view body) {
  Reader r(body);
  std::vector<Reach> out;
  if (r.u8() < kReachVersion) r.fail();
  auto count = r.u8();
  if (count > kMostAsked) r.fail();
  for (unsigned i = 0; r.ok() && i < count; ++i) {
    Reach one;
    one.node = r.text(kLongestNode);
    auto state = r.u8();
    one.state = static_cast<ReachState>(state);
    one.loss = r.u8();
    one.round_trip_us = r.u32();
    if (state > static_cast<std::uint8_t>(ReachState::ready) || one.loss > 100 || !is_node_name(one.node)) r.fail();
    out.push_back(std::move(one));
  }
  if (!r.ok()) return bad("answer about paths");
  return out;
}

std::string encode(const Splice& splice) {
  Writer w;
  w.u8(static_cast<std::uint8_t>(splice.action)).u32(splice.id);
  return w.take() + splice.text;
}

Result<Splice> parse_splice(std::string_view body) {
  Reader r(body);
  Splice out;
  auto action = r.u8();
  out.action = static_cast<Splice::Action>(action);
  out.id = r.u32();
  out.text = r.rest();
  bool named = out.action == Splice::Action::open || out.action == Splice::Action::arrive;
  bool known = action >= static_cast<std::uint8_t>(Splice::Action::open) &&
               action <= static_cast<std::uint8_t>(Splice::Action::close);
  if (!r.ok() || !known || out.text.size() > kLargestSplice) return bad("splice");
  if (named && (out.text.size() > kLongestNode || !is_node_name(out.text))) return bad("splice");
  if (out.action == Splice::Action::close) {
    if (out.text.size() > kLongestSentence) out.text.resize(kLongestSentence);
    for (char& c : out.text)  // what others say ends up in logs
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return out;
}

}  // namespace trama::overlay::peers
