// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps a local picture of one collection: list, then watch from there, for ever.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/log.h"
#include "control/api/object.h"
#include "control/client/api_client.h"

namespace trama::client {

struct ReflectorOptions {
  std::string resource;               // "pods"; names the log lines and fills Key::resource
  std::string path;                   // collection path; "" means collection_path(resource)
  std::string label_selector;         // unencoded
  std::string field_selector;         // "spec.nodeName=n1"
  milliseconds read_timeout{90'000};  // longer than the server's bookmark interval (60 s): silence means a dead peer
  milliseconds watch_for{1'500'000};  // timeoutSeconds asked of the server, jittered by 20 %
  milliseconds backoff_lowest{100};   // doubled after each failure, jittered by half
  milliseconds backoff_highest{10'000};
};

enum class Change { added, modified, deleted };

// Called on the client's executor, never concurrently, never after run() ended. They must not block.
struct ReflectorHandlers {
  // The complete collection: once after start, again after the server could not continue a watch (410).
  // A partial list is never delivered.
  std::function<void(std::vector<api::ObjectPtr> all, std::uint64_t revision)> synced;
  // One change after the last `synced`, in order, without gaps. `deleted` carries the last content.
  std::function<void(Change change, api::ObjectPtr object)> changed;
  // Optional. false with a reason when the server is lost, true when a list or a watch works again.
  std::function<void(bool connected, const std::string& why)> connection;
};

class Reflector {
 public:
  // `client` outlives the reflector.
  Reflector(ApiClient& client, ReflectorOptions options, ReflectorHandlers handlers);
  // Runs until cancelled. Spawn it in a TaskGroup.
  awaitable<void> run();
  bool has_synced() const { return synced_; }
  // Newest revision seen, bookmarks included.
  std::uint64_t revision() const { return revision_; }
  std::uint64_t lists() const { return lists_; }      // how often the whole collection was read
  std::uint64_t watches() const { return watches_; }  // how often a watch was opened

 private:
  enum class Next { resume, relist, back_off };
  awaitable<base::Result<>> list();
  awaitable<Next> watch();
  Next take(const std::string& line);
  api::ObjectPtr object_of(json::object body);
  std::string query(std::string rest) const;
  void connected(bool yes, const std::string& why);
  milliseconds jittered(milliseconds time, double share);

  ApiClient& client_;
  ReflectorOptions options_;
  ReflectorHandlers handlers_;
  std::shared_ptr<spdlog::logger> log_;
  base::Streak streak_;
  base::Backoff backoff_;
  std::uint64_t revision_ = 0;
  std::uint64_t lists_ = 0;
  std::uint64_t watches_ = 0;
  std::uint64_t random_ = 0;
  bool synced_ = false;
  bool connected_ = false;
  bool fresh_ = false;  // the last list or watch delivered something: the next failure starts the back-off anew
};

}  // namespace trama::client
