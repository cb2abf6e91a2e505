// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/reflector.h"

#include <charconv>
#include <random>

#include "control/api/json_text.h"
#include "control/client/paths.h"

namespace trama::client {

using base::Error;
using base::Result;

namespace {
std::uint64_t number(const std::string& text) {
  std::uint64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

// For a log: what is not plain text becomes a dot.
std::string printable(std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~') c = '.';
  return text;
}
}  // namespace

Reflector::Reflector(ApiClient& client, ReflectorOptions options, ReflectorHandlers handlers)
    : client_(client),
      options_(std::move(options)),
      handlers_(std::move(handlers)),
      log_(base::logger("reflector")),
      backoff_(options_.backoff_lowest, options_.backoff_highest),
      random_(std::random_device{}()) {
  if (options_.path.empty()) options_.path = collection_path(options_.resource);
}

awaitable<void> Reflector::run() {
  bool have_list = false;
  for (;;) {
    fresh_ = false;
    Next next = Next::resume;
    if (!have_list) {
      auto listed = co_await list();
      if (listed) {
        have_list = true;
      } else {
        next = Next::back_off;
        connected(false, listed.error().to_string());
      }
    } else {
      next = co_await watch();
    }
    if (fresh_) backoff_.succeeded();
    if (next == Next::relist) have_list = false;
    if (next != Next::resume) {
      backoff_.failed();
      co_await async::sleep_for(jittered(backoff_.delay(), 0.5));
    }
  }
}

// "limit=..": see ApiClient::list. The revision is left out: the list is the newest committed state.
awaitable<Result<>> Reflector::list() {
  ++lists_;
  auto selectors = query("");
  auto listed = co_await client_.list(options_.path, selectors);
  if (!listed) co_return std::move(listed).error();
  std::vector<api::ObjectPtr> all;
  all.reserve(listed->items.size());
  for (auto& item : listed->items)
    if (auto object = object_of(std::move(item))) all.push_back(std::move(object));
  revision_ = number(listed->revision);
  synced_ = true;
  fresh_ = true;
  connected(true, "");
  if (handlers_.synced) handlers_.synced(std::move(all), revision_);
  co_return Result<>();
}

awaitable<Reflector::Next> Reflector::watch() {
  ++watches_;
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(jittered(options_.watch_for, 0.2)).count();
  auto path = options_.path + "?" +
              query(fmt::format("watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}", revision_,
                                std::max<std::int64_t>(seconds, 1)));
  auto opened = co_await client_.stream(path);
  if (!opened) {
    if (is_expired(opened.error())) {
      log_->info("{}: revision {} is too old to continue from; reading everything again", options_.resource, revision_);
      co_return Next::relist;
    }
    // A revision from the server's future (504, or 400 after a restore) can only be mended by a new list.
    bool foreign = http_status(opened.error()) == 504 || http_status(opened.error()) == 400;
    connected(false, opened.error().to_string());
    co_return foreign ? Next::relist : Next::back_off;
  }
  connected(true, "");
  auto stream = std::move(*opened);
  auto started = std::chrono::steady_clock::now();
  for (;;) {
    auto line = co_await stream->read_line(options_.read_timeout);
    if (!line) {
      if (line.error().is(std::errc::operation_canceled)) co_return Next::back_off;  // where run() ends
      bool ended = line.error().code() == std::error_code(ENODATA, std::system_category());
      // The server's own time limit is routine; a server that hangs up at once is not.
      bool lasted = std::chrono::steady_clock::now() - started > std::chrono::seconds(1);
      if (ended && (fresh_ || lasted)) {
        fresh_ = true;
        co_return Next::resume;
      }
      connected(false, line.error().to_string());
      co_return Next::back_off;
    }
    auto next = take(*line);
    if (next != Next::resume) co_return next;
  }
}

Reflector::Next Reflector::take(const std::string& line) {
  boost::system::error_code bad;
  auto value = api::parse_json(line, bad);
  auto* event = bad ? nullptr : value.if_object();
  auto* body = event ? event->if_contains("object") : nullptr;
  if (body == nullptr || !body->is_object()) {
    connected(false, fmt::format("the watch sent something that is not an event: {}", printable(line.substr(0, 80))));
    return Next::relist;
  }
  auto type = api::text_at(*event, "type");
  if (type == "BOOKMARK") {
    revision_ = number(api::text_at(body->get_object(), "metadata.resourceVersion"));
    fresh_ = true;
    return Next::resume;
  }
  if (type == "ERROR") {
    auto code = api::int_at(body->get_object(), "code");
    auto message = api::text_at(body->get_object(), "message");
    if (code == 410)
      log_->info("{}: {}; reading everything again", options_.resource, message);
    else
      connected(false, message.empty() ? "the watch ended with an error that does not say which" : message);
    return Next::relist;
  }
  auto object = object_of(std::move(body->get_object()));
  if (!object) {
    connected(false, "the watch sent an object without a name");
    return Next::relist;
  }
  revision_ = object->revision;
  fresh_ = true;
  auto change = type == "DELETED" ? Change::deleted : type == "MODIFIED" ? Change::modified : Change::added;
  if (handlers_.changed) handlers_.changed(change, std::move(object));
  return Next::resume;
}

api::ObjectPtr Reflector::object_of(json::object body) {
  api::Key key;
  key.resource = options_.resource;
  key.ns = api::text_at(body, "metadata.namespace");
  key.name = api::text_at(body, "metadata.name");
  if (key.name.empty()) return nullptr;
  auto revision = number(api::text_at(body, "metadata.resourceVersion"));
  return api::make_object(std::move(key), std::move(body), revision);
}

std::string Reflector::query(std::string rest) const {
  auto add = [&rest](std::string_view name, const std::string& value) {
    if (value.empty()) return;
    if (!rest.empty()) rest += "&";
    rest += fmt::format("{}={}", name, url_encode(value));
  };
  add("labelSelector", options_.label_selector);
  add("fieldSelector", options_.field_selector);
  return rest;
}

void Reflector::connected(bool yes, const std::string& why) {
  if (yes) {
    streak_.recovered([this](const std::string& s) { log_->info("{}: {}", options_.resource, s); });
  } else {
    auto log = [this](const std::string& s) { log_->warn("{}: {}; trying again", options_.resource, s); };
    streak_.failed(log, Error::text(why));
  }
  if (yes == connected_ && (yes || lists_ + watches_ > 1)) return;
  connected_ = yes;
  if (handlers_.connection) handlers_.connection(yes, why);
}

milliseconds Reflector::jittered(milliseconds time, double share) {
  random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
  double unit = static_cast<double>(random_ >> 11) / 9007199254740992.0;  // [0, 1)
  auto spread = static_cast<double>(time.count()) * share * unit;
  return time - milliseconds(static_cast<std::int64_t>(spread));
}

}  // namespace trama::client
