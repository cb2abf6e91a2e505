// SPDX-License-Identifier: GPL-2.0-or-later
// A NodeAgent's eye on what it shares with others: their packet filters, and the kernel's table of neighbours.
#include <algorithm>

#include "agent/neighbour_table.h"
#include "agent/node_agent.h"

namespace trama::agent {

// Once at start, then when somebody else has committed rules, at most once a second. The look itself is a microsecond.
awaitable<void> NodeAgent::watch_obstacles() {
  base::Streak streak;
  std::uint64_t epoch = 0;
  for (;;) {
    auto seen = co_await rooms_->look_at_base_chains(epoch);
    if (!seen) {
      streak.failed([this](const std::string& line) { log_->warn("foreign chains: {}; trying again", line); },
                    seen.error());
    } else if (seen->chains) {
      streak.recovered([this](const std::string& line) { log_->info("foreign chains: {}", line); });
      epoch = seen->epoch;
      auto found = find_obstacles(*seen->chains);
      for (const auto& o : found)
        if (!obstacles_ || std::find(obstacles_->begin(), obstacles_->end(), o) == obstacles_->end())
          log_->warn("{}", o.line());
      if (obstacles_ && !obstacles_->empty() && found.empty()) log_->info("no foreign chain drops by policy any more");
      bool news = obstacles_ != found;
      obstacles_ = std::move(found);
      if (news) changed_.set();
    }
    co_await async::sleep_for(std::chrono::milliseconds(1'000));
  }
}

awaitable<void> NodeAgent::watch_neighbour_tables() {
  constexpr std::chrono::seconds kLook{10};
  constexpr std::chrono::minutes kSayAgain{10};
  NeighbourTables tables;
  std::optional<Clock::time_point> said;
  for (;;) {
    auto trouble = tables.look();
    if (!trouble.empty() && (!said || Clock::now() - *said > kSayAgain)) {
      said = Clock::now();
      log_->warn("{}", trouble);
    }
    co_await async::sleep_for(kLook);
  }
}

}  // namespace trama::agent
