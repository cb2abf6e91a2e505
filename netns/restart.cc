// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/restart.h"

#include <algorithm>

namespace trama::netns {

std::optional<std::chrono::milliseconds> RestartBackoff::ended(RestartPolicy policy, bool success,
                                                               std::chrono::milliseconds ran) {
  if (policy == RestartPolicy::never || (policy == RestartPolicy::on_failure && success)) return std::nullopt;
  using std::chrono::milliseconds;
  if (!last_ || ran >= timing_.healthy)
    last_ = milliseconds(0);
  else
    last_ = *last_ == milliseconds(0) ? timing_.base : std::min(timing_.highest, *last_ * 2);
  return last_;
}

}  // namespace trama::netns
