// SPDX-License-Identifier: GPL-2.0-or-later
// The agent's two ways of doing one thing and ending.
#pragma once

#include "agent/node_agent.h"

namespace trama::agent {

// Plans towards nothing in every room, waits until nothing of ours is left in the kernel, and forgets the saved view.
// The identity stays: it is the node's, not the kernel's.
awaitable<base::Result<>> uninstall(Settings settings);

// Reads the cluster once, computes, compares with the kernel and prints what would be done. Changes nothing.
awaitable<base::Result<>> dry_run(Settings settings);

}  // namespace trama::agent
