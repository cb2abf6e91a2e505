// SPDX-License-Identifier: GPL-2.0-or-later
// Is this text what a Prometheus server accepts? As strict as promtool about the form, silent about taste.
#pragma once

#include <charconv>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace trama::agent {

// "" or the first thing that is wrong, with its line.
inline std::string check_metrics(const std::string& text) {
  static const std::regex sample(
      R"re(^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*",?)+)\})? (\S+)$)re");
  static const std::regex bound(R"re((.*?),?le="([^"]*)"(.*))re");
  if (text.empty() || text.back() != '\n') return "the last line does not end";
  std::set<std::string> families, series;
  std::string family, type, helped;
  struct Buckets {
    double last_bound = -INFINITY, last_count = 0, infinite = -1, count = -1, sum = NAN;
  };
  std::map<std::string, Buckets> buckets;  // by the other labels
  auto close_histogram = [&]() -> std::string {
    if (type == "histogram" && buckets.empty()) return family + ": a histogram without buckets";
    for (const auto& [labels, b] : buckets)
      if (b.infinite < 0 || b.infinite != b.count || std::isnan(b.sum))
        return family + ": bucket +Inf, _count and _sum do not belong together";
    buckets.clear();
    return "";
  };
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    auto wrong = [&line](const char* what) { return fmt::format("{}: {}", what, line); };
    if (line.starts_with("# HELP ")) {
      if (auto bad = close_histogram(); !bad.empty()) return bad;
      helped = line.substr(7, line.find(' ', 7) - 7);
      if (line.size() <= 8 + helped.size()) return wrong("no help");
      type.clear();
      continue;
    }
    if (line.starts_with("# TYPE ")) {
      std::istringstream words(line.substr(7));
      words >> family >> type;
      if (family != helped) return wrong("TYPE without its HELP before it");
      if (!std::set<std::string>{"counter", "gauge", "histogram", "summary", "untyped"}.contains(type))
        return wrong("no such type");
      if (!families.insert(family).second) return wrong("the family is there twice");
      continue;
    }
    std::smatch m;
    if (!std::regex_match(line, m, sample)) return wrong("no sample");
    if (type.empty()) return wrong("a sample without HELP and TYPE");
    std::string name = m[1], labels = m[3], number = m[6];
    if (!series.insert(name + "{" + labels + "}").second) return wrong("the series is there twice");
    double value = 0;
    auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (ec != std::errc() || end != number.data() + number.size()) return wrong("no number");
    if (type != "gauge" && value < 0) return wrong("a negative count");
    if (type != "histogram") {
      if (name != family) return wrong("a sample of another family");
      continue;
    }
    std::smatch le;
    if (name == family + "_bucket") {
      if (!std::regex_match(labels, le, bound)) return wrong("a bucket without bound");
      std::string others = std::string(le[1]) + std::string(le[3]);
      auto& b = buckets[others];
      double limit = le[2] == "+Inf" ? INFINITY : std::stod(le[2]);
      if (limit <= b.last_bound || value < b.last_count) return wrong("buckets do not ascend");
      b.last_bound = limit, b.last_count = value;
      if (le[2] == "+Inf") b.infinite = value;
    } else if (name == family + "_sum") {
      buckets[labels].sum = value;
    } else if (name == family + "_count") {
      buckets[labels].count = value;
    } else {
      return wrong("a sample of another family");
    }
  }
  return close_histogram();
}

// The value of one series, as it is written: metric_value(text, "a_total{b=\"c\"}"); "absent".
inline std::string metric_value(const std::string& text, const std::string& series) {
  auto at = text.find("\n" + series + " ");
  if (at == text.npos) return "absent";
  at += series.size() + 2;
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace trama::agent
