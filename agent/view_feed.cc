// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/view_feed.h"

#include <algorithm>

#include "agent/view_file.h"
#include "base/async/run_on.h"
#include "control/client/paths.h"

namespace trama::agent {

namespace asio = async::asio;

struct ViewFeed::Source {
  explicit Source(asio::any_io_executor ex) : changed(std::move(ex)) {}
  std::unique_ptr<client::Reflector> reflector;
  async::Event changed;
  bool connected = false;
  bool tried = false;  // an attempt has ended, well or not
  bool confirming = false;
  std::string why = "not connected yet";
};

namespace {
std::size_t index(Kind kind) { return static_cast<std::size_t>(kind); }
}  // namespace

ViewFeed::ViewFeed(asio::any_io_executor brain, asio::any_io_executor files, ClusterView& view, Options options,
                   std::function<void()> on_change)
    : brain_(brain),
      files_(std::move(files)),
      view_(view),
      options_(std::move(options)),
      on_change_(std::move(on_change)),
      log_(base::logger("view")),
      tasks_(brain) {
  for (auto& source : sources_) source = std::make_unique<Source>(brain_);
}

ViewFeed::~ViewFeed() = default;

void ViewFeed::load() {
  if (!options_.pods) {
    view_.list(Kind::pods, {}, 0);
    auto& none = *sources_[index(Kind::pods)];
    none.connected = none.tried = true;
  }
  for (auto kind : kKinds) {
    if (!wanted(kind)) continue;
    auto saved = load_view(options_.dir, kind);
    if (!saved) {
      if (!saved.error().is(std::errc::no_such_file_or_directory))
        log_->warn("{}; the server has to be asked before anything is changed", saved.error().to_string());
      continue;
    }
    log_->info("{} {} known from before", saved->objects.size(), to_string(kind));
    view_.load(kind, std::move(saved->objects), saved->revision);
    saved_edits_[index(kind)] = view_.edits(kind) + 1;
  }
}

bool ViewFeed::usable() const {
  if (!view_.all_known()) return false;
  bool all_synced = std::all_of(kKinds.begin(), kKinds.end(), [&](Kind k) { return view_.synced(k); });
  bool gave_up = std::any_of(sources_.begin(), sources_.end(), [](const auto& s) { return s->tried && !s->connected; });
  return all_synced || gave_up || waited_;
}

bool ViewFeed::connected() const {
  return std::all_of(sources_.begin(), sources_.end(), [](const auto& s) { return s->connected; });
}

std::string ViewFeed::trouble() const {
  for (const auto& source : sources_)
    if (!source->connected) return source->why;
  return "";
}

std::uint64_t ViewFeed::revision(Kind kind) const {
  const auto& reflector = sources_[index(kind)]->reflector;
  return std::max(view_.revision(kind), reflector ? reflector->revision() : std::uint64_t{0});
}

void ViewFeed::start(client::ApiClient& client) {
  client_ = &client;
  for (auto kind : kKinds) {
    if (!wanted(kind)) continue;
    subscribe(kind, client);
    tasks_.spawn("save the view", save_loop(kind));
  }
  tasks_.spawn("wait for the server", give_up_waiting());
}

void ViewFeed::subscribe(Kind kind, client::ApiClient& client) {
  client::ReflectorOptions options;
  options.resource = to_string(kind);
  if (kind == Kind::pods) options.field_selector = "spec.nodeName=" + options_.node_name;
  auto& source = *sources_[index(kind)];
  client::ReflectorHandlers handlers;
  handlers.synced = [this, kind](std::vector<api::ObjectPtr> all, std::uint64_t revision) {
    auto kept = view_.list(kind, all, revision);
    if (kept > 0) {
      log_->warn("the server lists {} {} although {} were known: nothing is removed until a second list says the same",
                 all.size(), to_string(kind), view_.objects(kind).size());
      auto& from = *sources_[index(kind)];
      if (!std::exchange(from.confirming, true)) tasks_.spawn("confirm a list", confirm(kind));
    }
    sources_[index(kind)]->changed.set();
    on_change_();
  };
  handlers.changed = [this, kind](client::Change change, api::ObjectPtr object) {
    if (change == client::Change::deleted)
      view_.remove(kind, object);
    else
      view_.put(kind, object);
    sources_[index(kind)]->changed.set();
    on_change_();
  };
  handlers.connection = [this, &source](bool yes, const std::string& why) {
    source.connected = yes;
    source.tried = true;
    source.why = why;
    on_change_();
  };
  source.reflector = std::make_unique<client::Reflector>(client, std::move(options), std::move(handlers));
  tasks_.spawn(fmt::format("watch {}", to_string(kind)), source.reflector->run());
}

awaitable<void> ViewFeed::give_up_waiting() {
  co_await async::sleep_for(options_.patience);
  waited_ = true;
  on_change_();
}

awaitable<void> ViewFeed::confirm(Kind kind) {
  std::string query;
  if (kind == Kind::pods) query = "fieldSelector=" + client::url_encode("spec.nodeName=" + options_.node_name);
  while (view_.suspects(kind) > 0) {
    co_await async::sleep_for(options_.confirm_after);
    auto listed = co_await client_->list(client::collection_path(to_string(kind)), query);
    if (!listed) continue;
    std::vector<api::ObjectPtr> all;
    for (auto& body : listed->items) {
      api::Key key{to_string(kind), api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
      all.push_back(api::make_object(std::move(key), std::move(body), 0));
    }
    auto before = view_.objects(kind).size();
    view_.confirm(kind, all);
    log_->warn("a second list confirms it: {} {} are gone", before - view_.objects(kind).size(), to_string(kind));
    sources_[index(kind)]->changed.set();
    on_change_();
  }
  sources_[index(kind)]->confirming = false;
}

awaitable<void> ViewFeed::save(Kind kind) {
  auto edits = view_.edits(kind);
  if (!view_.synced(kind) || saved_edits_[index(kind)] == edits + 1) co_return;
  std::vector<api::ObjectPtr> objects;
  objects.reserve(view_.objects(kind).size());
  for (const auto& [name, object] : view_.objects(kind)) objects.push_back(object);
  auto revision = view_.revision(kind);
  auto job = [this, kind, revision, &objects] { return save_view(options_.dir, kind, revision, objects); };
  auto saved = co_await async::run_on(files_, job);
  if (!saved) {
    log_->warn("the view cannot be kept on disk: {}; a restart without a controller would start from an older one",
               saved.error().to_string());
    co_return;
  }
  saved_edits_[index(kind)] = edits + 1;
}

// One loop per kind: a hundred thousand Services on the way to the disk must not delay the pods.
awaitable<void> ViewFeed::save_loop(Kind kind) {
  auto& changed = sources_[index(kind)]->changed;
  auto pause = options_.save_after;
  for (;;) {
    co_await changed.wait();
    co_await async::sleep_for(pause);
    auto begin = std::chrono::steady_clock::now();
    co_await save(kind);
    auto took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
    // Large files cost processor time, at most a twentieth of it; small ones only wait for the disk.
    pause = std::max(options_.save_after, took * (took > milliseconds(100) ? 20 : 3));
  }
}

awaitable<void> ViewFeed::stop() {
  co_await tasks_.stop();
  for (auto kind : kKinds)
    if (wanted(kind)) co_await save(kind);
}

}  // namespace trama::agent
