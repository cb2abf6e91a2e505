// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/csr_loop.h"

#include "control/pki/base64.h"

namespace trama::control {

using base::Result;
using Verdict = CsrVerdict::Type;

namespace {

constexpr std::string_view kSweep = "/sweep";  // no request has such a name
constexpr std::int64_t kShortest = 600;        // seconds; upstream takes no shorter spec.expirationSeconds
constexpr auto kNameIsTaken = std::chrono::seconds(60);

Time created(const api::Object& o) {
  return base::parse_timestamp(api::text_at(o.body, "metadata.creationTimestamp")).value_or(Time());
}

std::int64_t unix_seconds(Time t) {
  return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
}

}  // namespace

CsrLoop::CsrLoop(async::asio::any_io_executor ex, store::Store& store, const pki::Authority& authority,
                 milliseconds life, milliseconds grace)
    : store_(store),
      authority_(authority),
      life_(life),
      grace_(grace),
      loop_(std::move(ex), store, {.name = "csr", .workers = 1},
            {{"certificatesigningrequests", [this](const store::Event& e) { csr_seen(e); }},
             {"leases", [this](const store::Event& e) { lease_seen(e); }},
             {"nodes", [this](const store::Event& e) { node_seen(e); }}},
            [this](std::string key) { return handle(std::move(key)); }) {
  loop_.enqueue(std::string(kSweep));
}

void CsrLoop::csr_seen(const store::Event& e) {
  if (e.type != store::Event::Type::deleted) loop_.enqueue(e.object->key.name);
}

// What counts is when a renewal arrives, never what the lease says about time.
void CsrLoop::lease_seen(const store::Event& e) {
  if (e.object->key.ns != "kube-node-lease" || e.type != store::Event::Type::modified) return;
  renewed_[e.object->key.name] = std::chrono::steady_clock::now();
}

// Who has deleted a Node has given its name away.
void CsrLoop::node_seen(const store::Event& e) {
  if (e.type == store::Event::Type::deleted) joined_.erase(e.object->key.name);
}

CsrWorld CsrLoop::world_of(const api::Object& csr, Time now) const {
  CsrWorld w;
  w.csr = &csr.body;
  w.now = now;
  auto name = node_of_request(csr.body);
  if (!name.empty()) {
    api::Key node;
    node.resource = "nodes";
    node.name = name;
    w.node = store_.get(node);
    auto heard = renewed_.find(name);
    w.name_alive = heard != renewed_.end() && std::chrono::steady_clock::now() - heard->second < grace_;
    auto it = joined_.find(name);
    w.name_taken = it != joined_.end() && it->second.first != csr.key.name && now - it->second.second < kNameIsTaken;
  }
  auto user = api::text_at(csr.body, "spec.username");
  constexpr std::string_view kPrefix = "system:bootstrap:";
  if (user.starts_with(kPrefix))
    if (auto secret = store_.get(pki::token_key(user.substr(kPrefix.size())))) w.token = pki::token_of(secret->body);
  return w;
}

Result<std::string> CsrLoop::sign(const api::Object& csr, const CsrVerdict& verdict, Time now) const {
  auto pem = pki::from_base64(api::text_at(csr.body, "spec.request"));
  if (!pem) return std::move(pem).error();
  auto request = pki::SigningRequest::from_pem(*pem);
  if (!request) return std::move(request).error();
  pki::Issue issue;
  issue.subject = verdict.subject;
  issue.names = verdict.names;
  issue.usage = verdict.usage;
  issue.now = unix_seconds(now);
  issue.life = std::chrono::duration_cast<std::chrono::seconds>(life_);
  auto wanted = api::int_at(csr.body, "spec.expirationSeconds");
  // Nodes renew theirs and get short ones. People say how long they want theirs for, at most a year.
  bool people = api::text_at(csr.body, "spec.signerName") == kClientSigner;
  auto longest = people ? std::chrono::seconds(std::chrono::hours(24 * 366)) : issue.life;
  if (wanted >= kShortest) issue.life = std::min(longest, std::chrono::seconds(wanted));
  return authority_.sign(*request, issue);
}

awaitable<Result<>> CsrLoop::handle(std::string key) {
  if (key == kSweep) {
    auto swept = co_await sweep();
    loop_.enqueue_after(key, std::chrono::minutes(1));
    co_return swept;
  }
  auto where = from_queue_key("certificatesigningrequests", key);
  auto csr = store_.get(where);
  if (!csr) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  auto verdict = judge_csr(world_of(*csr, now));
  if (verdict.type == Verdict::none) co_return Result<>();
  if (verdict.type == Verdict::wait) {
    loop_.enqueue_after(key, milliseconds(100));
    co_return Result<>();
  }
  auto body = csr->body;
  bool approve = verdict.type == Verdict::approve;
  auto add_condition = [&](std::string_view type) {
    set_condition(body, type, "True", verdict.reason, verdict.message, now);
    for (auto& c : body["status"].as_object()["conditions"].as_array())
      if (api::text_at(c.as_object(), "type") == type) c.as_object()["lastUpdateTime"] = base::format_seconds(now);
  };
  if (approve) add_condition("Approved");
  if (verdict.type == Verdict::deny) add_condition("Denied");
  if (approve || verdict.type == Verdict::sign) {
    auto certificate = sign(*csr, verdict, now);
    if (certificate) {
      body["status"].as_object()["certificate"] = pki::to_base64(*certificate);
    } else {
      verdict.type = Verdict::fail;
      verdict.reason = "SigningFailed";
      verdict.message = certificate.error().to_string();
    }
  }
  if (verdict.type == Verdict::fail) add_condition("Failed");
  auto user = api::text_at(csr->body, "spec.username");
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    if (!unchanged(tx, where, csr->revision)) return api::Status::conflict(where, "it has changed");
    if (verdict.uses_token) {
      auto token_key = pki::token_key(user.substr(user.rfind(':') + 1));
      auto secret = tx.get(token_key);
      auto record = secret ? pki::token_of(secret->body) : std::nullopt;
      if (!record || record->uses == 0) return api::Status::conflict(token_key, "the token has changed");
      if (record->uses != pki::kUnlimited) {
        auto updated = secret->body;
        api::make_object_at(updated, "data")["uses"] = pki::to_base64(std::to_string(record->uses - 1));
        tx.put(token_key, std::move(updated));
      }
    }
    return tx.put(where, body);
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  auto name = node_of_request(csr->body);
  if (verdict.uses_token) joined_[name] = {csr->key.name, now};
  auto log = base::logger("csr");
  if (approve || verdict.type == Verdict::sign)
    log->info("{}: certificate issued for {} ({})", key, verdict.subject.common_name,
              verdict.message.empty() ? "approved by hand" : verdict.message);
  else
    log->warn("{}: refused ({}): {}", key, verdict.reason, verdict.message);
  co_return Result<>();
}

// As upstream: decided requests live an hour, undecided ones a day. Expired tokens are kept for an hour so that a late
// joiner reads "expired", not "unknown".
awaitable<Result<>> CsrLoop::sweep() {
  auto now = std::chrono::system_clock::now();
  std::vector<api::ObjectPtr> old;
  for (const auto& csr : store_.list("certificatesigningrequests")) {
    bool decided = !api::text_at(csr->body, "status.certificate").empty() ||
                   !api::array_at(csr->body, "status.conditions").empty();
    if (now - created(*csr) > std::chrono::hours(decided ? 1 : 24)) old.push_back(csr);
  }
  for (const auto& secret : store_.list("secrets", std::string(pki::kTokenNamespace))) {
    auto record = pki::token_of(secret->body);
    if (record && record->expires < now - std::chrono::hours(1)) old.push_back(secret);
  }
  std::erase_if(renewed_, [this](const auto& e) { return std::chrono::steady_clock::now() - e.second > grace_; });
  std::erase_if(joined_, [now](const auto& e) { return now - e.second.second > kNameIsTaken; });
  if (old.empty()) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    for (const auto& o : old)
      if (unchanged(tx, o->key, o->revision)) tx.erase(o->key);
    return old.front();
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

std::optional<pki::TokenRecord> verify_join_token(const store::Store& store, std::string_view bearer, Time now) {
  auto parsed = pki::parse_bearer(bearer);
  if (!parsed) return std::nullopt;
  auto secret = store.get(pki::token_key(parsed->id));
  auto record = secret ? pki::token_of(secret->body) : std::nullopt;
  if (!record || !pki::secret_matches(*record, parsed->secret) || record->expires <= now) return std::nullopt;
  return record;
}

}  // namespace trama::control
