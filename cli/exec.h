// SPDX-License-Identifier: GPL-2.0-or-later
// One `exec` over a WebSocket (v5.channel.k8s.io): our stdin there, its stdout, stderr and exit code here.
#pragma once

#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "base/async/event.h"
#include "base/result.h"
#include "cli/api.h"

namespace trama::client {
class ApiClient;
}

namespace trama::cli {

// The exit code that the server's final Status (channel 3) stands for: 0 for Success, the code among its causes, or an
// error with its message.
base::Result<int> exit_code_of_status(const boost::json::value& status);

// Runs until the command has ended, or the connection.
async::awaitable<base::Result<int>> exec_session(client::ApiClient& client, ExecOptions options);

}  // namespace trama::cli
