// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/yaml/scalar.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace trama::cli {

using base::Error;
using base::Result;
namespace json = boost::json;

namespace {

template <class T>
bool read_whole(std::string_view digits, T& into, int radix) {
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), into, radix);
  return ec == std::errc() && end == digits.data() + digits.size() && !digits.empty();
}

bool all_of(std::string_view s, const char* alphabet) {
  return s.find_first_not_of(alphabet) == std::string_view::npos;
}

// Integers in any of their spellings; null when it is none, or none that fits.
json::value integer(std::string_view text) {
  auto digits = text;
  bool minus = digits.starts_with('-');
  if (minus || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits[0] < '0' || digits[0] > '9') return nullptr;
  int radix = 10;
  if (digits.starts_with("0x"))
    digits.remove_prefix(2), radix = 16;
  else if (digits.starts_with("0o"))
    digits.remove_prefix(2), radix = 8;
  else if (digits.size() > 1 && digits[0] == '0' && all_of(digits, "01234567"))
    digits.remove_prefix(1), radix = 8;
  if (digits.starts_with('-') || digits.starts_with('+')) return nullptr;
  std::string signed_digits = (minus ? "-" : "") + std::string(digits);
  std::int64_t i = 0;
  if (read_whole(signed_digits, i, radix)) return json::value(i);
  std::uint64_t u = 0;
  if (!minus && read_whole(digits, u, radix)) return json::value(u);
  return nullptr;
}

bool looks_like_float(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || !all_of(text, "0123456789.eE+-")) return false;
  return (text[0] >= '0' && text[0] <= '9') || (text.size() > 1 && text[0] == '.' && text[1] >= '0' && text[1] <= '9');
}

}  // namespace

Result<json::value> plain_scalar(std::string_view text) {
  for (auto word : {"", "~", "null", "Null", "NULL"})
    if (text == word) return json::value(nullptr);
  for (auto word : {"true", "True", "TRUE"})
    if (text == word) return json::value(true);
  for (auto word : {"false", "False", "FALSE"})
    if (text == word) return json::value(false);
  for (auto word : {".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN"})
    if (text == word) return Error::text(fmt::format("\"{}\" is no number that JSON knows", text));
  if (auto i = integer(text); !i.is_null()) return i;
  if (looks_like_float(text)) {
    auto digits = text.starts_with('+') ? text.substr(1) : text;
    double d = 0;
    auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), d);
    if (ec == std::errc() && end == digits.data() + digits.size() && std::isfinite(d)) return json::value(d);
  }
  return json::value(json::string(text));
}

bool needs_quotes(std::string_view text) {
  if (text.empty() || text.front() == ' ' || text.back() == ' ') return true;
  auto value = plain_scalar(text);
  if (!value || !value->is_string()) return true;
  for (auto word :
       {"y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF", "=", "<<"})
    if (text == word) return true;
  if (std::string_view("-?:,[]{}#&*!|>'\"%@`").find(text.front()) != std::string_view::npos) {
    // "-x", ":8080" and "?x" are plain text unless a blank follows the sign.
    bool sign = text.front() == '-' || text.front() == '?' || text.front() == ':';
    if (!sign || text.size() == 1 || text[1] == ' ' || text == "---") return true;
  }
  if (text.find(": ") != std::string_view::npos || text.find(" #") != std::string_view::npos || text.back() == ':')
    return true;
  // Dates and base-60 numbers mean something to YAML 1.1 readers.
  if (text.front() >= '0' && text.front() <= '9' && text.find(':') != std::string_view::npos) return true;
  if (text.size() >= 10 && text[4] == '-' && text[7] == '-' && all_of(text.substr(0, 4), "0123456789")) return true;
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

}  // namespace trama::cli
