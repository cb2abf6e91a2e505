// SPDX-License-Identifier: GPL-2.0-or-later
// Prometheus text exposition format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace trama::agent {

class Histogram {
 public:
  // Upper bounds, ascending, without +Inf.
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  // Observations in the i-th bucket alone; the last one is what exceeds every bound.
  std::uint64_t count(std::size_t i) const { return counts_[i]; }
  std::uint64_t count() const { return total_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;
  std::uint64_t total_ = 0;
  double sum_ = 0;
};

// start, start * factor, …: `count` of them.
std::vector<double> exponential_bounds(double start, double factor, unsigned count);
// start, start + width, …: `count` of them, appended to `bounds`.
void add_linear_bounds(std::vector<double>& bounds, double start, double width, unsigned count);

// Families one after the other: family(), then its value()s.
class MetricsText {
 public:
  void family(const char* name, const char* type, const char* help) {
    text_ += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
    name_ = name;
  }
  // labels: R"(room="overlay")", values already escaped.
  template <class Number>
  void value(Number number, const std::string& labels = "") {
    text_ += fmt::format("{}{} {}\n", name_, labels.empty() ? "" : "{" + labels + "}", number);
  }
  template <class Number>
  void gauge(const char* name, const char* help, Number number) {
    family(name, "gauge", help);
    value(number);
  }
  template <class Number>
  void counter(const char* name, const char* help, Number number) {
    family(name, "counter", help);
    value(number);
  }
  void histogram(const char* name, const char* help, const Histogram& histogram);
  std::string text() && { return std::move(text_); }

 private:
  std::string text_;
  const char* name_ = "";
};

}  // namespace trama::agent
