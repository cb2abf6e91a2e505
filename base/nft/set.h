// SPDX-License-Identifier: GPL-2.0-or-later
// Sets and maps as values, and their elements.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/nft/field.h"
#include "base/nft/table.h"

namespace trama::nft {

// A named set, or a map when it has data fields. Several key fields are a concatenation.
struct Set {
  std::string name;
  std::vector<Field> key;
  std::vector<Field> data;  // field::verdict() alone makes a verdict map
  bool interval = false;    // elements may be ranges
  bool dynamic = false;     // rules add elements (dynset)
  bool has_timeout = false;
  std::chrono::milliseconds timeout{0};  // default timeout of elements; 0 = none
  std::uint32_t size = 0;                // maximum number of elements; 0 = unlimited
  bool counts = false;                   // each element counts the packets that find it
  std::string comment;

  bool is_map() const { return !data.empty(); }
  bool is_verdict_map() const { return data.size() == 1 && data.front().is_verdict; }
  std::uint32_t flags() const;     // NFT_SET_*
  std::uint32_t key_type() const;  // nft's type number, concatenated
  std::uint32_t data_type() const;
  std::uint32_t key_length() const;  // bytes, as the kernel wants it
  std::uint32_t data_length() const;
  std::string userdata() const;   // byte order, typeof and comment records of the nft tool
  std::string to_string() const;  // "map slots { typeof … : …; }"
};

struct Element {
  Value key;
  Value key_end;        // last value of a range, inclusive; empty = a single value
  Value data;           // maps
  std::string chain;    // verdict maps: `goto chain`
  std::string comment;  // at most kMaxComment bytes survive
  std::chrono::milliseconds timeout{0};
  std::optional<std::uint64_t> packets;  // of sets that count, as read; no part of what an element is
  friend bool operator==(const Element& a, const Element& b) {
    return a.key == b.key && a.key_end == b.key_end && a.data == b.data && a.chain == b.chain &&
           a.comment == b.comment && a.timeout == b.timeout;
  }

  static Element of(const Cidr& range, std::string comment = {});
};

// The longest comment that the nft tool reads back.
constexpr std::size_t kMaxComment = 127;
// Cuts, and replaces what would break nft's quoting.
std::string clean_comment(std::string_view text);

// "10.96.0.1 . tcp . 80 comment \"default/web:http\" : 0x00001003"
std::string to_text(const Set& set, const Element& element);

}  // namespace trama::nft
