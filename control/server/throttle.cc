// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/throttle.h"

#include <algorithm>
#include <cmath>

namespace trama::server {

namespace {

constexpr auto kSweep = std::chrono::seconds(30);

}  // namespace

Throttle::Client& Throttle::client(const std::string& who, bool stranger, Clock::time_point now) {
  forget(now);
  auto [it, fresh] = clients_.try_emplace(who);
  auto& c = it->second;
  if (fresh) {
    c.stranger = stranger;
    c.tokens = most(c);
    c.filled = now;
  }
  auto passed = std::chrono::duration<double>(now - c.filled).count();
  c.tokens = std::min(most(c), c.tokens + std::max(passed, 0.0) * rate(c));
  c.filled = now;
  return c;
}

// Who has been quiet long enough for a full bucket is as good as new.
void Throttle::forget(Clock::time_point now) {
  if (now - swept_ < kSweep) return;
  swept_ = now;
  std::erase_if(clients_, [&](const auto& e) {
    const auto& c = e.second;
    auto passed = std::chrono::duration<double>(now - c.filled).count();
    return c.in_flight == 0 && c.streams == 0 && c.tokens + passed * rate(c) >= most(c);
  });
}

std::optional<int> Throttle::enter(const std::string& who, bool stranger, Kind kind, Clock::time_point now) {
  auto& c = client(who, stranger, now);
  if (c.tokens < 1) {
    ++refused_;
    return std::max(1, static_cast<int>(std::ceil((1 - c.tokens) / rate(c))));
  }
  auto& running = kind == Kind::stream ? c.streams : c.in_flight;
  if (running >= (kind == Kind::stream ? limits_.streams : limits_.in_flight)) {
    ++refused_;
    return 1;
  }
  c.tokens -= 1;
  ++running;
  return std::nullopt;
}

void Throttle::leave(const std::string& who, Kind kind) {
  auto it = clients_.find(who);
  if (it == clients_.end()) return;
  auto& running = kind == Kind::stream ? it->second.streams : it->second.in_flight;
  if (running > 0) --running;
}

bool Throttle::may_try(const std::string& address, Clock::time_point now) {
  if (client(address, true, now).tokens >= 1) return true;
  ++refused_;
  return false;
}

void Throttle::count_failure(const std::string& address, Clock::time_point now) {
  client(address, true, now).tokens -= 1;
}

}  // namespace trama::server
