// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/reconciler.h"

#include "base/async/run_on.h"
#include "servicelb/engine.h"

namespace trama::servicelb {
namespace {
constexpr std::chrono::milliseconds kUnsettled{50};  // to the next pass when the last one has left something to do
}  // namespace

struct Reconciler::Impl {
  Impl(Kernel& kernel, async::asio::any_io_executor brain, async::asio::any_io_executor worker_thread,
       std::function<void(const Report&)> on_report, Options o)
      : engine(kernel),
        worker(std::move(worker_thread)),
        wake(std::move(brain)),
        report(std::move(on_report)),
        options(o) {}

  Engine engine;  // touched on the worker only
  async::asio::any_io_executor worker;
  async::Event wake;
  std::function<void(const Report&)> report;
  Options options;
  std::map<ServiceKey, std::optional<Service>> pending;
  std::optional<NodeFacts> node;
  bool synced = false, look = false;
  std::uint64_t told = 0, programmed = 0;
  std::vector<std::string> last_plan, last_failures;

  PassInput take() {
    PassInput in;
    in.changes.reserve(pending.size());
    for (auto& [key, service] : pending) in.changes.push_back(Change{key, std::move(service)});
    pending.clear();
    in.node = std::exchange(node, std::nullopt);
    in.look = std::exchange(look, false);
    return in;
  }
};

Reconciler::Reconciler(Kernel& kernel, async::asio::any_io_executor brain, async::asio::any_io_executor worker,
                       std::function<void(const Report&)> report, Options options)
    : impl_(std::make_unique<Impl>(kernel, std::move(brain), std::move(worker), std::move(report), options)) {}
Reconciler::~Reconciler() = default;

std::uint64_t Reconciler::update(const ServiceKey& key, std::optional<Service> service) {
  impl_->pending[key] = std::move(service);
  if (impl_->synced) impl_->wake.set();
  return ++impl_->told;
}
std::uint64_t Reconciler::set_node(NodeFacts facts) {
  impl_->node = std::move(facts);
  if (impl_->synced) impl_->wake.set();
  return ++impl_->told;
}
void Reconciler::synced() {
  impl_->synced = true;
  impl_->wake.set();
}
std::uint64_t Reconciler::generation() const { return impl_->told; }
std::uint64_t Reconciler::programmed_generation() const { return impl_->programmed; }
std::vector<std::string> Reconciler::last_plan() const { return impl_->last_plan; }
async::awaitable<base::Result<std::optional<ServiceView>>> Reconciler::describe(ServiceKey key) {
  auto job = [this, key] { return impl_->engine.describe(key); };
  co_return co_await async::run_on(impl_->worker, job);
}
async::awaitable<base::Result<std::vector<ConnectionCount>>> Reconciler::connections() {
  auto job = [this] { return impl_->engine.connections(); };
  co_return co_await async::run_on(impl_->worker, job);
}
void Reconciler::wake() {
  impl_->look = true;
  impl_->wake.set();
}

void Reconciler::filter_moved() { impl_->wake.set(); }

async::awaitable<void> Reconciler::run() {
  Impl& self = *impl_;
  bool unsettled = true;
  for (;;) {
    auto pause = unsettled ? std::min(kUnsettled, self.options.poll) : self.options.poll;
    (void)co_await self.wake.wait_for(pause);
    if (!self.synced) continue;
    std::uint64_t generation = self.told;  // before taking: what is told meanwhile belongs to the next pass
    PassInput input = self.take();
    bool told = !input.changes.empty() || input.node || input.look;
    auto job = [&self, &input] { return self.engine.pass(std::move(input), Clock::now()); };
    PassOutcome out = co_await async::run_on(self.worker, job);
    unsettled = out.unsettled;
    if (out.committed) self.programmed = generation;
    if (!out.plan.empty()) self.last_plan = out.plan;
    bool news = told || out.operations > 0 || out.failures != self.last_failures;
    self.last_failures = out.failures;
    if (!news || !self.report) continue;
    Report report;
    report.generation = self.programmed;
    report.failures = std::move(out.failures);
    report.operations = out.operations;
    report.healed = out.healed;
    report.elements = out.elements;
    report.took = out.took;
    report.troubled = std::move(out.troubled);
    self.report(report);
  }
}

}  // namespace trama::servicelb
