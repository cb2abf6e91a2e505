// SPDX-License-Identifier: GPL-2.0-or-later
// What agents say to each other on 6783: the greeting in clear, frames inside TLS, datagrams. Pure.
//
// TCP, in this order:
//   greeting  "trama" lowest highest 0            8 bytes, both sides, before TLS; versions are one byte each
//   TLS 1.3   both sides show their node certificate; the dialer is the client
//   frames    u32 size, u8 type, body; size counts type and body. Unknown types, and what follows a known body, are
//             passed over: that is how later versions add things
// UDP:
//   datagram  u8 'T', u8 version, u8 type, u8 0, u32 receiver's index, u64 counter, sealed body, 16 bytes tag
//             types from 16 carry packets: overlay/tunnel/lane.h
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "overlay/peers/bytes.h"

namespace trama::overlay::peers {

// ---- greeting ---------------------------------------------------------------------------------------------------

constexpr std::uint8_t kLowestVersion = 1, kHighestVersion = 1;
constexpr std::size_t kGreetingSize = 8;

struct Versions {
  std::uint8_t lowest = kLowestVersion, highest = kHighestVersion;
  friend bool operator==(const Versions&, const Versions&) = default;
};
std::string greeting(const Versions& mine = {});

struct Judgement {
  enum class Verdict { more, fine, weave, foreign, version };
  Verdict verdict = Verdict::more;
  Versions theirs;
  std::string sentence;  // of a refusal
};
// Judges as soon as it can: a Weave router sends seven bytes and then waits.
Judgement judge_greeting(std::string_view so_far, const Versions& mine = {});
// The version to speak; both sides come to the same.
std::uint8_t common_version(const Versions& a, const Versions& b);

// ---- frames -----------------------------------------------------------------------------------------------------

constexpr std::size_t kLargestFrame = 64 * 1024;

enum class FrameType : std::uint8_t {
  hello = 1,
  ping = 2,
  members = 3,
  report = 4,
  goodbye = 5,
  ask = 16,  // from here on: peers/relay_wire.h
  reach = 17,
  splice = 18
};

constexpr std::size_t kLongestNode = 253;
// Names become lines of status pages and of files.
bool is_node_name(const std::string& name);

struct Frame {
  std::uint8_t type = 0;
  std::string body;
};

// Bytes in, frames out. After an error nothing more comes out.
class FrameReader {
 public:
  void feed(std::string_view bytes) { buffer_ += bytes; }
  // Nothing: more bytes are needed. EBADMSG: a size that no frame has.
  base::Result<std::optional<Frame>> next();
  std::size_t waiting() const { return buffer_.size(); }

 private:
  std::string buffer_;
};
std::string encode_frame(FrameType type, std::string_view body);

// First on every connection, both ways.
struct Hello {
  std::string node;
  std::string uid;               // of this life of the agent: 32 hex digits
  std::uint64_t connection = 0;  // random; see keep_first
  Versions mine, heard;          // heard: the greeting that came from the other side, so that nobody lowers it underway
  std::uint16_t udp_port = 0;
  std::uint32_t udp_index = 0;  // what our datagrams to it must carry
  std::vector<std::string> capabilities;
  friend bool operator==(const Hello&, const Hello&) = default;
};
std::string encode(const Hello& hello);
base::Result<Hello> parse_hello(std::string_view body);

// A member of the cluster as some node knows it: who may speak on 6783, and where it listens. Never a route: pod
// ranges come from the controller alone.
struct Member {
  std::string node;
  std::uint64_t revision = 0;  // of its Node object: the greater one is the newer
  Ip underlay;
  friend bool operator==(const Member&, const Member&) = default;
};
// As many frames as are needed, one at least.
std::vector<std::string> encode_members(const std::vector<Member>& members);
base::Result<std::vector<Member>> parse_members(std::string_view body);

// ---- what one side receives of the other -------------------------------------------------------------------------

// VXLAN on 6784/udp; our own small datagrams on 6783/udp; those of full size there, as packets in the tunnel have it;
// those in datagrams to a third node; pods' packets as they are, over the link that both share; WireGuard.
enum class PathKind : std::uint8_t { overlay = 0, control = 1, tunnel = 2, relay = 3, direct = 4, wireguard = 5 };
constexpr std::size_t kPaths = 6;
constexpr PathKind kAllPaths[kPaths] = {PathKind::overlay, PathKind::control, PathKind::wireguard,
                                        PathKind::tunnel,  PathKind::relay,   PathKind::direct};
constexpr std::uint32_t kNever = 0xffff'ffff;

struct Heard {
  std::uint32_t age_ms = kNever;  // since the last probe of the other side arrived
  std::uint8_t loss = 0;          // percent of its probes that did not, of the last ones
  std::uint8_t state = 0;         // PathState: how the path to it looks from here
  friend bool operator==(const Heard&, const Heard&) = default;
};
using Report = std::array<Heard, kPaths>;

std::string encode(const Report& report);
base::Result<Report> parse_report(std::string_view body);

// ---- datagrams --------------------------------------------------------------------------------------------------

constexpr std::uint8_t kDatagramMagic = 'T', kDatagramVersion = 1;
constexpr std::size_t kDatagramHeader = 16, kTagSize = 16;
constexpr std::size_t kLargestDatagram = 16 * 1024;

enum class DatagramType : std::uint8_t {
  probe = 1,
  answer = 2,
  tunnel_probe = 3,
  tunnel_answer = 4,
  relay_probe = 8,  // inside of a datagram to a third node, there and back
  relay_answer = 9
};

struct DatagramHeader {
  DatagramType type = DatagramType::probe;
  std::uint32_t index = 0;
  std::uint64_t counter = 0;
};
std::string encode(const DatagramHeader& header);
std::optional<DatagramHeader> parse_datagram_header(std::string_view datagram);

// Body of probes and answers: an answer repeats the sequence of its probe. Probes of the tunnel are filled up to the
// size of the largest datagram with a packet; answers are short.
struct Heartbeat {
  std::uint64_t sequence = 0;
  Report report;
  std::optional<base::IpPort> mine;  // where the sender sends from, as far as it knows
  std::optional<base::IpPort> seen;  // where the other side's datagrams came from last
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};
std::string encode(const Heartbeat& heartbeat, std::size_t padded_to = 0);
base::Result<Heartbeat> parse_heartbeat(std::string_view body);

// ---- echo: the body of an ICMP echo request through the overlay --------------------------------------------------

constexpr std::size_t kEchoSize = 24;
constexpr std::uint64_t kPlainMark = std::uint64_t{1} << 61;      // in the sequence: of PathKind::direct
constexpr std::uint64_t kWireguardMark = std::uint64_t{1} << 60;  // of PathKind::wireguard
struct EchoBody {
  std::uint64_t token = 0;  // of the sender's life: an answer to somebody else's request is none to ours
  std::uint64_t sequence = 0;
};
std::string encode(const EchoBody& body, std::size_t padded_to);
std::optional<EchoBody> parse_echo(std::string_view payload);

}  // namespace trama::overlay::peers
