// SPDX-License-Identifier: GPL-2.0-or-later
// Rows as text: columns as wide as their widest cell, nothing behind the last one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trama::base {

// How many terminal columns a UTF-8 text takes (code points; our texts have no wide ones).
std::size_t display_width(std::string_view text);

// Shorter rows are fine. `gap` blanks between columns. `widths` are the narrowest the columns may be, and afterwards
// what they became: tables that follow each other line up.
std::string columns(const std::vector<std::vector<std::string>>& rows, std::size_t gap = 3,
                    std::vector<std::size_t>* widths = nullptr);

}  // namespace trama::base
