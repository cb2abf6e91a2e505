// SPDX-License-Identifier: GPL-2.0-or-later
// Asks containers whether they are well, from the node's namespace to the pod's address.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/probe.h"
#include "base/async/event.h"
#include "base/async/task_group.h"
#include "netns/exec.h"

namespace trama::agent {

using async::awaitable;

// One run of one container: another start is another target.
struct ProbeTarget {
  netns::Uid uid;
  std::string container;
  std::string run;  // started_at: tells runs apart
  base::Ip address;
  std::vector<ProbeSpec> probes;
};

class Prober {
 public:
  // A verdict was reached or has changed. Readiness: `passing` decides. Liveness and startup: false = restart it.
  using OnVerdict = std::function<void(const netns::Uid& uid, const std::string& container, ProbeKind kind,
                                       bool passing, const std::string& answer)>;
  Prober(async::asio::any_io_executor brain, async::asio::any_io_executor files, const netns::PodProcesses& pods,
         OnVerdict on_verdict, std::size_t parallel = 32);
  ~Prober();

  // What to probe from now on; a target that is probed already goes on undisturbed.
  void want(const netns::Uid& uid, const std::vector<ProbeTarget>& targets);
  awaitable<void> stop();

  // Whether the container counts as ready for its startup and readiness probes; nothing while one of them is undecided.
  std::optional<bool> ready(const netns::Uid& uid, const std::string& container) const;

 private:
  struct Run;
  awaitable<void> probe_loop(std::shared_ptr<Run> run, std::size_t index);
  awaitable<base::Result<>> ask(std::shared_ptr<Run> run, const ProbeSpec& spec);

  async::asio::any_io_executor brain_, files_;
  const netns::PodProcesses& pods_;
  OnVerdict on_verdict_;
  std::size_t parallel_, asking_ = 0;
  async::TaskGroup tasks_;
  std::map<std::pair<netns::Uid, std::string>, std::shared_ptr<Run>> runs_;
};

// Success = the connection was made; 200..399 was answered; the command exited with 0. Errors say what came instead.
awaitable<base::Result<>> probe_tcp(base::Ip ip, std::uint16_t port, milliseconds timeout);
awaitable<base::Result<>> probe_http(base::Ip ip, ProbeAction action, milliseconds timeout);

}  // namespace trama::agent
