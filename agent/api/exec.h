// SPDX-License-Identifier: GPL-2.0-or-later
// /exec: a command in a container over a WebSocket, in Kubernetes' channel protocol.
//   client to agent: 0 stdin, 4 {"Width":80,"Height":24}, 255 n closes channel n (v5 only)
//   agent to client: 1 stdout, 2 stderr, 3 the final Status object
#pragma once

#include "agent/api/routes.h"
#include "netns/exec.h"

namespace trama::agent {

// `uid` is the pod's. Ends when the command has ended and its output is sent; a client that goes away kills the
// command.
awaitable<void> serve_exec(AskExec ask, netns::Uid uid, const netns::PodProcesses& pods,
                           async::asio::any_io_executor files, HttpExchange& exchange);

}  // namespace trama::agent
