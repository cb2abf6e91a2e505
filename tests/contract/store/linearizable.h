// SPDX-License-Identifier: GPL-2.0-or-later
// Is there an order of these operations on one key, within the times at which each was under way, that a single
// register with revisions could have answered like this? The search of Wing and Gong with Lowe's memory of states.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trama::test {

struct Operation {
  enum class Kind { get, put, create, replace, erase };  // replace: only if the revision is `expected`
  Kind kind = Kind::get;
  std::uint64_t called = 0, answered = 0;  // any clock that only goes forward
  std::uint64_t value = 0;                 // written, or read
  std::uint64_t expected = 0;              // replace: the revision
  bool done = true;                        // false: refused (it exists, it has another revision, it is not there)
  std::uint64_t revision = 0;              // of the write, or of what was read; 0 = nothing there
};

// "" when there is such an order; otherwise as far as the longest attempt came.
std::string not_linearizable(const std::vector<Operation>& history);

}  // namespace trama::test
