// SPDX-License-Identifier: GPL-2.0-or-later
// Many nodes in one process: what N agents would tell the API server, without anything behind it.
//
// One watch for all nodes and one for all pods, however many are simulated; one queue of things to look at, served by a
// bounded number of requests. Level-triggered like an agent: a watch event only says which node or pod to look at, what
// is said about it follows from what is there.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/ipam.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "cli/sim/model.h"
#include "control/client/reflector.h"

namespace trama::cli {

class Simulator {
 public:
  using Clock = std::chrono::steady_clock;
  // `client` outlives the simulator; everything runs on `ex`. `ready` is called once: all nodes are Ready.
  Simulator(async::asio::any_io_executor ex, client::ApiClient& client, SimOptions options,
            std::function<void()> ready);
  ~Simulator();

  // Begins to register nodes and to keep them. Does not block.
  void start();
  // Returns when the simulation cannot go on, with the reason; until then only by cancellation.
  async::awaitable<base::Error> failed();
  // Nodes fall silent; what they are made of stays.
  async::awaitable<void> stop();

  struct Removed {
    std::size_t nodes = 0, pods = 0;
    std::size_t left = 0;  // what the server did not let go
    std::string why;       // of the last of those
  };
  // After stop(): deletes the nodes, then the pods that were bound to them. Leases go with their nodes.
  async::awaitable<Removed> remove();

  std::size_t ready_nodes() const { return ready_.size(); }
  std::size_t without_range() const;  // registered, but without a pod CIDR
  std::size_t pods() const { return pods_.size(); }
  std::uint64_t requests() const { return requests_; }
  std::uint64_t renewals() const { return renewals_; }

 private:
  struct Node {
    unsigned number = 0;
    std::string name;
    api::ObjectPtr seen;  // the newest version known
    bool gone = false;    // somebody deleted it: it does not come back
    bool has_lease = false, queued = false;
    agent::AddressPool pool{std::chrono::milliseconds(0)};
    std::set<std::string> pods;  // uids
  };
  struct Pod {
    api::ObjectPtr seen;
    Node* node = nullptr;
    bool queued = false;
  };
  struct Work {
    Node* lease_of = nullptr;  // one of the three
    Node* node = nullptr;
    std::string pod;  // uid
  };

  void node_seen(const api::ObjectPtr& object, bool deleted);
  void pod_seen(const api::ObjectPtr& object, bool deleted);
  void look_at(Node& node);
  void look_at(const std::string& uid);
  void forget(const std::string& uid);
  void pump();
  void give_up(base::Error error);

  async::awaitable<void> worker();
  async::awaitable<void> serve(Work work);
  async::awaitable<base::Result<>> do_node(Node& node);
  async::awaitable<base::Result<>> register_node(Node& node);
  async::awaitable<base::Result<>> make_lease(Node& node);
  async::awaitable<base::Result<>> renew_lease(Node& node);
  async::awaitable<base::Result<>> do_pod(std::string uid);
  async::awaitable<base::Result<>> finish_delete(std::string uid);
  async::awaitable<void> lease_clock();
  async::awaitable<void> delete_all(std::vector<std::pair<std::string, json::object>> things, Removed* result,
                                    std::size_t* done);

  async::asio::any_io_executor ex_;
  client::ApiClient& client_;
  SimOptions options_;
  std::function<void()> when_ready_;
  std::shared_ptr<spdlog::logger> log_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unordered_map<std::string, Node*> by_name_;
  std::unordered_map<std::string, Pod> pods_;
  std::set<const Node*> ready_;
  std::deque<Work> urgent_, work_;  // leases first: a node must not die of a long queue
  std::deque<std::pair<Clock::time_point, Node*>> renewals_due_;
  std::unique_ptr<client::Reflector> node_watch_, pod_watch_;
  async::TaskGroup tasks_;
  async::Event failure_;
  std::optional<base::Error> error_;
  base::Streak streak_;
  std::size_t running_ = 0;
  bool nodes_known_ = false, stopping_ = false, said_ready_ = false;
  std::uint64_t requests_ = 0, renewals_ = 0;
};

}  // namespace trama::cli
