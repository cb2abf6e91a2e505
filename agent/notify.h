// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace trama::agent {

// "READY\n" to the descriptor (-1 = none), which is closed, and "READY=1" to the service manager behind NOTIFY_SOCKET.
void notify_ready(int fd);

}  // namespace trama::agent
