// SPDX-License-Identifier: GPL-2.0-or-later
// How `trama` ends. The numbers are part of the interface: scripts test them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trama::cli {

enum class Exit : int {
  ok = 0,
  no = 1,           // a negative answer: a probe failed, a condition does not hold
  usage = 2,        // wrong arguments, or a file that says something impossible
  not_found = 3,    // the object, lab or file does not exist
  conflict = 4,     // already exists, or changed meanwhile
  unreachable = 5,  // the controller or agent does not answer
  timeout = 6,
  permission = 7,    // needs root, a capability, or a role in the cluster
  kernel = 8,        // the kernel lacks a feature
  internal = 70,     // a bug or an unexpected failure
  config = 78,       // a daemon's configuration is wrong: restarting will not help
  interrupted = 130  // Ctrl-C
};

// What a verb gives back: one of Exit, or the code of a command that ran elsewhere (`exec`).
constexpr int code(Exit e) { return static_cast<int>(e); }

// The exit code that an error's machine-readable half stands for.
Exit exit_of(const base::Error& error);

// Prints "trama: <what and why>" and, when given, "  next: <what to type>" to stderr; returns the exit code.
int fail(const base::Error& error, std::string_view next = "");
int fail(Exit exit, std::string_view sentence, std::string_view next = "");

// The candidate nearest to `word` when it is near enough to be a slip of the finger; "" otherwise.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace trama::cli
