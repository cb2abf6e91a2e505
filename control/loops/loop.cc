// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/loop.h"

#include <algorithm>

namespace trama::control {

using base::Error;
using base::Result;

Loop::Loop(async::asio::any_io_executor ex, store::Store& store, LoopOptions options, std::vector<Source> sources,
           Handle handle)
    : store_(store),
      options_(std::move(options)),
      sources_(std::move(sources)),
      handle_(std::move(handle)),
      queue_(std::move(ex), options_.backoff_lowest, options_.backoff_highest),
      log_(base::logger(options_.name)) {}

void Loop::start(async::TaskGroup& group) {
  std::vector<std::uint64_t> revisions;
  for (const auto& s : sources_) revisions.push_back(show_all(s));
  for (std::size_t i = 0; i < sources_.size(); ++i)
    group.spawn(options_.name + " watch " + sources_[i].resource, follow(i, revisions[i]));
  for (unsigned i = 0; i < options_.workers; ++i) group.spawn(options_.name, work());
}

void Loop::enqueue(const std::string& key) {
  if (auto it = resting_.find(key); it != resting_.end()) {
    auto left = it->second - std::chrono::steady_clock::now();
    if (left.count() > 0) return queue_.add_after(key, std::chrono::ceil<milliseconds>(left));
    resting_.erase(it);
  }
  queue_.add(key);
}

void Loop::took(const std::string& key, std::chrono::steady_clock::duration time) {
  constexpr milliseconds kShort{2}, kLongestRest{1'000};
  if (time < kShort) {
    resting_.erase(key);
    return;
  }
  resting_[key] =
      std::chrono::steady_clock::now() + std::min<std::chrono::steady_clock::duration>(9 * time, kLongestRest);
}

std::uint64_t Loop::show_all(const Source& source) {
  if (source.reset) source.reset();
  auto revision = store_.revision();
  for (auto& object : store_.list(source.resource)) {
    store::Event e;
    e.type = store::Event::Type::added;
    e.revision = object->revision;
    e.object = std::move(object);
    source.seen(e);
  }
  return revision;
}

awaitable<void> Loop::follow(std::size_t index, std::uint64_t after) {
  const Source& source = sources_[index];
  for (;;) {
    auto watch = store_.watch(source.resource, after);
    while (watch) {
      auto events = co_await (*watch)->next(std::chrono::minutes(1));
      if (!events) break;
      for (const auto& e : *events) source.seen(e);
    }
    log_->info("{}: the watch fell behind; looking at everything again", source.resource);
    co_await async::sleep_for(milliseconds(10));
    after = show_all(source);
  }
}

awaitable<void> Loop::work() {
  for (;;) {
    auto key = co_await queue_.next();
    auto done = co_await handle_(key);
    ++handled_;
    if (done) {
      streak_.recovered([this](const std::string& line) { log_->info("{}", line); });
      queue_.succeeded(key);
      continue;
    }
    bool raced = done.error().is(std::errc::resource_unavailable_try_again);
    if (!raced) {
      ++failures_;
      auto story = std::move(done).error().in(key);
      streak_.failed([this](const std::string& line) { log_->warn("{}; trying again", line); }, story);
    }
    queue_.failed(key);
  }
}

Error to_error(const api::Status& s) {
  auto code = s.reason == "Conflict" ? std::errc::resource_unavailable_try_again
              : s.code == 404        ? std::errc::no_such_file_or_directory
              : s.code == 503        ? std::errc::not_connected
                                     : std::errc::invalid_argument;
  return Error::text(s.message, code);
}

awaitable<Result<api::ObjectPtr>> write(store::Store& store, store::Decision decide) {
  auto answer = co_await store.write(std::move(decide));
  if (!answer) co_return to_error(answer.error());
  co_return *answer;
}

bool unchanged(const store::Transaction& tx, const api::Key& key, std::uint64_t revision) {
  auto now = tx.get(key);
  return revision == 0 ? now == nullptr : now != nullptr && now->revision == revision;
}

std::string queue_key(const api::Key& key) { return key.ns.empty() ? key.name : key.ns + "/" + key.name; }

api::Key from_queue_key(std::string resource, const std::string& text) {
  api::Key key;
  key.resource = std::move(resource);
  auto slash = text.find('/');
  if (slash != std::string::npos) key.ns = text.substr(0, slash);
  key.name = slash == std::string::npos ? text : text.substr(slash + 1);
  return key;
}

}  // namespace trama::control
