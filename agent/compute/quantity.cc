// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/quantity.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace trama::agent {
namespace {

// 0 = no such suffix.
long double factor_of(std::string_view suffix) {
  struct Unit {
    std::string_view name;
    long double factor;
  };
  constexpr long double k = 1000, ki = 1024;
  static const Unit units[] = {{"", 1},
                               {"n", 1e-9L},
                               {"u", 1e-6L},
                               {"m", 1e-3L},
                               {"k", k},
                               {"M", k * k},
                               {"G", k * k * k},
                               {"T", k * k * k * k},
                               {"P", 1e15L},
                               {"E", 1e18L},
                               {"Ki", ki},
                               {"Mi", ki * ki},
                               {"Gi", ki * ki * ki},
                               {"Ti", ki * ki * ki * ki},
                               {"Pi", 0x1p50L},
                               {"Ei", 0x1p60L}};
  for (const auto& unit : units)
    if (unit.name == suffix) return unit.factor;
  return 0;
}

}  // namespace

base::Result<std::int64_t> parse_quantity_millis(std::string_view text) {
  auto wrong = [&] {
    return base::Error::text(fmt::format("\"{}\" is not a quantity such as 500m, 2 or 128Mi", text));
  };
  auto number = text.substr(0, text.find_first_not_of("0123456789.+-"));
  auto rest = text.substr(number.size());
  double value = 0;
  auto begin = number.starts_with('+') ? number.substr(1) : number;
  auto [end, ec] = std::from_chars(begin.data(), begin.data() + begin.size(), value, std::chars_format::fixed);
  if (begin.empty() || ec != std::errc{} || end != begin.data() + begin.size()) return wrong();
  long double factor = factor_of(rest);
  if (factor == 0 && rest.size() > 1 && (rest[0] == 'e' || rest[0] == 'E')) {
    int exponent = 0;
    auto digits = rest.substr(rest[1] == '+' ? 2 : 1);
    auto [stop, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    if (digits.empty() || bad != std::errc{} || stop != digits.data() + digits.size() || std::abs(exponent) > 18)
      return wrong();
    factor = std::pow(10.0L, exponent);
  }
  if (factor == 0) return wrong();
  long double millis = static_cast<long double>(value) * factor * 1000;
  long double rounded = std::ceil(millis - 1e-6L);
  if (rounded >= static_cast<long double>(std::numeric_limits<std::int64_t>::max()))
    return std::numeric_limits<std::int64_t>::max();
  if (rounded < 0) return wrong();
  return static_cast<std::int64_t>(rounded);
}

}  // namespace trama::agent
