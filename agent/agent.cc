// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/agent.h"

#include <csignal>
#include <cstdio>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "agent/node_agent.h"
#include "agent/one_shot.h"

namespace trama::agent {

namespace asio = async::asio;

namespace {

awaitable<void> wait_for_signal(std::shared_ptr<async::Event> stop) {
  auto ex = co_await asio::this_coro::executor;
  asio::signal_set signals(ex, SIGTERM, SIGINT);
  for (;;) {
    auto [ec, number] = co_await signals.async_wait(async::kTuple);
    if (ec) co_return;
    stop->set();
  }
}

awaitable<void> poll_flag(std::atomic<bool>* flag, std::shared_ptr<async::Event> stop) {
  while (!flag->load()) co_await async::sleep_for(milliseconds(20));
  stop->set();
}

awaitable<void> run_all(Settings settings, base::Result<>& result) {
  auto ex = co_await asio::this_coro::executor;
  auto stop = std::make_shared<async::Event>(ex);
  async::TaskGroup tasks(ex);
  if (settings.options.handle_signals) tasks.spawn("signals", wait_for_signal(stop));
  if (settings.options.stop) tasks.spawn("stop flag", poll_flag(settings.options.stop, stop));
  if (settings.options.uninstall) {
    result = co_await uninstall(settings);
  } else if (settings.options.dry_run) {
    result = co_await dry_run(settings);
  } else {
    NodeAgent agent(ex, settings);
    result = co_await agent.run(stop);
  }
  co_await tasks.stop();
}

}  // namespace

base::Result<int> run_agent(AgentOptions options) {
  auto settings = check_options(std::move(options));
  if (!settings) return settings.error();
  ::signal(SIGPIPE, SIG_IGN);
  asio::io_context context(1);
  base::Result<> result;
  std::exception_ptr bug;
  auto work = run_all(*settings, result);
  asio::co_spawn(context, std::move(work), [&bug](std::exception_ptr e) { bug = e; });
  context.run();
  if (bug) std::rethrow_exception(bug);
  if (!result) return result.error();
  return 0;
}

}  // namespace trama::agent
