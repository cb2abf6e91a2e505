// SPDX-License-Identifier: GPL-2.0-or-later
// Protobuf's wire format: tags, varints, lengths. Knows no message. The words of its errors are those of Go's decoder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trama::api {

enum class WireType : unsigned { varint = 0, fixed64 = 1, bytes = 2, group = 3, end_group = 4, fixed32 = 5 };

struct Tag {
  unsigned number = 0;
  WireType type = WireType::varint;
};

// Reads one message from its first byte to its last. The first error stays: after it nothing is read any more.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  bool failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }
  void fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
    rest_ = {};
  }

  // Nothing at the end of the message or after an error.
  std::optional<Tag> tag();
  std::uint64_t varint();
  std::string_view bytes();
  // Over a value that nobody wants; groups nest up to 64 deep.
  void skip(Tag tag);

 private:
  std::string_view fixed(std::size_t size);

  std::string_view rest_;
  std::string error_;
};

}  // namespace trama::api
