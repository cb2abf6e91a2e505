// SPDX-License-Identifier: GPL-2.0-or-later
// What is said in a conversation so that packets find a way over a third node: who reaches whom, and the bytes of a
// conversation that two nodes have through a third. Pure.
//
//   ask     u8 version, u8 count, then for each: u8 flags (1 = be ready for it), node
//   reach   u8 version, u8 count, then for each: node, u8 state, u8 loss, u32 round trip in microseconds
//   splice  u8 action, u32 id, then a node (open, arrive), bytes (data) or a sentence (close)
//
// Asked for when it is needed, about those peers alone that do not answer: a table of everybody's paths would be n^2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trama::overlay::peers {

constexpr std::uint8_t kReachVersion = 1;
constexpr std::size_t kMostAsked = 32;  // peers in one frame

struct Ask {
  std::string node;
  bool prepare = false;  // it is to be relayed to soon: have keys with it, and a conversation
  friend bool operator==(const Ask&, const Ask&) = default;
};
std::string encode(const std::vector<Ask>& asks);
base::Result<std::vector<Ask>> parse_asks(std::string_view body);

//  no        it does not answer me either
//  possible  it does, but there are no keys with it yet
//  ready     I can pass datagrams on to it now
enum class ReachState : std::uint8_t { no = 0, possible = 1, ready = 2 };

struct Reach {
  std::string node;
  ReachState state = ReachState::no;
  std::uint8_t loss = 0;  // percent
  std::uint32_t round_trip_us = 0;
  friend bool operator==(const Reach&, const Reach&) = default;
};
std::string encode(const std::vector<Reach>& reaches);
base::Result<std::vector<Reach>> parse_reaches(std::string_view body);

// Ids are given out by who opens: an even one by the node with the lower name of the two, else an odd one.
struct Splice {
  //  open    to the third node: join me with that member
  //  arrive  from the third node: that member wants to speak with you
  enum class Action : std::uint8_t { open = 1, arrive = 2, data = 3, close = 4 };
  Action action = Action::data;
  std::uint32_t id = 0;
  std::string text;
  friend bool operator==(const Splice&, const Splice&) = default;
};
constexpr std::size_t kLargestSplice = 16 * 1024;
std::string encode(const Splice& splice);
base::Result<Splice> parse_splice(std::string_view body);

}  // namespace trama::overlay::peers
