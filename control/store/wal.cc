// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/wal.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace trama::store {
namespace {

constexpr std::size_t kHeader = 32, kFrameHeader = 24;
constexpr std::uint32_t kMagic = 0x377f0682;  // its lowest bit says: checksums over big-endian words

std::uint32_t big(std::string_view s, std::size_t at) {
  std::uint32_t n = 0;
  for (std::size_t i = 0; i < 4; ++i) n = n << 8 | static_cast<std::uint8_t>(s[at + i]);
  return n;
}

struct Sum {
  std::uint32_t a = 0, b = 0;
  void add(std::string_view bytes, bool big_endian) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      auto x = big(bytes, at), y = big(bytes, at + 4);
      if (!big_endian) x = __builtin_bswap32(x), y = __builtin_bswap32(y);
      a += x + b;
      b += y + a;
    }
  }
  friend bool operator==(const Sum&, const Sum&) = default;
};

class Frames {
 public:
  Frames(std::string_view wal, std::size_t page, bool big_endian)
      : wal_(wal), size_(kFrameHeader + page), big_endian_(big_endian) {}
  std::size_t count() const { return (wal_.size() - kHeader) / size_; }
  bool of_this_log(std::size_t i) const { return frame(i).substr(8, 8) == wal_.substr(16, 8); }  // the salts
  bool is_commit(std::size_t i) const { return of_this_log(i) && big(frame(i), 4) != 0; }
  Sum stored(std::size_t i) const { return {big(frame(i), 16), big(frame(i), 20)}; }
  // It is whole, and follows what `before` is the sum of.
  bool follows(std::size_t i, Sum before) const {
    before.add(frame(i).substr(0, 8), big_endian_);
    before.add(frame(i).substr(kFrameHeader), big_endian_);
    return of_this_log(i) && before == stored(i);
  }

 private:
  std::string_view frame(std::size_t i) const { return wal_.substr(kHeader + i * size_, size_); }
  std::string_view wal_;
  std::size_t size_;
  bool big_endian_;
};

}  // namespace

std::string wal_damage(std::string_view wal) {
  if (wal.size() <= kHeader) return "";  // no frame has been written
  auto magic = big(wal, 0);
  bool big_endian = magic & 1;
  Sum sum;
  sum.add(wal.substr(0, 24), big_endian);
  auto page = big(wal, 8);
  // The header is synced before the first frame is written, and fits into one sector.
  if ((magic | 1) != (kMagic | 1) || sum != Sum{big(wal, 24), big(wal, 28)} || page < 512 || page > 65536)
    return "the header of the write-ahead log: its checksum does not match";
  Frames frames(wal, page, big_endian);
  std::size_t i = 0;
  for (; i < frames.count() && frames.follows(i, sum); ++i) sum = frames.stored(i);
  for (auto bad = i; i < frames.count(); ++i) {
    if (!frames.is_commit(i)) continue;
    auto before = frames.stored(i);
    for (auto next = i + 1; next < frames.count() && frames.follows(next, before); ++next) {
      if (frames.is_commit(next))
        return fmt::format(
            "frame {} of the write-ahead log: its checksum does not match, and whole transactions follow", bad + 1);
      before = frames.stored(next);
    }
  }
  return "";
}

}  // namespace trama::store
