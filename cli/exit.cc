// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/exit.h"

#include <algorithm>
#include <cstdio>

namespace trama::cli {

Exit exit_of(const base::Error& e) {
  auto any = [&](std::initializer_list<std::errc> codes) {
    return std::any_of(codes.begin(), codes.end(), [&](std::errc c) { return e.is(c); });
  };
  using enum std::errc;
  if (any({no_such_file_or_directory, no_such_process})) return Exit::not_found;
  if (any({file_exists, resource_unavailable_try_again})) return Exit::conflict;
  if (any({connection_refused, connection_reset, connection_aborted, network_unreachable, host_unreachable,
           network_down, not_connected, broken_pipe, address_not_available}))
    return Exit::unreachable;
  if (any({timed_out})) return Exit::timeout;
  if (any({permission_denied, operation_not_permitted})) return Exit::permission;
  if (any({operation_not_supported, function_not_supported, protocol_not_supported, not_supported}))
    return Exit::kernel;
  if (any({invalid_argument})) return Exit::usage;
  if (any({operation_canceled, interrupted})) return Exit::interrupted;
  return Exit::internal;
}

int fail(Exit exit, std::string_view sentence, std::string_view next) {
  std::string text = fmt::format("trama: {}\n", sentence);
  if (!next.empty()) text += fmt::format("  next: {}\n", next);
  std::fputs(text.c_str(), stderr);
  return code(exit);
}

int fail(const base::Error& error, std::string_view next) { return fail(exit_of(error), error.to_string(), next); }

namespace {
// Edit distance with transpositions of neighbours ("gte" is one step from "get").
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}
}  // namespace

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.empty() || word.size() > 64) return "";
  std::string best;
  std::size_t least = word.size() <= 3 ? 2 : word.size() / 3 + 2;  // exclusive
  for (const auto& c : candidates) {
    auto d = distance(word, c);
    if (d < least) least = d, best = c;
  }
  return best;
}

}  // namespace trama::cli
