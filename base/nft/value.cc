// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/value.h"

#include <algorithm>
#include <stdexcept>

namespace trama::nft {

Value& Value::raw(Bytes more) {
  if (size_ + more.size() > kMax) throw std::length_error("nft value longer than the registers");
  std::copy(more.begin(), more.end(), bytes_.begin() + size_);
  tight_ = static_cast<std::uint8_t>(size_ + more.size());
  size_ = static_cast<std::uint8_t>((tight_ + 3u) & ~3u);
  return *this;
}

Value& Value::ifname(std::string_view name) {
  std::array<std::byte, 16> padded{};
  auto text = std::as_bytes(std::span(name.substr(0, 15)));
  std::copy(text.begin(), text.end(), padded.begin());
  return raw(padded);
}

}  // namespace trama::nft
