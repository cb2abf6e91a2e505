// SPDX-License-Identifier: GPL-2.0-or-later
// Component loggers. One line per event that an operator would want to know; the text says what, why, what next.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <spdlog/logger.h>

#include "base/result.h"

namespace trama::base {

// A logger that prefixes its lines with the component name. Cheap to call; the same name gives the same logger.
std::shared_ptr<spdlog::logger> logger(std::string_view component);
// Sends all loggers to stderr. level is error|warn|info|debug|trace, optionally followed by ",component=level" pairs.
Result<> configure_logging(std::string_view level);

// Repeated failures of one kind: the first one is logged, the recovery says how many there were.
class Streak {
 public:
  template <class Log>
  void failed(Log log, const Error& e) {
    if (count_++ == 0) log(e.to_string());
  }
  template <class Log>
  void recovered(Log log) {
    if (count_ > 0) log(fmt::format("recovered after {} failure{}", count_, count_ == 1 ? "" : "s"));
    count_ = 0;
  }
  unsigned count() const { return count_; }

 private:
  unsigned count_ = 0;
};

}  // namespace trama::base
