// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/etcd_mirror.h"

#include <charconv>

#include "base/async/deadline.h"
namespace trama::store {

using base::Error;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint64_t kPage = 500;
constexpr milliseconds kSuspicious{1'500};  // that the watch may be behind what is known to be there

milliseconds left(Clock::time_point until) {
  return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(until - Clock::now()));
}

}  // namespace

EtcdMirror::EtcdMirror(async::asio::any_io_executor ex, etcd::Gateway& gateway, const EtcdOptions& options,
                       StoreOptions store, std::string session)
    : gateway_(gateway),
      options_(options),
      layout_(options.prefix),
      session_(std::move(session)),
      cache_(ex, store),
      moved_(ex),
      asked_signal_(ex),
      answered_signal_(ex),
      suspicious_(kSuspicious),
      log_(base::logger("store")) {}

awaitable<Result<EtcdMeta>> EtcdMirror::read_meta() {
  auto reply = co_await gateway_.call_again("/v3/kv/range", etcd::range_json(layout_.meta(), "", 0, 0, false));
  if (!reply.ok()) co_return reply.error();
  auto range = etcd::parse_range(reply.text);
  if (!range) co_return std::move(range).error();
  if (range->items.empty()) co_return EtcdMeta{};
  auto meta = EtcdMeta::parse(range->items.front().value);
  if (!meta) co_return std::move(meta).error().in(layout_.meta());
  if (meta->importing)
    co_return Error::text(fmt::format("an import into {} was begun and not finished. Remove what is there (etcdctl del "
                                      "--prefix {}) and import again",
                                      layout_.prefix(), layout_.all()),
                          std::errc::state_not_recoverable);
  co_return meta;
}

awaitable<Result<>> EtcdMirror::load() {
  auto meta = co_await read_meta();
  if (!meta) co_return std::move(meta).error();
  at_.base = meta->base;
  auto reply = co_await gateway_.call_again("/v3/kv/range", etcd::range_json(layout_.head(), "", 0, 0, true));
  if (!reply.ok()) co_return reply.error();
  auto now = etcd::parse_revision(reply.text);
  if (!now) co_return std::move(now).error();
  // Begin as early as history is there: clients that watched another controller, or this one's last life, resume here.
  auto from = co_await oldest(*now > options_.replay ? *now - options_.replay : 1);
  if (from < *now)
    if (auto early = co_await load_at(from, false); early) co_return Result<>();
  co_return co_await load_at(*now, false);
}

// `wanted`, or the oldest revision that etcd has not compacted away; only a watch is told which one that is.
awaitable<std::uint64_t> EtcdMirror::oldest(std::uint64_t wanted) {
  auto key = layout_.all();
  auto stream = co_await gateway_.watch(etcd::watch_json(key, etcd::prefix_end(key), wanted + 1));
  // "created", then either events, or nothing for a while, or that it is canceled. Our own session was just written.
  for (int n = 0; stream && n < 2; ++n) {
    auto next = (*stream)->next();
    auto line = co_await async::with_deadline(std::move(next), options_.gateway.request_timeout, "etcd's watch");
    auto answer = line ? etcd::parse_watch(*line) : Result<etcd::WatchAnswer>(line.error());
    if (!answer || !answer->events.empty()) break;
    if (answer->compacted > 0) co_return std::max(wanted, answer->compacted);
  }
  co_return wanted;
}

awaitable<Result<>> EtcdMirror::load_at(std::uint64_t revision, bool anew) {
  Objects objects;
  EtcdPosition at;
  at.base = at_.base;
  at.applied = revision;
  auto key = layout_.all();
  const auto end = etcd::prefix_end(key);
  for (bool more = true; more;) {
    auto body = etcd::range_json(key, end, kPage, revision, false);
    auto reply = co_await gateway_.call_again("/v3/kv/range", body);
    if (!reply.ok()) co_return reply.error();
    auto range = etcd::parse_range(reply.text);
    if (!range) co_return std::move(range).error();
    for (const auto& item : range->items) {
      if (item.key == layout_.session(session_)) at.session = item.mod_revision;
      if (item.key.starts_with(layout_.guards())) at.guards[item.key] = item.mod_revision;
      auto object = layout_.parse_object_key(item.key);
      if (!object) continue;
      auto decoded = decode_object(*object, item.value, at.commit(item.mod_revision));
      if (!decoded) co_return std::move(decoded).error();
      objects[*object] = std::move(*decoded);
    }
    more = range->more && !range->items.empty();
    if (more) key = range->items.back().key + '\0';
  }
  at_ = std::move(at);
  auto shown = at_.commit(revision) + kRevisionsPerCommit - 1;
  ++loads_;
  if (anew)
    cache_.begin_anew(std::move(objects), shown);
  else
    cache_.begin(std::move(objects), shown, {}, shown);
  moved_.notify();
  co_return Result<>();
}

void EtcdMirror::start(async::TaskGroup& group) {
  group.spawn("etcd watch", follow());
  group.spawn("etcd revision", ask());
  group.spawn("etcd pulse", pulse());
}

awaitable<void> EtcdMirror::follow() {
  milliseconds pause{0};
  for (;;) {
    bool well = co_await follow_one();
    pause = well ? milliseconds(0) : std::clamp(pause * 2, milliseconds(20), milliseconds(1'000));
    if (pause.count() > 0) co_await async::sleep_for(pause);
  }
}

awaitable<bool> EtcdMirror::follow_one() {
  auto key = layout_.all();
  auto stream = co_await gateway_.watch(etcd::watch_json(key, etcd::prefix_end(key), at_.applied + 1));
  if (!stream) {
    streak_.failed([this](const std::string& line) { log_->warn("{}; trying the next member", line); }, stream.error());
    co_return false;
  }
  ++watches_;
  struct Shown {
    etcd::LineStream*& where;
    ~Shown() { where = nullptr; }
  };
  stream_ = stream->get();
  Shown shown{stream_};
  bool any = false;
  for (;;) {
    auto line = co_await (*stream)->next();
    if (!line) {
      if (!line.error().is(std::errc::operation_canceled))
        log_->info("the watch of etcd ({}) ended: {}; going on elsewhere", (*stream)->member(),
                   line.error().to_string());
      co_return any;
    }
    auto answer = etcd::parse_watch(*line);
    if (!answer) {
      log_->error("{}: {}", (*stream)->member(), answer.error().to_string());
      co_return false;
    }
    auto taken = co_await take(std::move(*answer));
    if (!taken) {
      log_->warn("{}: {}", (*stream)->member(), taken.error().to_string());
      co_return false;
    }
    if (!any) streak_.recovered([this](const std::string& l) { log_->info("{}", l); });
    any = true;
  }
}

awaitable<Result<>> EtcdMirror::take(etcd::WatchAnswer answer) {
  if (answer.compacted > 0) {
    log_->warn("etcd has compacted what the watch wanted (revision {}); reading everything again", at_.applied + 1);
    auto reply = co_await gateway_.call_again("/v3/kv/range", etcd::range_json(layout_.head(), "", 0, 0, true));
    if (!reply.ok()) co_return reply.error();
    auto head = etcd::parse_range(reply.text);
    if (!head) co_return std::move(head).error();
    auto loaded = co_await load_at(head->revision, true);
    if (!loaded) co_return loaded;
    co_return Error::text("begun anew", std::errc::interrupted);
  }
  if (answer.canceled) co_return Error::text("etcd ended the watch: " + answer.reason, std::errc::interrupted);
  // etcd gives whole commits; several may come in one answer.
  for (std::size_t i = 0; i < answer.events.size();) {
    auto mod = answer.events[i].item.mod_revision;
    std::vector<etcd::WatchEvent> commit;
    for (; i < answer.events.size() && answer.events[i].item.mod_revision == mod; ++i)
      commit.push_back(std::move(answer.events[i]));
    if (mod > at_.applied) take_commit(std::move(commit), mod);
  }
  if (answer.events.empty()) co_return Result<>();
  suspicious_ = kSuspicious;
  moved_.notify();
  co_return Result<>();
}

void EtcdMirror::take_commit(std::vector<etcd::WatchEvent> events, std::uint64_t mod) {
  cache_.next_commit();
  auto commit = at_.commit(mod);
  std::uint64_t place = 0;
  for (const auto& e : events) {
    auto key = layout_.parse_object_key(e.item.key);
    if (!key) {
      bookkeep(e);
      continue;
    }
    if (e.erased) {
      cache_.apply(*key, nullptr, commit + place);
    } else if (auto object = decode_object(*key, e.item.value, commit); object) {
      place = (*object)->revision - commit;
      cache_.apply(*key, *object, (*object)->revision);
    } else {
      if (not_understood_.empty()) not_understood_ = object.error().to_string();
      log_->critical("not shown: {}", object.error().to_string());
    }
    ++place;
  }
  at_.applied = mod;
  cache_.complete(commit + kRevisionsPerCommit - 1);
}

void EtcdMirror::bookkeep(const etcd::WatchEvent& e) {
  const auto& item = e.item;
  if (item.key == layout_.session(session_)) at_.session = e.erased ? 0 : item.mod_revision;
  if (item.key.starts_with(layout_.guards())) at_.guards[item.key] = e.erased ? 0 : item.mod_revision;
  if (item.key == layout_.head() && item.value.starts_with(session_ + "/")) {
    std::uint64_t marker = 0;
    auto from = item.value.data() + session_.size() + 1;
    std::from_chars(from, item.value.data() + item.value.size(), marker);
    if (expected_.contains(marker)) seen_[marker] = item.mod_revision;
  }
}

std::uint64_t EtcdMirror::seen(std::uint64_t marker) const {
  auto it = seen_.find(marker);
  return it == seen_.end() ? 0 : it->second;
}

awaitable<bool> EtcdMirror::caught_up(std::uint64_t mod, milliseconds limit) {
  auto until = Clock::now() + limit;
  auto patience = Clock::now() + kSuspicious;
  while (at_.applied < mod) {
    auto now = Clock::now();
    if (now >= until) co_return false;
    if (now >= patience) {
      suspect();
      patience = now + kSuspicious;
    }
    co_await moved_.wait_for(std::min(left(until), left(patience)) + milliseconds(1));
  }
  co_return true;
}

void EtcdMirror::suspect() {
  // What is on its way is waited for; begun anew it would only be on its way again.
  if (stream_ == nullptr || Clock::now() - stream_->last_heard() < suspicious_) return;
  suspicious_ = std::min(suspicious_ * 2, kSuspicious * 10);  // a member may need long to begin, too
  log_->warn("the watch of etcd ({}) does not keep up; beginning it anew elsewhere", stream_->member());
  stream_->close();
}

awaitable<Result<std::uint64_t>> EtcdMirror::newest(milliseconds limit) {
  auto until = Clock::now() + limit;
  auto mine = ++asked_;
  asked_signal_.notify();
  while (answered_ < mine) {
    if (Clock::now() >= until) co_return Error::text("no majority of etcd's members answers", std::errc::not_connected);
    co_await answered_signal_.wait_for(left(until) + milliseconds(1));
  }
  co_return newest_;
}

// A read of the head is linearizable: a member answers it after a majority has confirmed where the log stands.
awaitable<void> EtcdMirror::ask() {
  for (;;) {
    while (asked_ == answered_) co_await asked_signal_.wait_for(std::chrono::hours(1));
    auto batch = asked_;
    auto reply = co_await gateway_.call_again("/v3/kv/range", etcd::range_json(layout_.head(), "", 0, 0, true));
    auto range = reply.ok() ? etcd::parse_range(reply.text) : Result<etcd::RangeAnswer>(reply.error());
    if (!range) {
      co_await async::sleep_for(milliseconds(50));
      continue;
    }
    newest_ = range->items.empty() ? 0 : range->items.front().mod_revision;
    answered_ = batch;
    answered_signal_.notify();
  }
}

// A watch whose member has lost the others says nothing; only a question to a majority shows that.
awaitable<void> EtcdMirror::pulse() {
  for (;;) {
    co_await async::sleep_for(options_.pulse);
    auto there = co_await newest(options_.patience);
    if (there) co_await caught_up(*there, kSuspicious * 2);
  }
}

}  // namespace trama::store
