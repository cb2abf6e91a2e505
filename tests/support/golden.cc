// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/golden.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>

namespace trama::test {

std::string golden_difference(const std::string& name, const std::string& text) {
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  std::string path = fmt::format("{}/tests/testdata/{}", source ? source : ".", name);
  if (std::getenv("TRAMA_REWRITE")) {
    std::ofstream(path) << text;
    return "";
  }
  std::ifstream in(path);
  if (!in) return fmt::format("{} is missing; run with TRAMA_REWRITE=1 to write it", path);
  std::string want{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (want == text) return "";
  std::istringstream a(want), b(text);
  std::string x, y;
  for (int line = 1;; ++line) {
    bool more_a = static_cast<bool>(std::getline(a, x)), more_b = static_cast<bool>(std::getline(b, y));
    if (!more_a && !more_b) return "the files differ only in their ends";
    if (!more_a) x = "(end)";
    if (!more_b) y = "(end)";
    if (x != y) return fmt::format("{} line {}:\n  want: {}\n  have: {}\nall of it:\n{}", path, line, x, y, text);
  }
}

}  // namespace trama::test
