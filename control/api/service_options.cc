// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/service_options.h"

#include <algorithm>
#include <charconv>

#include "control/api/validate.h"

namespace trama::api {
namespace {

constexpr std::chrono::seconds kLongest = std::chrono::hours(24);
constexpr std::uint32_t kHeaviest = 100;

constexpr std::string_view kAlgorithmRule = "must be one of random, round-robin, source-hash, maglev";
constexpr std::string_view kDurationRule = "must be whole seconds, minutes or hours up to 24h, e.g. 30s, 5m or 1h30m";
constexpr std::string_view kCountersRule = "must be \"true\" or \"false\"";
constexpr std::string_view kWeightsRule =
    "must be a list of pod names or IP addresses with weights from 0 to 100, each named once, e.g. web-1=3,web-2=0";

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t' || s.front() == '\n')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\n')) s.remove_suffix(1);
  return s;
}

// Digits only, no sign, nothing after them.
std::optional<std::uint32_t> number(std::string_view s) {
  std::uint32_t n = 0;
  auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (s.empty() || s.size() > 9 || ec != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return n;
}

std::optional<Balancing> algorithm_of(std::string_view s) {
  if (s == "random") return Balancing::random;
  if (s == "round-robin") return Balancing::round_robin;
  if (s == "source-hash") return Balancing::source_hash;
  if (s == "maglev") return Balancing::maglev;
  return std::nullopt;
}

// "" when all of it could be read.
std::string read_weights(std::string_view list, std::map<std::string, std::uint32_t, std::less<>>& out) {
  while (true) {
    auto comma = std::min(list.find(','), list.size());
    auto item = trim(list.substr(0, comma));
    auto equals = item.find('=');
    auto name = trim(item.substr(0, std::min(equals, item.size())));
    auto weight = equals == item.npos ? std::nullopt : number(trim(item.substr(equals + 1)));
    auto ip = base::Ip::parse(name);
    std::string key = ip ? ip->to_string() : std::string(name);
    if (!weight || *weight > kHeaviest || (!ip && !is_dns_subdomain(name)) || !out.emplace(key, *weight).second)
      return fmt::format("\"{}\": {}", item.substr(0, 60), kWeightsRule);
    if (comma == list.size()) return "";
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

std::optional<std::chrono::seconds> parse_whole_seconds(std::string_view text) {
  std::chrono::seconds sum{0};
  std::string_view units = "hms";
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
    auto n = number(text.substr(0, digits));
    if (!n || digits == text.size()) return std::nullopt;
    auto unit = units.find(text[digits]);
    if (unit == units.npos) return std::nullopt;
    int factor = text[digits] == 'h' ? 3600 : text[digits] == 'm' ? 60 : 1;
    sum += std::chrono::seconds(static_cast<std::int64_t>(*n) * factor);
    units.remove_prefix(unit + 1);
    text.remove_prefix(digits + 1);
  }
  if (sum > kLongest) return std::nullopt;
  return sum;
}

std::optional<base::Cidr> parse_source_range(std::string_view text) {
  text = trim(text);
  auto slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  auto ip = base::Ip::parse(text.substr(0, slash));
  auto length = number(text.substr(slash + 1));
  if (!ip || !length || *length > ip->bits()) return std::nullopt;
  return base::Cidr::of(*ip, *length);
}

ReadOptions read_service_options(const json::object& annotations) {
  ReadOptions out;
  // Gives the text of an annotation that is there, and notes the fault when `use` does not want it.
  auto read = [&](std::string_view name, auto use) {
    auto* value = annotations.if_contains(name);
    if (!value || value->is_null()) return;
    std::string text = value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
    std::string why = value->is_string() ? use(std::string_view(text)) : "must be a string";
    if (!why.empty()) out.faults.push_back({std::string(name), text.substr(0, 200), std::move(why)});
  };
  read("trama.dev/algorithm", [&](std::string_view text) -> std::string {
    auto algorithm = algorithm_of(text);
    if (!algorithm) return std::string(kAlgorithmRule);
    out.options.algorithm = *algorithm;
    return "";
  });
  read("trama.dev/weights", [&](std::string_view text) -> std::string {
    if (trim(text).empty()) return "";
    decltype(out.options.weights) weights;
    auto why = read_weights(text, weights);
    if (why.empty()) out.options.weights = std::move(weights);
    return why;
  });
  read("trama.dev/slow-start", [&](std::string_view text) -> std::string {
    auto time = parse_whole_seconds(text);
    if (!time) return std::string(kDurationRule);
    out.options.slow_start = *time;
    return "";
  });
  read("trama.dev/drain", [&](std::string_view text) -> std::string {
    out.options.drain = parse_whole_seconds(text);
    return out.options.drain ? "" : std::string(kDurationRule);
  });
  read("trama.dev/counters", [&](std::string_view text) -> std::string {
    if (text != "true" && text != "false") return std::string(kCountersRule);
    out.options.counters = text == "true";
    return "";
  });
  return out;
}

}  // namespace trama::api
