// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/wire.h"

#include <algorithm>

namespace trama::overlay::peers {

using base::Error;
using base::Result;

namespace {

constexpr std::string_view kMagic = "trama", kWeaveMagic = "weave", kEchoMagic = "trama-ec";
constexpr std::size_t kUidSize = 32, kMostCapabilities = 32, kLongestCapability = 64;
constexpr std::size_t kFullFrame = 32 * 1024;

Error bad(const char* what) { return Error::text(fmt::format("malformed {}", what), std::errc::bad_message); }

void put(Writer& w, const Heard& h) { w.u32(h.age_ms).u8(h.loss).u8(h.state); }

Heard take_heard(Reader& r) {
  Heard h;
  h.age_ms = r.u32();
  h.loss = r.u8();
  h.state = r.u8();
  if (h.loss > 100) r.fail();
  return h;
}

void put(Writer& w, const Report& report) {
  w.u8(static_cast<std::uint8_t>(report.size()));
  for (const auto& heard : report) put(w, heard);
}

// A later version may know more paths than we.
Report take_report(Reader& r) {
  Report out;
  auto count = r.u8();
  for (std::size_t i = 0; i < count && r.ok(); ++i) {
    auto heard = take_heard(r);
    if (i < out.size()) out[i] = heard;
  }
  return out;
}

// Of a place: nothing is one byte, and so is what earlier versions leave out.
void put(Writer& w, const std::optional<base::IpPort>& place) {
  if (place)
    w.ip(place->ip).u16(place->port);
  else
    w.u8(0);
}

std::optional<base::IpPort> take_place(Reader& r) {
  if (r.rest().empty()) return std::nullopt;
  if (r.rest().front() == 0) {
    (void)r.u8();
    return std::nullopt;
  }
  base::IpPort place;
  place.ip = r.ip();
  place.port = r.u16();
  return place;
}

}  // namespace

bool is_node_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

std::string greeting(const Versions& mine) {
  std::string out(kMagic);
  out += static_cast<char>(mine.lowest);
  out += static_cast<char>(mine.highest);
  out += '\0';
  return out;
}

std::uint8_t common_version(const Versions& a, const Versions& b) { return std::min(a.highest, b.highest); }

Judgement judge_greeting(std::string_view so_far, const Versions& mine) {
  Judgement out;
  auto magic = so_far.substr(0, kMagic.size());
  if (kWeaveMagic.starts_with(magic) && magic.size() == kWeaveMagic.size()) {
    out.verdict = Judgement::Verdict::weave;
    out.sentence =
        "this is Weave Net; trama and Weave Net do not speak with each other: give one of them other ports, or take "
        "this address off Weave's list of peers";
    return out;
  }
  bool may_be = kMagic.starts_with(magic) || kWeaveMagic.starts_with(magic);
  if (!may_be) {
    out.verdict = Judgement::Verdict::foreign;
    out.sentence = "this does not speak trama's peer protocol";
    return out;
  }
  if (so_far.size() < kGreetingSize) return out;
  out.theirs.lowest = static_cast<std::uint8_t>(so_far[5]);
  out.theirs.highest = static_cast<std::uint8_t>(so_far[6]);
  auto version = common_version(mine, out.theirs);
  bool fits = version >= mine.lowest && version >= out.theirs.lowest && out.theirs.lowest <= out.theirs.highest;
  out.verdict = fits ? Judgement::Verdict::fine : Judgement::Verdict::version;
  if (!fits)
    out.sentence = fmt::format("it speaks versions {} to {} of the peer protocol, we speak {} to {}: update the older",
                               out.theirs.lowest, out.theirs.highest, mine.lowest, mine.highest);
  return out;
}

Result<std::optional<Frame>> FrameReader::next() {
  if (buffer_.size() < 4) return std::optional<Frame>();
  Reader head(buffer_);
  auto size = head.u32();
  if (size == 0 || size > kLargestFrame)
    return Error::text(fmt::format("a frame of {} bytes (1 to {} are allowed)", size, kLargestFrame),
                       std::errc::bad_message);
  if (buffer_.size() < 4 + std::size_t{size}) return std::optional<Frame>();
  Frame frame;
  frame.type = static_cast<std::uint8_t>(buffer_[4]);
  frame.body = buffer_.substr(5, size - 1);
  buffer_.erase(0, 4 + std::size_t{size});
  return std::optional<Frame>(std::move(frame));
}

std::string encode_frame(FrameType type, std::string_view body) {
  Writer w;
  w.u32(static_cast<std::uint32_t>(body.size() + 1)).u8(static_cast<std::uint8_t>(type));
  return w.take().append(body);
}

std::string encode(const Hello& h) {
  Writer w;
  w.text(h.node).text(h.uid).u64(h.connection);
  w.u8(h.mine.lowest).u8(h.mine.highest).u8(h.heard.lowest).u8(h.heard.highest);
  w.u16(h.udp_port).u32(h.udp_index);
  auto count = std::min(h.capabilities.size(), kMostCapabilities);
  w.u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) w.text(h.capabilities[i]);
  return w.take();
}

Result<Hello> parse_hello(std::string_view body) {
  Reader r(body);
  Hello h;
  h.node = r.text(kLongestNode);
  h.uid = r.text(kUidSize);
  h.connection = r.u64();
  h.mine.lowest = r.u8();
  h.mine.highest = r.u8();
  h.heard.lowest = r.u8();
  h.heard.highest = r.u8();
  h.udp_port = r.u16();
  h.udp_index = r.u32();
  auto count = r.u8();
  if (count > kMostCapabilities) r.fail();
  for (unsigned i = 0; r.ok() && i < count; ++i) {
    h.capabilities.push_back(r.text(kLongestCapability));
    if (!is_node_name(h.capabilities.back())) r.fail();
  }
  if (!r.ok() || !is_node_name(h.node) || h.uid.size() != kUidSize || !is_node_name(h.uid)) return bad("hello");
  return h;
}

std::vector<std::string> encode_members(const std::vector<Member>& members) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < members.size() || out.empty();) {
    Writer w;
    std::uint16_t count = 0;
    for (; at < members.size() && w.size() < kFullFrame && count < 0xffff; ++at, ++count)
      w.text(members[at].node).u64(members[at].revision).ip(members[at].underlay);
    Writer head;
    head.u16(count);
    out.push_back(head.take() + w.take());
  }
  return out;
}

Result<std::vector<Member>> parse_members(std::string_view body) {
  Reader r(body);
  std::vector<Member> out;
  auto count = r.u16();
  for (unsigned i = 0; r.ok() && i < count; ++i) {
    Member m;
    m.node = r.text(kLongestNode);
    m.revision = r.u64();
    m.underlay = r.ip();
    if (!r.ok() || !is_node_name(m.node)) return bad("list of members");
    out.push_back(std::move(m));
  }
  if (!r.ok()) return bad("list of members");
  return out;
}

std::string encode(const Report& report) {
  Writer w;
  put(w, report);
  return w.take();
}

Result<Report> parse_report(std::string_view body) {
  Reader r(body);
  auto out = take_report(r);
  if (!r.ok()) return bad("report");
  return out;
}

std::string encode(const DatagramHeader& h) {
  Writer w;
  w.u8(kDatagramMagic).u8(kDatagramVersion).u8(static_cast<std::uint8_t>(h.type)).u8(0).u32(h.index).u64(h.counter);
  return w.take();
}

std::optional<DatagramHeader> parse_datagram_header(std::string_view datagram) {
  if (datagram.size() < kDatagramHeader + kTagSize || datagram.size() > kLargestDatagram) return std::nullopt;
  Reader r(datagram);
  if (r.u8() != kDatagramMagic || r.u8() != kDatagramVersion) return std::nullopt;
  auto type = r.u8();
  auto within = [type](DatagramType first, DatagramType last) {
    return type >= static_cast<std::uint8_t>(first) && type <= static_cast<std::uint8_t>(last);
  };
  if (!within(DatagramType::probe, DatagramType::tunnel_answer) &&
      !within(DatagramType::relay_probe, DatagramType::relay_answer))
    return std::nullopt;
  if (r.u8() != 0) return std::nullopt;
  DatagramHeader h;
  h.type = static_cast<DatagramType>(type);
  h.index = r.u32();
  h.counter = r.u64();
  return h;
}

std::string encode(const Heartbeat& h, std::size_t padded_to) {
  Writer w;
  w.u64(h.sequence);
  put(w, h.report);
  put(w, h.mine);
  put(w, h.seen);
  auto out = w.take();
  if (out.size() < padded_to) out.resize(padded_to, '\0');
  return out;
}

Result<Heartbeat> parse_heartbeat(std::string_view body) {
  Reader r(body);
  Heartbeat h;
  h.sequence = r.u64();
  h.report = take_report(r);
  h.mine = take_place(r);
  h.seen = take_place(r);
  if (!r.ok()) return bad("heartbeat");
  return h;
}

std::string encode(const EchoBody& body, std::size_t padded_to) {
  Writer w;
  w.u64(body.token).u64(body.sequence);
  auto out = std::string(kEchoMagic) + w.take();
  if (out.size() < padded_to) out.resize(padded_to, '\0');
  return out;
}

std::optional<EchoBody> parse_echo(std::string_view payload) {
  if (payload.size() < kEchoSize || !payload.starts_with(kEchoMagic)) return std::nullopt;
  Reader r(payload.substr(kEchoMagic.size()));
  EchoBody out;
  out.token = r.u64();
  out.sequence = r.u64();
  return out;
}

}  // namespace trama::overlay::peers
