// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>

namespace trama::base {

// "41s", "5m12s", "3h12m", "2d2h", "3y": about two digits of precision, as kubectl shows ages.
std::string short_duration(std::chrono::seconds time);

}  // namespace trama::base
