// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/short_duration.h"

#include <fmt/format.h>

namespace trama::base {

std::string short_duration(std::chrono::seconds time) {
  auto s = time.count();
  if (s < 120) return fmt::format("{}s", s);
  auto m = s / 60;
  if (m < 10) return s % 60 ? fmt::format("{}m{}s", m, s % 60) : fmt::format("{}m", m);
  if (m < 180) return fmt::format("{}m", m);
  auto h = m / 60;
  if (h < 8) return m % 60 ? fmt::format("{}h{}m", h, m % 60) : fmt::format("{}h", h);
  if (h < 48) return fmt::format("{}h", h);
  auto d = h / 24;
  if (d < 8) return h % 24 ? fmt::format("{}d{}h", d, h % 24) : fmt::format("{}d", d);
  if (d < 730) return fmt::format("{}d", d);
  if (d >= 365 * 8 || d % 365 == 0) return fmt::format("{}y", d / 365);
  return fmt::format("{}y{}d", d / 365, d % 365);
}

}  // namespace trama::base
