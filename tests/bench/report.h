// SPDX-License-Identifier: GPL-2.0-or-later
// What every benchmark program prints: JSON rows, which scripts/bench turns into its table.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace trama::bench {

constexpr double kNothing = -1;

struct Row {
  std::string name;  // "sandboxes.create.p50": the group first
  double value = 0;
  std::string unit;
  double floor = 0, peer = 0, goal = 0;  // 0: none; a goal of kNothing: not one
  bool higher_is_better = false;
};

inline void print(const std::vector<Row>& rows) {
  auto or_null = [](double v) { return v > 0 ? fmt::format("{:.3f}", v) : std::string(v < 0 ? "0" : "null"); };
  std::string out;
  for (const auto& r : rows)
    out += fmt::format(
        R"({}  {{"name": "{}", "value": {:.3f}, "unit": "{}", "floor": {}, "peer": {}, "goal": {}, "higher_is_better": {}}})",
        out.empty() ? "" : ",\n", r.name, r.value, r.unit, or_null(r.floor), or_null(r.peer), or_null(r.goal),
        r.higher_is_better);
  std::printf("[\n%s\n]\n", out.c_str());
}

}  // namespace trama::bench
