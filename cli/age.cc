// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/age.h"

#include <algorithm>
#include <ctime>

#include "base/short_duration.h"

namespace trama::cli {

std::int64_t unix_seconds(std::string_view text) {
  std::tm t{};
  std::string copy(text);
  if (!strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &t)) return 0;
  return timegm(&t);
}

std::string age_since(std::int64_t then) {
  return base::short_duration(std::chrono::seconds(std::max<std::int64_t>(std::time(nullptr) - then, 0)));
}

std::string age_of(std::string_view text) {
  auto then = unix_seconds(text);
  return then == 0 ? "<unknown>" : age_since(then);
}

}  // namespace trama::cli
