// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controller.h"

#include <csignal>
#include <cstdio>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "base/file.h"
#include "control/client/kubeconfig.h"
#include "control/composition.h"
#include "control/health_port.h"
#include "control/store/memory_store.h"

namespace trama::control {

using async::awaitable;
using base::Error;
using base::Result;
namespace asio = async::asio;

namespace {

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

awaitable<void> until_signal() {
  auto ex = co_await asio::this_coro::executor;
  asio::signal_set signals(ex, SIGTERM, SIGINT);
  co_await signals.async_wait(asio::use_awaitable);
}

awaitable<void> until_flag(std::atomic<bool>* stop) {
  while (!stop->load()) co_await async::sleep_for(milliseconds(20));
}

awaitable<void> until_told(bool signals, std::atomic<bool>* stop) {
  using namespace asio::experimental::awaitable_operators;
  if (signals && stop != nullptr) {
    auto a = until_signal();
    auto b = until_flag(stop);
    co_await (std::move(a) || std::move(b));
  } else if (signals) {
    co_await until_signal();
  } else if (stop != nullptr) {
    co_await until_flag(stop);
  } else {
    for (;;) co_await async::sleep_for(std::chrono::hours(24));
  }
}

awaitable<Result<int>> live(CheckedOptions options) {
  auto ex = co_await asio::this_coro::executor;
  ControllerProcess process(ex, options);
  auto started = co_await process.start();
  if (started) {
    fmt::print("trama controller ready at {}, kubeconfig {}\n", process.server_url(), process.kubeconfig_path());
    std::fflush(stdout);
    announce_ready(options.given.ready_fd);
    co_await until_told(options.given.handle_signals, options.given.stop);
    base::logger("controller")->info("stopping");
  }
  co_await process.stop();
  if (!started) co_return std::move(started).error();
  co_return 0;
}

}  // namespace

ControllerProcess::ControllerProcess(asio::any_io_executor ex, CheckedOptions options)
    : ex_(ex), options_(std::move(options)), tasks_(ex), kubeconfig_(options_.given.data_dir + "/admin.kubeconfig") {}

Result<> ControllerProcess::open_sockets() {
  if (options_.given.inherit_sockets) {
    auto inherited = inherited_listeners();
    if (!inherited) return std::move(inherited).error();
    listeners_ = std::move(*inherited);
  }
  for (const auto& address : options_.listen) {
    auto opened = open_listener(address);
    if (!opened) return std::move(opened).error();
    listeners_.push_back(std::move(*opened));
  }
  if (listeners_.empty()) return Error::text("nothing to listen on: give --listen or hand sockets over (LISTEN_FDS)");
  for (const auto& l : listeners_) addresses_.push_back(l.address);
  // The administrator's own machine first, then any concrete address.
  auto here = advertised();
  for (const auto& a : addresses_) {
    if (!a.ip.is_loopback() && !a.ip.is_unspecified()) continue;
    here = a;
    if (a.ip.is_unspecified()) here.ip = a.ip.is_v4() ? base::Ip::v4(127, 0, 0, 1) : *base::Ip::parse("::1");
    break;
  }
  url_ = "https://" + here.to_string();
  return {};
}

base::IpPort ControllerProcess::advertised() const {
  if (auto told = parse_address(options_.given.advertise); told) return *told;
  for (const auto& a : addresses_)
    if (!a.ip.is_unspecified() && !a.ip.is_loopback()) return a;
  auto local = local_addresses();
  if (!local.empty() && addresses_.front().ip.is_unspecified()) return {local.front(), addresses_.front().port};
  return addresses_.front();
}

Result<> ControllerProcess::open_keys() {
  pki::ServingNames names;
  auto add = [&names](const base::Ip& ip) {
    if (!ip.is_unspecified()) names.ips.push_back(ip);
  };
  for (const auto& a : addresses_) add(a.ip);
  add(advertised().ip);
  for (const auto& ip : local_addresses()) add(ip);
  for (const auto& c : options_.services.addresses) add(c.address().plus(1));
  for (const auto& text : options_.given.certificate_names) {
    if (auto ip = base::Ip::parse(text))
      add(*ip);
    else
      names.dns.push_back(text);
  }
  auto keys = pki::load_or_create_cluster_keys(options_.given.data_dir + "/pki", names, unix_now());
  if (!keys) return std::move(keys).error();
  keys_ = std::make_unique<pki::ClusterKeys>(std::move(*keys));
  return {};
}

Result<> ControllerProcess::write_admin_kubeconfig() const {
  client::Kubeconfig config;
  config.server = url_;
  config.ca_pem = keys_->authority.certificate_pem();
  config.certificate_pem = keys_->admin.certificate_pem;
  config.key_pem = keys_->admin.key_pem;
  auto done = client::write_kubeconfig(kubeconfig_, config);
  if (!done) return std::move(done).error().in(kubeconfig_);
  return {};
}

Result<> ControllerProcess::open_health_ports() {
  auto open = [this](std::uint16_t port, bool scheduler) -> Result<> {
    if (port == 0) return {};
    auto listener = open_listener({base::Ip::v4(127, 0, 0, 1), port});
    if (!listener) return std::move(listener).error();
    HealthPort answers;
    answers.metrics = [this, scheduler] {
      return scheduler ? loops_->scheduler_metrics() : loops_->controller_metrics();
    };
    tasks_.spawn("health port", serve_health(tasks_, std::move(listener->socket), std::move(answers)));
    return {};
  };
  if (auto ok = open(options_.given.scheduler_port, true); !ok) return ok;
  return open(options_.given.controllers_port, false);
}

Result<> ControllerProcess::serve() {
  server::Options o;
  o.certificate_pem = keys_->serving.certificate_pem;
  o.key_pem = keys_->serving.key_pem;
  o.client_ca_pem = keys_->authority.certificate_pem();
  o.authenticate_token = [this](std::string token) -> std::optional<server::Identity> {
    auto record = verify_join_token(*store_, token, std::chrono::system_clock::now());
    if (!record) return std::nullopt;
    server::Identity who;
    who.name = "system:bootstrap:" + record->id;
    who.groups = {"system:bootstrappers", "system:authenticated"};
    return who;
  };
  o.admissions = admissions(loops_->allocator());
  o.raw = [this](server::SubresourcePath path, server::Request request, server::Stream& stream) {
    return proxy_->handle(std::move(path), std::move(request), stream);
  };
  o.metrics = [this] { return loops_->controller_metrics() + loops_->scheduler_metrics(); };
  auto made = server::Server::create(ex_, *store_, std::move(o));
  if (!made) return std::move(made).error();
  server_ = std::move(*made);
  for (auto& l : listeners_) {
    auto text = l.address.to_string();
    if (auto ok = server_->listen(std::move(l.socket)); !ok) return std::move(ok).error().in("serve on " + text);
  }
  return {};
}

awaitable<Result<>> ControllerProcess::start() {
  if (auto ok = base::make_directories(options_.given.data_dir, 0700); !ok) co_return ok;
  if (auto ok = open_sockets(); !ok) co_return ok;
  if (auto ok = open_keys(); !ok) co_return ok;
  auto store = store::open_sqlite_store(options_.store_path, ex_);
  if (!store) co_return std::move(store).error().in("open the store " + options_.store_path);
  store_ = std::move(*store);
  loops_ = std::make_unique<LoopSet>(ex_, *store_, options_, keys_->authority);
  proxy_ = std::make_unique<AgentProxy>(ex_, *store_, *keys_, options_.given.agent_port);
  BootstrapFacts facts;
  auto told = advertised();
  facts.addresses = {told.ip};
  facts.port = told.port;
  auto defaults = co_await ensure_defaults(*store_, loops_->allocator(), facts);
  if (!defaults) co_return defaults;
  loops_->start(tasks_);
  if (auto ok = open_health_ports(); !ok) co_return ok;
  if (auto ok = serve(); !ok) co_return ok;
  co_return write_admin_kubeconfig();
}

awaitable<void> ControllerProcess::stop() {
  if (server_) co_await server_->stop();
  co_await tasks_.stop();
  if (store_) co_await store_->close();
}

Result<int> run_controller(ControllerOptions options) {
  auto checked = check_options(std::move(options));
  if (!checked) return std::move(checked).error();
  asio::io_context io(1);
  Result<int> outcome = Error::text("the controller ended without a reason", std::errc::state_not_recoverable);
  auto task = live(std::move(*checked));
  asio::co_spawn(io, std::move(task), [&outcome, &io](std::exception_ptr e, Result<int> result) {
    if (e) std::rethrow_exception(e);
    outcome = std::move(result);
    io.stop();
  });
  io.run();
  return outcome;
}

}  // namespace trama::control
