// SPDX-License-Identifier: GPL-2.0-or-later
// Completed indexes of an Indexed Job, as status.completedIndexes has them: "1,3-5,7". Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trama::control {

class JobIndexes {
 public:
  // What does not parse, or lies at or beyond `completions`, is left out.
  static JobIndexes parse(std::string_view text, std::int64_t completions);
  void add(const std::set<std::int64_t>& indexes);
  bool contains(std::int64_t index) const;
  std::int64_t size() const;
  std::string to_string() const;
  // The lowest `count` indexes below `completions` that are neither here nor in `taken`.
  std::vector<std::int64_t> pending(std::size_t count, std::int64_t completions,
                                    const std::set<std::int64_t>& taken) const;

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges_;  // first and last, ascending, never adjacent
};

}  // namespace trama::control
