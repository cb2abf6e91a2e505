// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

namespace trama::test {

// Compares `text` with tests/testdata/<name>; returns "" when equal, else a readable difference.
// TRAMA_REWRITE=1 in the environment writes the file instead: look at the diff before you commit it.
std::string golden_difference(const std::string& name, const std::string& text);

}  // namespace trama::test
