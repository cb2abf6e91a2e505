// SPDX-License-Identifier: GPL-2.0-or-later
// Everything that this node tells the API server: statuses of pods, the Node and its lease, events, final deletions.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "agent/compute/node_status.h"
#include "base/async/event.h"
#include "base/async/task_group.h"
#include "base/backoff.h"
#include "base/log.h"
#include "control/client/api_client.h"

namespace trama::agent {

using async::awaitable;

// The merge patch that turns one status into another: changed fields, null for those that are gone; empty = equal.
json::object status_patch(const json::object& from, const json::object& to);

// Level-triggered: the last thing said about a pod or the node is what is sent, and only when the server has something
// else. While the server is away the newest statuses wait, and a bounded number of events. All calls on the brain.
class Reporter {
 public:
  struct Options {
    std::string node_name;
    bool events_only = false;  // pods, the Node and its lease are somebody else's
    std::chrono::milliseconds lease_period{10'000};
    std::size_t parallel = 8;       // requests at a time
    std::size_t most_events = 200;  // waiting to be sent; older ones are dropped
  };
  Reporter(async::asio::any_io_executor brain, Options options);
  ~Reporter();

  // From here on things are sent. `client` outlives stop().
  void start(client::ApiClient& client);
  awaitable<void> stop();

  // The newest version known: the server's answers to our own patches may be ahead of the watch.
  api::ObjectPtr newest(const api::ObjectPtr& object) const;
  void pod_status(const api::ObjectPtr& pod, json::object status);
  // Its processes are gone: DELETE with grace 0, if it is still that pod.
  void finish_delete(const api::ObjectPtr& pod);
  // The pod has left the view.
  void forget(const std::string& uid);

  // Each (object, reason, message) is said once until the object is forgotten.
  void event(const api::Object& about, const std::string& kind, const std::string& type, const std::string& reason,
             const std::string& message);

  // What the Node should say. It is registered when the server does not know it.
  void node(NodeFindings findings, const api::ObjectPtr& in_view);
  bool registered() const { return registered_; }
  std::uint64_t requests() const { return requests_; }
  std::uint64_t lease_renewals() const { return renewals_; }

 private:
  struct Work {
    api::ObjectPtr pod;
    std::optional<json::object> status;
    bool remove = false;
    bool busy = false, forgotten = false;
  };
  awaitable<void> pod_loop();
  awaitable<void> send_pod(std::string uid);
  awaitable<base::Result<>> send_status(std::string uid, api::ObjectPtr pod, json::object status);
  awaitable<void> event_loop();
  awaitable<void> node_loop();
  awaitable<base::Result<>> register_node();
  awaitable<base::Result<>> update_node();
  awaitable<void> lease_loop();
  awaitable<base::Result<>> renew_lease();
  void failed(const base::Error& error);

  async::asio::any_io_executor brain_;
  Options options_;
  std::shared_ptr<spdlog::logger> log_;
  client::ApiClient* client_ = nullptr;
  async::TaskGroup tasks_;
  base::Streak streak_;
  base::Backoff backoff_{std::chrono::milliseconds(50), std::chrono::milliseconds(5'000)};

  std::map<std::string, Work> work_;  // by uid
  std::map<std::string, api::ObjectPtr> acknowledged_;
  async::Event pods_wake_, events_wake_, node_wake_;
  std::size_t sending_ = 0;

  std::deque<json::object> events_;
  std::map<std::string, std::set<std::string>> said_;  // by uid

  std::optional<NodeFindings> findings_;
  api::ObjectPtr node_;
  bool registered_ = false, lease_exists_ = false;
  // Of the node: new words alone are told at most so often, because every node hears of every update of every node.
  static constexpr std::chrono::milliseconds kWords{5'000};
  std::chrono::steady_clock::time_point words_again_{};
  bool words_wait_ = false;
  std::uint64_t requests_ = 0, renewals_ = 0;
};

// "2026-01-02T15:04:05Z" and "2026-01-02T15:04:05.000000Z" of now.
std::string now_seconds();
std::string now_micros();

}  // namespace trama::agent
