// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/sim/sim.h"

#include <cstdio>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/sim/simulator.h"
#include "control/client/kubeconfig.h"

namespace trama::cli {

using async::awaitable;
using base::Error;
using base::Result;
namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

void say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

std::string many(std::size_t n, std::string_view what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

// A line now and then until all nodes are Ready, with the likely reason when they do not become it.
awaitable<void> report(const Simulator& simulator, std::size_t nodes) {
  for (std::size_t last = nodes + 1;;) {
    co_await async::sleep_for(std::chrono::milliseconds(5'000));
    auto ready = simulator.ready_nodes();
    if (ready == nodes || ready == last) continue;
    auto waiting = simulator.without_range();
    say(fmt::format("{} of {} Ready{}", ready, many(nodes, "node"),
                    waiting == 0 ? ""
                                 : fmt::format("; {} wait for a pod CIDR (is the controller's --cluster-cidr large "
                                               "enough for one per node?)",
                                               waiting)));
    last = ready;
  }
}

awaitable<int> simulate(client::ApiClient& client, SimOptions options, bool keep) {
  using namespace asio::experimental::awaitable_operators;
  auto ex = co_await asio::this_coro::executor;
  asio::signal_set signals(ex, SIGINT, SIGTERM, SIGHUP);
  auto begin = Clock::now();
  auto when_ready = [begin, n = options.nodes] {
    say(fmt::format("{} Ready after {:.1f} s", many(n, "node"), seconds_since(begin)));
  };
  Simulator simulator(ex, client, options, when_ready);
  say(fmt::format("simulating {}, {} to {}; {}", many(options.nodes, "node"), sim_name(options, 1),
                  sim_name(options, options.nodes),
                  keep ? "they stay behind as they are (--keep)" : "Ctrl-C removes them and their pods"));
  simulator.start();
  async::TaskGroup reports(ex);
  reports.spawn("report", report(simulator, options.nodes));
  auto ended = co_await (simulator.failed() || signals.async_wait(asio::use_awaitable));
  signals.clear();  // a second Ctrl-C ends the process
  signals.cancel();
  co_await reports.stop();
  co_await simulator.stop();
  int rc = code(Exit::ok);
  if (ended.index() == 0) rc = fail(std::get<0>(ended));
  if (keep) co_return rc;
  auto removed = co_await simulator.remove();
  say(fmt::format("removed {} and {}", many(removed.nodes, "node"), many(removed.pods, "pod")));
  if (removed.left > 0)
    rc = fail(Exit::no, fmt::format("{} could not be removed: {}", many(removed.left, "object"), removed.why),
              fmt::format("trama delete nodes -l {}=true", kSimulated));
  co_return rc;
}

// Nodes of a lab are missed after 3 s, others after 40 s.
std::chrono::milliseconds lease_period(const SimNodesOptions& options, const std::string& lab) {
  if (options.lease_period.count() > 0) return options.lease_period;
  return std::chrono::milliseconds(lab.empty() ? 10'000 : 1'000);
}

}  // namespace

int sim_nodes(const Globals& globals, const SimNodesOptions& given) {
  auto options = given.nodes;
  for (const auto& label : given.labels) {
    auto equals = label.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(Exit::usage, fmt::format("--label: expected KEY=VALUE, got \"{}\"", label));
    options.labels[label.substr(0, equals)] = label.substr(equals + 1);
  }
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  options.lease_period = lease_period(given, session->lab);
  if (auto ok = check(options); !ok) return fail(Exit::usage, ok.error().to_string());
  auto config = session_config(globals);
  if (!config) return fail(config.error());
  auto connect = config->client_options();
  connect.user_agent = "trama-sim/" TRAMA_VERSION;
  connect.idle_connections = options.parallel;
  asio::io_context context(1);
  auto client = client::ApiClient::make(context.get_executor(), std::move(connect));
  if (!client) return fail(client.error());
  // Whoever cannot be reached at all is said at once, instead of being tried for ever.
  auto version = session->api->call(Call{"GET", "/version", "", "", ""});
  if (!version) return fail(version.error());
  int rc = code(Exit::internal);
  std::exception_ptr bug;
  asio::co_spawn(context, simulate(**client, options, given.keep), [&](std::exception_ptr e, int result) {
    bug = e;
    rc = result;
  });
  context.run();
  if (bug) std::rethrow_exception(bug);
  return rc;
}

}  // namespace trama::cli
