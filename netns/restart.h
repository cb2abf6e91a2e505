// SPDX-License-Identifier: GPL-2.0-or-later
// When an ended container runs again. Pure.
#pragma once

#include <chrono>
#include <optional>

#include "netns/pod_spec.h"

namespace trama::netns {

class RestartBackoff {
 public:
  explicit RestartBackoff(RestartTiming timing) : timing_(timing) {}
  // A run ended after `ran`. nullopt: it stays ended; otherwise how long to wait from the end of the run: nothing the
  // first time, then timing.base, doubling up to timing.highest. A healthy run starts that sequence anew.
  std::optional<std::chrono::milliseconds> ended(RestartPolicy policy, bool success, std::chrono::milliseconds ran);

 private:
  RestartTiming timing_;
  std::optional<std::chrono::milliseconds> last_;
};

}  // namespace trama::netns
