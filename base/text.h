// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace trama::base {

// ASCII letters only, whatever the locale: names of hosts and kinds.
inline std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace trama::base
