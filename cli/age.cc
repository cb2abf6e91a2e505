// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/age.h"

#include <ctime>

#include <fmt/format.h>

namespace trama::cli {

std::string age_text(std::int64_t s) {
  if (s < 0) s = 0;
  if (s < 120) return fmt::format("{}s", s);
  auto pair = [](std::int64_t big, char a, std::int64_t small, char b) {
    return small == 0 ? fmt::format("{}{}", big, a) : fmt::format("{}{}{}{}", big, a, small, b);
  };
  if (s < 600) return pair(s / 60, 'm', s % 60, 's');
  if (s < 3 * 3600) return fmt::format("{}m", s / 60);
  if (s < 8 * 3600) return pair(s / 3600, 'h', s / 60 % 60, 'm');
  if (s < 48 * 3600) return fmt::format("{}h", s / 3600);
  return fmt::format("{}d", s / 86400);
}

std::int64_t unix_seconds(std::string_view text) {
  std::tm t{};
  std::string copy(text);
  if (!strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &t)) return 0;
  return timegm(&t);
}

std::string age_of(std::string_view text) {
  auto then = unix_seconds(text);
  return then == 0 ? "<unknown>" : age_text(std::time(nullptr) - then);
}

}  // namespace trama::cli
