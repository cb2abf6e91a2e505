// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps the cluster view current: from the disk at start, then from the server, and back onto the disk.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "agent/cluster_view.h"
#include "base/async/event.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "control/client/reflector.h"

namespace trama::agent {

using async::awaitable;
using std::chrono::milliseconds;

class ViewFeed {
 public:
  struct Options {
    std::string node_name;
    bool pods = true;                   // false: somebody else runs them, none are read
    std::string dir;                    // of the saved view
    milliseconds confirm_after{2'000};  // before a suspicious list is asked for again
    milliseconds save_after{100};       // after a change; longer when writing takes long
    milliseconds patience{2'000};       // at start: so long the server may take before the saved view is used
  };
  // `on_change`: the view is dirty. Called on the brain, often; it must only wake somebody.
  ViewFeed(async::asio::any_io_executor brain, async::asio::any_io_executor files, ClusterView& view, Options options,
           std::function<void()> on_change);
  ~ViewFeed();

  // Blocking, before run(): damaged or missing files are logged and left out.
  void load();
  // The saved copy of a view the kernel may be changed from: every kind is known, and either the server has been heard
  // or it is not there. Before this nothing is given to the kernel rooms.
  bool usable() const;
  bool connected() const;                   // to the server, for every kind
  std::string trouble() const;              // why not; "" when connected
  std::uint64_t revision(Kind kind) const;  // newest one seen, bookmarks included

  // Lists and watches until stop().
  void start(client::ApiClient& client);
  // Ends the watches and writes what is not on the disk yet.
  awaitable<void> stop();

 private:
  struct Source;
  bool wanted(Kind kind) const { return kind != Kind::pods || options_.pods; }
  void subscribe(Kind kind, client::ApiClient& client);
  awaitable<void> confirm(Kind kind);
  awaitable<void> save_loop(Kind kind);
  awaitable<void> save(Kind kind);
  awaitable<void> give_up_waiting();

  async::asio::any_io_executor brain_, files_;
  ClusterView& view_;
  Options options_;
  std::function<void()> on_change_;
  std::shared_ptr<spdlog::logger> log_;
  client::ApiClient* client_ = nullptr;
  std::array<std::unique_ptr<Source>, kKinds.size()> sources_;
  std::array<std::uint64_t, kKinds.size()> saved_edits_{};  // edits at the last save, plus one; 0 = not saved yet
  async::TaskGroup tasks_;
  bool waited_ = false;  // the server was given its time
};

}  // namespace trama::agent
