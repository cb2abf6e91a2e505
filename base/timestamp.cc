// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/timestamp.h"

#include <charconv>

#include <fmt/format.h>

namespace trama::base {
namespace chrono = std::chrono;

Timestamp now() { return chrono::time_point_cast<chrono::nanoseconds>(chrono::system_clock::now()); }

std::string format_timestamp(Timestamp t) {
  auto day = chrono::floor<chrono::days>(t);
  chrono::year_month_day date(day);
  chrono::hh_mm_ss<chrono::nanoseconds> time(t - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

std::string format_micros(Timestamp t) { return format_timestamp(t).substr(0, 26) + "Z"; }
std::string format_seconds(Timestamp t) { return format_timestamp(t).substr(0, 19) + "Z"; }

namespace {
// Takes exactly `digits` digits and, unless it is 0, the character behind them.
bool take(std::string_view& text, std::size_t digits, char behind, unsigned& out) {
  if (text.size() < digits + (behind ? 1 : 0)) return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + digits, out);
  if (error != std::errc() || end != text.data() + digits || text.front() == '-') return false;
  text.remove_prefix(digits);
  if (!behind) return true;
  if (text.front() != behind && !(behind == 'T' && text.front() == 't')) return false;
  text.remove_prefix(1);
  return true;
}
}  // namespace

Result<Timestamp> parse_timestamp(std::string_view text) {
  auto wrong = [whole = std::string(text.substr(0, 64))] {
    return Error::text(fmt::format("\"{}\" is not an RFC 3339 time such as 2026-01-02T15:04:05Z", whole));
  };
  unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!take(text, 4, '-', year) || !take(text, 2, '-', month) || !take(text, 2, 'T', day) ||
      !take(text, 2, ':', hour) || !take(text, 2, ':', minute) || !take(text, 2, 0, second))
    return wrong();
  chrono::year_month_day date{chrono::year(static_cast<int>(year)), chrono::month(month), chrono::day(day)};
  // Nanoseconds since 1970 in 64 bits end in 2262.
  if (!date.ok() || year < 1700 || year > 2250 || hour > 23 || minute > 59 || second > 60) return wrong();
  std::int64_t nanos = 0;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    std::size_t digits = 0;
    for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits)
      if (digits < 9) nanos = nanos * 10 + (text[digits] - '0');
    if (digits == 0) return wrong();
    for (std::size_t i = digits; i < 9; ++i) nanos *= 10;
    text.remove_prefix(digits);
  }
  chrono::minutes offset{0};
  if (text != "Z" && text != "z") {
    if (text.size() != 6 || (text[0] != '+' && text[0] != '-')) return wrong();
    bool west = text[0] == '-';
    unsigned h = 0, m = 0;
    text.remove_prefix(1);
    if (!take(text, 2, ':', h) || !take(text, 2, 0, m) || h > 23 || m > 59) return wrong();
    offset = chrono::minutes(static_cast<int>(h * 60 + m) * (west ? -1 : 1));
  }
  return Timestamp(chrono::sys_days(date).time_since_epoch() + chrono::hours(hour) + chrono::minutes(minute) +
                   chrono::seconds(second) + chrono::nanoseconds(nanos) - offset);
}

}  // namespace trama::base
