// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/pod_tokens.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/timestamp.h"
#include "control/client/paths.h"
#include "control/pki/jwt.h"

namespace trama::agent {

using State = SourceLookup::State;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr auto kLongestRest = milliseconds(60'000);

json::object request_for(const TokenWant& want) {
  json::object bound{{"kind", "Pod"}, {"apiVersion", "v1"}, {"name", want.pod}, {"uid", want.pod_uid}};
  json::object spec{{"expirationSeconds", want.seconds}};
  spec["boundObjectRef"] = std::move(bound);
  json::array audiences;
  if (!want.audience.empty()) audiences.emplace_back(want.audience);
  spec["audiences"] = std::move(audiences);
  json::object body{{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenRequest"}};
  body["spec"] = std::move(spec);
  return body;
}

}  // namespace

seconds token_refresh(seconds life) { return std::min(life * 4 / 5, seconds(24 * 3600)); }

std::optional<KeptToken> kept_token(const std::string& token, const TokenWant& want, std::int64_t now) {
  auto parsed = pki::parse_jwt(token);
  if (!parsed) return std::nullopt;
  const auto& claims = parsed->claims;
  auto begins = api::int_at(claims, "iat"), ends = api::int_at(claims, "exp");
  const auto* about = claims.if_contains("kubernetes.io");  // its dot is no path
  const auto& audiences = api::array_at(claims, "aud");
  bool audience = want.audience.empty() || std::any_of(audiences.begin(), audiences.end(), [&](const json::value& a) {
                    return a.is_string() && a.get_string() == want.audience;
                  });
  bool same = about && about->is_object() && api::text_at(about->get_object(), "pod.uid") == want.pod_uid && audience &&
              api::text_at(claims, "sub") == fmt::format("system:serviceaccount:{}:{}", want.ns, want.account);
  // One from a clock far ahead of ours would stay too long.
  if (!same || ends <= now || begins > now + 60 || begins <= 0 || ends - begins > (1LL << 32)) return std::nullopt;
  return KeptToken{seconds(begins - now) + token_refresh(seconds(ends - begins)), seconds(ends - now)};
}

PodTokens::PodTokens(async::asio::any_io_executor brain, std::function<void()> on_change,
                     std::function<Clock::time_point()> now)
    : on_change_(std::move(on_change)),
      now_(std::move(now)),
      log_(base::logger("tokens")),
      changed_(brain),
      tasks_(brain) {}

void PodTokens::start(client::ApiClient& client) {
  client_ = &client;
  tasks_.spawn("tokens", run());
}

awaitable<void> PodTokens::stop() { co_await tasks_.stop(); }

void PodTokens::want(const std::set<TokenWant>& tokens) {
  std::erase_if(tokens_, [&](const auto& t) { return !tokens.contains(t.first); });
  for (const auto& want : tokens)
    if (tokens_.try_emplace(want).second) changed_.set();
}

TokenLookup PodTokens::lookup(const TokenWant& want) const {
  auto it = tokens_.find(want);
  return it == tokens_.end() ? TokenLookup() : it->second.seen;
}

awaitable<void> PodTokens::run() {
  for (;;) {
    auto now = now_();
    auto next = now + kLongestRest;
    for (auto& [want, token] : tokens_) {
      if (token.asking) continue;
      if (token.ask_at > now) {
        next = std::min(next, token.ask_at);
        continue;
      }
      if (asking_ >= kTogether) break;  // the end of one of them brings us back
      token.asking = true;
      ++asking_;
      tasks_.spawn("token of " + want.ns + "/" + want.pod, ask(want));
    }
    (void)co_await changed_.wait_for(std::chrono::ceil<milliseconds>(next - now));
  }
}

// Whether the pod had it already.
awaitable<bool> PodTokens::recall(TokenWant want) {
  auto it = tokens_.find(want);
  if (!recall_ || it == tokens_.end() || std::exchange(it->second.recalled, true)) co_return false;
  auto text = co_await recall_(want);
  it = tokens_.find(want);
  if (text.empty() || it == tokens_.end()) co_return false;
  auto kept = kept_token(text, want, std::chrono::duration_cast<seconds>(base::now().time_since_epoch()).count());
  if (!kept) co_return false;
  auto now = now_();
  it->second.ask_at = now + std::max(kept->ask_in, seconds(0));
  it->second.ends = now + kept->ends_in;
  it->second.seen = {State::found, std::move(text), ""};
  co_return true;
}

awaitable<void> PodTokens::ask(TokenWant want) {
  bool had = co_await recall(want);
  if (had) {
    --asking_;
    tokens_.at(want).asking = false;
    changed_.set();
    on_change_();
    co_return;
  }
  auto path = client::object_path(api::Key{"serviceaccounts", want.ns, want.account}, "token");
  auto body = request_for(want);
  auto answer = co_await client_->create(path, std::move(body));
  --asking_;
  changed_.set();
  auto it = tokens_.find(want);
  if (it == tokens_.end()) co_return;
  auto& token = it->second;
  token.asking = false;
  auto now = now_();
  auto before = token.seen.state;
  auto text = answer ? api::text_at(*answer, "status.token") : std::string();
  if (answer && !text.empty()) {
    token.backoff.succeeded();
    // As the server grants it: its own clock decides when it ends, its length is what both agree on.
    seconds life(std::max<std::int64_t>(api::int_at(*answer, "spec.expirationSeconds", want.seconds), 60));
    token.ask_at = now + token_refresh(life);
    token.ends = now + life;
    token.seen = {State::found, std::move(text), ""};
    on_change_();
    co_return;
  }
  token.backoff.failed();
  token.ask_at = now + token.backoff.delay();
  auto why = answer ? std::string("the server's answer has no token") : answer.error().to_string();
  if (before != State::found) {
    // What cannot be reached is not missing: the pod waits in silence until the server speaks.
    bool heard = answer || client::http_status(answer.error()) != 0;
    bool news = heard && (before != State::missing || token.seen.why != why);
    if (heard) token.seen = {State::missing, "", why};
    if (news) on_change_();
  } else if (now >= token.ends) {
    log_->warn("pod {}/{}: its token has ended and there is no other: {}", want.ns, want.pod, why);
  }
}

}  // namespace trama::agent
