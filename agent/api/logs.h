// SPDX-License-Identifier: GPL-2.0-or-later
// /containerLogs: a container's output as a chunked text.
#pragma once

#include <functional>
#include <string>

#include "agent/api/routes.h"

namespace trama::agent {

struct LogSource {
  std::string path;                    // of the container's current log file
  std::function<bool()> may_grow;      // false once the container has ended for good or the pod is gone
  async::asio::any_io_executor files;  // where blocking reads happen
};

// Ends when the log is read, or, when followed, when the container has ended for good or the client has gone.
awaitable<void> serve_logs(AskLogs ask, LogSource source, HttpExchange& exchange);

}  // namespace trama::agent
