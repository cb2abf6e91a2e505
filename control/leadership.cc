// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/leadership.h"

namespace trama::control {

using async::awaitable;

Leadership::Leadership(async::asio::any_io_executor ex, store::Store& store, const CheckedOptions& options,
                       const pki::Authority& authority, ApiServer self)
    : ex_(ex), store_(store), options_(options), authority_(authority), self_(std::move(self)), tasks_(ex) {
  if (!options_.etcd) return;
  election_.emplace(store, self_.identity, options_.given.election);
  auto fence = [this](const store::Transaction& tx) { return election_->fence(tx); };
  fenced_.emplace(store, fence);
}

awaitable<void> Leadership::start() {
  if (!election_) {
    co_await begin();
    co_return;
  }
  Election::Callbacks callbacks;
  callbacks.begin = [this] { return begin(); };
  callbacks.end = [this] { return end(); };
  tasks_.spawn("election", election_->run(std::move(callbacks)));
  tasks_.spawn("presence", announce_api_server(store_, self_, options_.given.election.retry * 2));
}

awaitable<void> Leadership::stop() {
  co_await tasks_.stop();
  co_await end();
  if (!election_) co_return;
  co_await election_->release();
  co_await withdraw_api_server(store_, self_);
}

awaitable<void> Leadership::begin() {
  store::Store& store = fenced_ ? static_cast<store::Store&>(*fenced_) : store_;
  term_ = std::make_unique<async::TaskGroup>(ex_);
  loops_ = std::make_unique<LoopSet>(ex_, store, options_, authority_);
  loops_->start(*term_);
  term_->spawn("store upkeep", store.maintain());
  if (election_)
    term_->spawn("api servers", follow_api_servers(store, self_.address.port, options_.given.election.retry * 2));
  co_return;
}

awaitable<void> Leadership::end() {
  if (!term_) co_return;
  co_await term_->stop();
  loops_.reset();
  term_.reset();
}

std::string Leadership::leader() const {
  if (!election_ || election_->leads()) return fmt::format("this controller ({})", self_.identity);
  auto name = election_->leader();
  return name.empty() ? "nobody" : name;
}

std::string Leadership::metrics(bool scheduler) const {
  std::string out;
  if (loops_) out = scheduler ? loops_->scheduler_metrics() : loops_->controller_metrics();
  if (scheduler) return out;
  return out + fmt::format(
                   "# HELP trama_leader Whether the loops and the scheduler run here.\n# TYPE trama_leader gauge\n"
                   "trama_leader {}\n",
                   leads() ? 1 : 0);
}

}  // namespace trama::control
