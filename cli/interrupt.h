// SPDX-License-Identifier: GPL-2.0-or-later
// Ctrl-C for verbs that have something to clean up. Without catch_interrupts() the process simply ends, as usual.
#pragma once

#include <atomic>

namespace trama::cli {

// From now on SIGINT, SIGTERM and SIGHUP only set the flag; a second one ends the process.
void catch_interrupts();
const std::atomic<bool>& interrupted();

}  // namespace trama::cli
