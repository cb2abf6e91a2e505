// SPDX-License-Identifier: GPL-2.0-or-later
// Tokens of this node's pods: asked for when a pod wants one, and again before it ends. They are kept in memory only; a
// new agent takes over those that its running pods have in their files.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "agent/compute/sources.h"
#include "base/async/event.h"
#include "base/async/task_group.h"
#include "base/backoff.h"
#include "base/log.h"
#include "control/client/api_client.h"

namespace trama::agent {

using async::awaitable;

// When a token that is good for so long is replaced: at four fifths, and after a day at the latest.
std::chrono::seconds token_refresh(std::chrono::seconds life);

// When a token that a pod has already is due to be replaced, and when it ends; nothing when it is another one than is
// wanted, or has ended. It is not verified: what stands in the pod's file was put there by an agent. `now`: seconds
// since the epoch.
struct KeptToken {
  std::chrono::seconds ask_in{0}, ends_in{0};
};
std::optional<KeptToken> kept_token(const std::string& token, const TokenWant& want, std::int64_t now);

class PodTokens {
 public:
  using Clock = std::chrono::steady_clock;
  // `on_change`: a lookup gives another answer than before. Called on the brain.
  PodTokens(async::asio::any_io_executor brain, std::function<void()> on_change,
            std::function<Clock::time_point()> now = Clock::now);

  // What the pod's file holds; "" = there is none. Before start(); asked once for each token.
  using Recall = std::function<awaitable<std::string>(TokenWant)>;
  void recall_by(Recall recall) { recall_ = std::move(recall); }

  void start(client::ApiClient& client);  // which outlives stop()
  awaitable<void> stop();

  // Exactly these from now on.
  void want(const std::set<TokenWant>& tokens);
  TokenLookup lookup(const TokenWant& want) const;

  static constexpr std::size_t kTogether = 8;  // requests at a time: a node that starts has many pods

 private:
  struct Token {
    TokenLookup seen;
    bool asking = false, recalled = false;
    Clock::time_point ask_at{};  // at once
    Clock::time_point ends{};    // of what was seen
    base::Backoff backoff{std::chrono::milliseconds(500), std::chrono::milliseconds(30'000)};
  };
  awaitable<void> run();
  awaitable<void> ask(TokenWant want);
  awaitable<bool> recall(TokenWant want);

  std::function<void()> on_change_;
  std::function<Clock::time_point()> now_;
  Recall recall_;
  std::shared_ptr<spdlog::logger> log_;
  client::ApiClient* client_ = nullptr;
  std::map<TokenWant, Token> tokens_;
  std::size_t asking_ = 0;
  async::Event changed_;
  async::TaskGroup tasks_;
};

}  // namespace trama::agent
