// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/async/event.h"
#include "base/result.h"

namespace trama::async {

// Messages out are binary and one frame each. One reader and one writer at a time.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  virtual std::string subprotocol() const = 0;
  // One whole message; ENODATA once the peer has closed.
  virtual awaitable<base::Result<std::string>> read() = 0;
  virtual awaitable<base::Result<>> write(std::string message) = 0;
  // Tells the peer, and waits for its answer.
  virtual awaitable<void> close() = 0;
};

}  // namespace trama::async
