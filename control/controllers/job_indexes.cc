// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/job_indexes.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

namespace trama::control {

namespace {

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size() || n < 0) return std::nullopt;
  return n;
}

}  // namespace

JobIndexes JobIndexes::parse(std::string_view text, std::int64_t completions) {
  JobIndexes out;
  while (!text.empty()) {
    auto comma = text.find(',');
    auto item = text.substr(0, comma);
    auto dash = item.find('-');
    auto first = number(item.substr(0, dash));
    auto last = dash == std::string_view::npos ? first : number(item.substr(dash + 1));
    bool ascending = out.ranges_.empty() || (first && *first > out.ranges_.back().second);
    if (first && last && ascending && *first <= *last && *first < completions) {
      auto end = std::min(*last, completions - 1);
      if (!out.ranges_.empty() && *first == out.ranges_.back().second + 1)
        out.ranges_.back().second = end;
      else
        out.ranges_.emplace_back(*first, end);
    }
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
  return out;
}

void JobIndexes::add(const std::set<std::int64_t>& indexes) {
  for (auto i : indexes) ranges_.emplace_back(i, i);
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<std::pair<std::int64_t, std::int64_t>> merged;
  for (const auto& r : ranges_) {
    if (!merged.empty() && r.first <= merged.back().second + 1)
      merged.back().second = std::max(merged.back().second, r.second);
    else
      merged.push_back(r);
  }
  ranges_ = std::move(merged);
}

bool JobIndexes::contains(std::int64_t index) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const auto& r) { return r.first <= index && index <= r.second; });
}

std::int64_t JobIndexes::size() const {
  std::int64_t n = 0;
  for (const auto& r : ranges_) n += r.second - r.first + 1;
  return n;
}

std::string JobIndexes::to_string() const {
  std::string out;
  for (const auto& [first, last] : ranges_) {
    if (!out.empty()) out += ',';
    // Two in a row are written as two, as upstream does.
    out += first == last       ? fmt::format("{}", first)
           : first + 1 == last ? fmt::format("{},{}", first, last)
                               : fmt::format("{}-{}", first, last);
  }
  return out;
}

std::vector<std::int64_t> JobIndexes::pending(std::size_t count, std::int64_t completions,
                                              const std::set<std::int64_t>& taken) const {
  std::vector<std::int64_t> out;
  auto range = ranges_.begin();
  for (std::int64_t i = 0; i < completions && out.size() < count; ++i) {
    while (range != ranges_.end() && range->second < i) ++range;
    if (range != ranges_.end() && range->first <= i) {
      i = range->second;
      continue;
    }
    if (!taken.contains(i)) out.push_back(i);
  }
  return out;
}

}  // namespace trama::control
