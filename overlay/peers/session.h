// SPDX-License-Identifier: GPL-2.0-or-later
// The conversation on 6783/tcp once TLS stands: bytes in, events and bytes out. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "overlay/peers/liveness.h"
#include "overlay/peers/relay_wire.h"
#include "overlay/peers/wire.h"

namespace trama::overlay::peers {

// Each connection has an id that both sides know; when two nodes have dialed each other, both keep the same one.
std::uint64_t connection_id(const Hello& one, const Hello& other);
// Whether, of two connections to the same life of a peer, the first is kept.
inline bool keep_first(std::uint64_t first, std::uint64_t second) { return first <= second; }

class Session {
 public:
  static constexpr Millis kPing{5'000}, kDead{15'000}, kPatience{5'000};  // patience: for the hello

  struct Established {};
  struct Members {
    std::vector<Member> members;
  };
  struct Reported {
    Report report;
  };
  struct Asked {
    std::vector<Ask> asks;
  };
  struct Reached {
    std::vector<Reach> reaches;
  };
  struct Spliced {
    Splice splice;
  };
  struct Closed {
    std::string why;  // readable; ours or what the other side said
    bool by_them = false;
  };
  using Event = std::variant<Established, Members, Reported, Asked, Reached, Spliced, Closed>;

  // `certified`: the node that the other side's certificate speaks for. Our hello waits in the output at once.
  Session(Hello mine, std::string certified, Millis now);

  // After Closed nothing more happens.
  std::vector<Event> receive(std::string_view bytes, Millis now);
  std::vector<Event> tick(Millis now);
  void send_members(const std::vector<Member>& members);
  void send_report(const Report& report);
  void send(const std::vector<Ask>& asks);
  void send(const std::vector<Reach>& reaches);
  void send(const Splice& splice);
  // Says why and closes.
  void close(const std::string& why);

  std::string take_output() { return std::exchange(output_, {}); }
  std::size_t waiting() const { return output_.size(); }
  bool established() const { return theirs_ && !closed_; }
  bool closed() const { return closed_; }
  const Hello& mine() const { return mine_; }
  const Hello& theirs() const { return *theirs_; }  // once established
  std::uint64_t id() const { return connection_id(mine_, *theirs_); }

 private:
  std::optional<std::string> take_hello(std::string_view body);
  template <class What, class Parsed>
  void take(std::vector<Event>& events, Parsed parsed);
  void fail(std::vector<Event>& events, std::string why);
  void put(FrameType type, std::string_view body) { output_ += encode_frame(type, body); }

  Hello mine_;
  std::string certified_;
  std::optional<Hello> theirs_;
  FrameReader reader_;
  std::string output_;
  Millis began_, heard_, pinged_;
  bool closed_ = false;
};

}  // namespace trama::overlay::peers
