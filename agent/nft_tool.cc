// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/nft_tool.h"

#include <array>
#include <charconv>
#include <cstdio>

namespace trama::agent {

std::string nft_version() {
  std::string out;
  FILE* pipe = ::popen("PATH=$PATH:/usr/sbin:/sbin nft --version 2>/dev/null", "re");
  if (!pipe) return out;
  std::array<char, 256> line{};
  if (std::fgets(line.data(), line.size(), pipe)) out = line.data();
  ::pclose(pipe);
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

bool lists_owned_tables(std::string_view version) {
  if (version.empty()) return true;
  constexpr std::array<int, 3> kRight = {1, 1, 0};
  std::array<int, 3> is{};
  auto at = version.find(" v");
  if (at == std::string_view::npos) return false;
  const char *p = version.data() + at + 2, *end = version.data() + version.size();
  for (std::size_t i = 0; i < is.size(); ++i) {
    auto [next, error] = std::from_chars(p, end, is[i]);
    if (error != std::errc{}) return false;
    p = next;
    if (p == end || *p != '.') break;
    ++p;
  }
  return is >= kRight;
}

}  // namespace trama::agent
