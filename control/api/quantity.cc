// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/quantity.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace trama::api {
namespace {

struct Suffix {
  std::string_view text;
  long double factor;
};

std::optional<long double> factor_of(std::string_view suffix) {
  static constexpr Suffix kSuffixes[] = {
      {"", 1},
      {"n", 1e-9L},
      {"u", 1e-6L},
      {"m", 1e-3L},
      {"k", 1e3L},
      {"M", 1e6L},
      {"G", 1e9L},
      {"T", 1e12L},
      {"P", 1e15L},
      {"E", 1e18L},
      {"Ki", 1024.0L},
      {"Mi", 1048576.0L},
      {"Gi", 1073741824.0L},
      {"Ti", 1099511627776.0L},
      {"Pi", 1125899906842624.0L},
      {"Ei", 1152921504606846976.0L},
  };
  for (const auto& s : kSuffixes)
    if (s.text == suffix) return s.factor;
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return std::nullopt;
  auto digits = suffix.substr(1);
  if (digits[0] == '+') digits.remove_prefix(1);
  int exponent = 0;
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
  if (ec != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  if (exponent > 18 || exponent < -18) return exponent > 0 ? 1e18L : 0.0L;
  return std::pow(10.0L, static_cast<long double>(exponent));
}

std::optional<std::int64_t> scaled(std::string_view text, long double scale) {
  std::size_t i = 0;
  bool negative = false;
  if (i < text.size() && (text[i] == '+' || text[i] == '-')) negative = text[i++] == '-';
  std::size_t digits = 0;
  bool dot = false;
  long double value = 0, place = 1;
  for (; i < text.size(); ++i) {
    char c = text[i];
    if (c == '.' && !dot) {
      dot = true;
    } else if (c >= '0' && c <= '9') {
      ++digits;
      if (dot) place /= 10;
      value = dot ? value + place * (c - '0') : value * 10 + (c - '0');
    } else {
      break;
    }
  }
  if (digits == 0 || digits > 60) return std::nullopt;
  auto factor = factor_of(text.substr(i));
  if (!factor) return std::nullopt;
  // The product of decimal fractions is a hair off an integer: take that hair off before rounding up.
  long double exact = value * *factor * scale;
  long double nearest = std::round(exact);
  long double hair = std::max(1e-12L, std::fabs(exact) * 1e-17L);
  long double rounded = std::fabs(exact - nearest) < hair ? nearest : std::ceil(exact);
  if (rounded >= 9.2233720368547758e18L) rounded = 9223372036854775807.0L;
  auto whole = static_cast<std::int64_t>(std::min(rounded, 9223372036854775807.0L));
  return negative ? -whole : whole;
}

}  // namespace

std::optional<std::int64_t> parse_milli(std::string_view text) { return scaled(text, 1000); }
std::optional<std::int64_t> parse_units(std::string_view text) { return scaled(text, 1); }

std::int64_t milli_of(const json::value& v) {
  if (v.is_string()) return parse_milli(v.get_string()).value_or(0);
  return v.is_number() ? scaled(json::serialize(v), 1000).value_or(0) : 0;
}

std::int64_t units_of(const json::value& v) {
  if (v.is_string()) return parse_units(v.get_string()).value_or(0);
  return v.is_number() ? scaled(json::serialize(v), 1).value_or(0) : 0;
}

}  // namespace trama::api
