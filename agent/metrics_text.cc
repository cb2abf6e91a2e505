// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/metrics_text.h"

#include <algorithm>

namespace trama::agent {

void Histogram::observe(double value) {
  auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<std::size_t>(at)];
  ++total_;
  sum_ += value;
}

std::vector<double> exponential_bounds(double start, double factor, unsigned count) {
  std::vector<double> out;
  for (unsigned i = 0; i < count; ++i, start *= factor) out.push_back(start);
  return out;
}

void add_linear_bounds(std::vector<double>& bounds, double start, double width, unsigned count) {
  for (unsigned i = 0; i < count; ++i) bounds.push_back(start + width * i);
}

void MetricsText::histogram(const char* name, const char* help, const Histogram& histogram) {
  family(name, "histogram", help);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < histogram.bounds().size(); ++i) {
    below += histogram.count(i);
    text_ += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, histogram.bounds()[i], below);
  }
  text_ += fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, histogram.count(),
                       histogram.sum());
}

}  // namespace trama::agent
