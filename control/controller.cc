// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controller.h"

#include <algorithm>
#include <csignal>
#include <cstdio>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "control/account_tokens.h"
#include "control/client/kubeconfig.h"
#include "control/composition.h"
#include "control/controllers/bootstrap.h"
#include "control/health_port.h"
#include "control/pki/renewal.h"
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

awaitable<void> until_signal(asio::signal_set& signals) { co_await signals.async_wait(asio::use_awaitable); }

awaitable<void> until_flag(std::atomic<bool>* stop) {
  while (!stop->load()) co_await async::sleep_for(milliseconds(20));
}

awaitable<void> until_told(asio::signal_set* signals, std::atomic<bool>* stop) {
  using namespace asio::experimental::awaitable_operators;
  if (signals != nullptr && stop != nullptr) {
    auto a = until_signal(*signals);
    auto b = until_flag(stop);
    co_await (std::move(a) || std::move(b));
  } else if (signals != nullptr) {
    co_await until_signal(*signals);
  } else if (stop != nullptr) {
    co_await until_flag(stop);
  } else {
    for (;;) co_await async::sleep_for(std::chrono::hours(24));
  }
}

// One per process: a controller that is started again is another candidate.
std::string identity() {
  char host[256] = "";
  if (::gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') std::snprintf(host, sizeof host, "controller");
  return fmt::format("{}_{}", host, base::random_hex(4));
}

awaitable<Result<int>> live(CheckedOptions options) {
  auto ex = co_await asio::this_coro::executor;
  // Caught from the beginning: whoever is told READY may end us at once, and we end well.
  std::optional<asio::signal_set> signals;
  if (options.given.handle_signals) signals.emplace(ex, SIGTERM, SIGINT);
  ControllerProcess process(ex, options);
  auto started = co_await process.start();
  if (started) {
    fmt::print("trama controller ready at {}, kubeconfig {}\n", process.server_url(), process.kubeconfig_path());
    std::fflush(stdout);
    announce_ready(options.given.ready_fd);
    co_await until_told(signals ? &*signals : nullptr, options.given.stop);
    base::logger("controller")->info("stopping");
  }
  co_await process.stop();
  if (!started) co_return std::move(started).error();
  co_return 0;
}

}  // namespace

ControllerProcess::ControllerProcess(asio::any_io_executor ex, CheckedOptions options)
    : ex_(ex),
      options_(std::move(options)),
      authorities_changed_(ex),
      tasks_(ex),
      kubeconfig_(options_.given.data_dir + "/admin.kubeconfig") {}

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
  auto& names = names_;
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
  if (auto ok = pki::complete_switch(options_.given.data_dir + "/pki"); !ok) return ok;
  auto keys = pki::load_or_create_cluster_keys(options_.given.data_dir + "/pki", names, unix_now(),
                                               options_.given.own_certificate_life);
  if (!keys) return std::move(keys).error();
  keys_ = std::make_unique<pki::ClusterKeys>(std::move(*keys));
  return {};
}

Result<> ControllerProcess::write_admin_kubeconfig() const {
  client::Kubeconfig config;
  config.server = url_;
  config.ca_pem = keys_->trusted;
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
      return leadership_->metrics(scheduler) + (scheduler ? "" : store_->metrics());
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
  o.client_ca_pem = keys_->trusted;
  o.authorities = [this](server::Request request) { return tell_authorities(std::move(request)); };
  o.authenticate_token = [this](std::string token) -> std::optional<server::Identity> {
    if (pki::looks_like_jwt(token)) {
      auto account = verify_account_token(*store_, keys_->trusted, token, {}, std::chrono::system_clock::now());
      if (account) return account->identity;
      base::logger("controller")->debug("a token is refused: {}", account.error().to_string());
      return std::nullopt;
    }
    auto record = verify_join_token(*store_, token, std::chrono::system_clock::now());
    if (!record) return std::nullopt;
    server::Identity who;
    who.name = "system:bootstrap:" + record->id;
    who.groups = {"system:bootstrappers", "system:authenticated"};
    return who;
  };
  o.token_issuer = kTokenIssuer;
  o.grant_token = [this](const server::TokenGrant& grant) {
    const auto& ca = keys_->authority;
    return make_account_token(ca.key(), ca.pin(), grant, std::chrono::system_clock::now());
  };
  o.review_token = [this](const std::string& token, const std::vector<std::string>& audiences) {
    return verify_account_token(*store_, keys_->trusted, token, audiences, std::chrono::system_clock::now());
  };
  o.token_keys = [this] { return token_keys(keys_->trusted); };
  o.admissions = admissions(*allocator_);
  o.raw = [this](server::SubresourcePath path, server::Request request, server::Stream& stream) {
    return proxy_->handle(std::move(path), std::move(request), stream);
  };
  o.metrics = [this] { return leadership_->metrics(false) + leadership_->metrics(true) + store_->metrics(); };
  o.readiness = [this] { return "[+]leader: " + leadership_->leader() + "\n"; };
  auto made = server::Server::create(ex_, *store_, std::move(o));
  if (!made) return std::move(made).error();
  server_ = std::move(*made);
  for (auto& l : listeners_) {
    auto text = l.address.to_string();
    if (auto ok = server_->listen(std::move(l.socket)); !ok) return std::move(ok).error().in("serve on " + text);
  }
  return {};
}

awaitable<Result<>> ControllerProcess::open_store() {
  if (!options_.etcd) {
    auto store = store::open_sqlite_store(options_.store_path, ex_);
    if (!store) co_return std::move(store).error().in("open the store " + options_.store_path);
    store_ = std::move(*store);
    co_return Result<>();
  }
  auto store = co_await store::open_etcd_store(*options_.etcd, store::StoreOptions());
  if (!store) co_return std::move(store).error().in("open the store " + options_.given.store);
  store_ = std::move(*store);
  auto now = co_await store_->current();
  if (!now) co_return Error::text(now.error().message, std::errc::not_connected);
  // Never a CA of its own beside the cluster's: nodes that joined here would be strangers to all others.
  auto pki = options_.given.data_dir + "/pki";
  auto known = known_authorities(*store_);
  auto have = pki::read_authorities(pki);
  bool ours = have && std::any_of(have->pems.begin(), have->pems.end(),
                                  [&](const std::string& pem) { return known.trusts(pem); });
  if (known.pems.empty() || ours) co_return Result<>();
  co_return Error::text(
      fmt::format("{}: {} the CA of the cluster in {}. Copy ca.crt and ca.key from the pki folder of a "
                  "controller that has it (mode 0600), remove what else is there, and start again",
                  pki, have && !have->pems.empty() ? "this is not" : "there is not", options_.given.store));
}

// What must be there before anybody asks.
awaitable<Result<>> ControllerProcess::fill_store() {
  BootstrapFacts facts;
  auto told = advertised();
  facts.addresses = {told.ip};
  facts.port = told.port;
  facts.alone = !options_.etcd;
  auto defaults = co_await ensure_defaults(*store_, *allocator_, facts);
  if (!defaults) co_return defaults;
  auto own = pki::read_authorities(options_.given.data_dir + "/pki");
  if (!own) co_return std::move(own).error();
  // What one controller has in its files is the truth; several have it in common, and follow.
  auto published = co_await publish_authorities(*store_, std::move(*own), !options_.etcd);
  if (!published) co_return std::move(published).error().in("say which CAs are trusted");
  co_return apply_authorities();
}

awaitable<Result<>> ControllerProcess::start() {
  if (auto ok = base::make_directories(options_.given.data_dir, 0700); !ok) co_return ok;
  if (auto ok = open_sockets(); !ok) co_return ok;
  // Keys that can not be used are found before the store is touched; a shared store knows whether they are the right
  // ones.
  if (!options_.etcd)
    if (auto ok = open_keys(); !ok) co_return ok;
  if (auto ok = co_await open_store(); !ok) co_return ok;
  if (options_.etcd)
    if (auto ok = open_keys(); !ok) co_return ok;
  allocator_ = std::make_unique<ServiceAllocator>(options_.services);
  for (const auto& service : store_->list("services")) allocator_->remember(*service);
  auto remember = [this](const store::Event& e) {
    if (e.type != store::Event::Type::deleted) allocator_->remember(*e.object);
  };
  store_->observe("services", remember);
  if (auto ok = co_await fill_store(); !ok) co_return ok;
  proxy_ = std::make_unique<AgentProxy>(ex_, *store_, *keys_, options_.given.agent_port);
  ApiServer self{identity(), advertised(), [this] { return own_authorities(); }};
  leadership_ = std::make_unique<Leadership>(ex_, *store_, options_, keys_->authority, self);
  co_await leadership_->start();
  if (auto ok = open_health_ports(); !ok) co_return ok;
  if (auto ok = serve(); !ok) co_return ok;
  auto notice = [this](const store::Event& e) {
    if (e.object->key == kCaConfigMap) authorities_changed_.set();
  };
  store_->observe("configmaps", notice);
  tasks_.spawn("renew certificates", renew_keys());
  tasks_.spawn("follow the authorities", follow_authorities());
  co_return write_admin_kubeconfig();
}

awaitable<void> ControllerProcess::renew_keys() {
  auto log = base::logger("controller");
  for (;;) {
    auto pause = milliseconds(std::chrono::hours(1));
    auto retry = pause;
    for (const auto* pair : {&keys_->serving, &keys_->admin, &keys_->controller}) {
      auto certificate = pki::Certificate::from_pem(pair->certificate_pem);
      if (!certificate) continue;
      pause = std::min(pause, pki::until_renewal(*certificate, pki::unix_time()));
      retry = std::min(retry, pki::renewal_pause(*certificate));
    }
    co_await async::sleep_for(std::max(pause, milliseconds(100)));
    if (pause == milliseconds(std::chrono::hours(1))) continue;
    auto renewed = use_fresh_keys();
    if (renewed) {
      log->info("renewed the controller's own certificates");
      continue;
    }
    log->error("renew the controller's own certificates: {}", renewed.error().to_string());
    co_await async::sleep_for(retry);
  }
}

awaitable<void> ControllerProcess::stop() {
  if (server_) co_await server_->stop();
  co_await tasks_.stop();
  if (leadership_) co_await leadership_->stop();
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
