// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/rooms.h"

#include <future>
#include <optional>

#include <boost/asio/post.hpp>

#include "base/async/worker.h"
#include "base/nft/session.h"
#include "netns/kernel_linux.h"
#include "netns/process_port.h"
#include "netns/reconciler.h"
#include "overlay/kernel_linux.h"
#include "servicelb/engine.h"
#include "servicelb/kernel_linux.h"
#include "servicelb/translation_hold.h"

namespace trama::agent {

namespace asio = async::asio;

// How soon damage to the packet filter is noticed at the latest: one cheap question for all rooms.
constexpr std::chrono::milliseconds kFilterPoll{50};
// What the rooms do of themselves, beside that question.
constexpr std::chrono::milliseconds kRoomPoll{500};

// Everything that lives on the worker stands here; it is made and destroyed there.
struct OnWorker {
  std::optional<nft::Session> session;
  std::optional<nft::Session> generation;  // only made here; the brain asks with it
  std::unique_ptr<netns::PodProcessPort> processes;
  std::unique_ptr<netns::KernelLinux> sandboxes;
  std::unique_ptr<overlay::KernelLinux> overlay;
  std::unique_ptr<servicelb::LinuxKernel> services;
  std::optional<servicelb::TranslationHold> hold;

  base::Result<> open(const RoomsOptions& rooms) {
    const netns::Paths& paths = rooms.paths;
    auto asking = nft::Session::open();
    if (!asking) return base::Error(asking.error()).in("nftables");
    generation.emplace(std::move(*asking));
    auto opened = nft::Session::open();
    if (!opened) return base::Error(opened.error()).in("nftables");
    session.emplace(std::move(*opened));
    auto cgroups = netns::CgroupRoot::open(paths.cgroup_root);
    if (!cgroups) return base::Error(cgroups.error()).in("control groups");
    netns::PodProcesses::Options options;
    options.run_dir = paths.run_dir;
    auto port = netns::PodProcessPort::make(netns::PodProcesses(options, *cgroups));
    if (!port) return port.error();
    processes = std::move(*port);
    netns::KernelLinux::Options how;
    how.paths = paths;
    auto boxes = netns::KernelLinux::open(how, *session, *processes);
    if (!boxes) return base::Error(boxes.error()).in("sandboxes");
    sandboxes = std::move(*boxes);
    overlay::KernelLinux::Options overlay_how;
    overlay_how.wireguard = rooms.wireguard;
    auto vxlan = overlay::KernelLinux::open(*session, overlay_how);
    if (!vxlan) return base::Error(vxlan.error()).in("overlay");
    overlay = std::move(*vxlan);
    auto balancer = servicelb::LinuxKernel::open(*session);
    if (!balancer) return base::Error(balancer.error()).in("services");
    services = std::move(*balancer);
    return {};
  }
  void close() {
    hold.reset();
    services.reset();
    overlay.reset();
    sandboxes.reset();
    processes.reset();
    session.reset();
    generation.reset();
  }
};

struct Rooms::Impl {
  Impl(asio::any_io_executor ex, RoomsOptions how, RoomsEvents tell)
      : brain(ex),
        options(std::move(how)),
        events(std::move(tell)),
        worker("trama-kernel"),
        want_sandboxes(ex),
        want_overlay(ex),
        tasks(ex) {}

  void build() {
    port = std::make_unique<SandboxPort>(*there.sandboxes, brain, events.observed, events.outcome);
    netns::Reconciler::Options sandbox_options;
    sandbox_options.paths = options.paths;
    sandbox_options.refresh = options.resync;
    sandbox_options.guard_poll = kRoomPoll;
    sandbox_loop = std::make_unique<netns::Reconciler>(want_sandboxes, *port, *there.sandboxes, worker.executor(),
                                                       sandbox_options, events.sandboxes);
    overlay::Reconciler::Options overlay_options;
    overlay_options.refresh = options.resync;
    overlay_options.guard_poll = kRoomPoll;
    overlay_loop = std::make_unique<overlay::Reconciler>(want_overlay, *there.overlay, worker.executor(),
                                                         overlay_options, events.overlay);
    service_loop = std::make_unique<servicelb::Reconciler>(*there.services, brain, worker.executor(), events.services,
                                                           servicelb::Reconciler::Options{kRoomPoll});
  }

  awaitable<void> watch_filter() {
    std::optional<std::uint32_t> seen;
    for (;;) {
      co_await async::sleep_for(kFilterPoll);
      auto now = there.generation->generation();
      if (now && seen == *now) continue;
      seen = now ? std::optional(*now) : std::nullopt;
      sandbox_loop->filter_moved();
      overlay_loop->filter_moved();
      service_loop->filter_moved();
    }
  }

  asio::any_io_executor brain;
  RoomsOptions options;
  RoomsEvents events;
  async::Worker worker;
  OnWorker there;
  async::Latest<netns::Desired> want_sandboxes;
  async::Latest<overlay::Desired> want_overlay;
  std::unique_ptr<SandboxPort> port;
  std::unique_ptr<netns::Reconciler> sandbox_loop;
  std::unique_ptr<overlay::Reconciler> overlay_loop;
  std::unique_ptr<servicelb::Reconciler> service_loop;
  async::TaskGroup tasks;
};

Rooms::Rooms(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

namespace {

// Blocks until `job` has run on the worker.
template <class Job>
void run_and_wait(async::Worker& worker, Job job) {
  std::promise<void> done;
  asio::post(worker.executor(), [&] {
    job();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace

base::Result<std::unique_ptr<Rooms>> Rooms::open(asio::any_io_executor brain, RoomsOptions options,
                                                 RoomsEvents events) {
  auto impl = std::make_unique<Impl>(brain, std::move(options), std::move(events));
  base::Result<> opened;
  run_and_wait(impl->worker, [&] {
    opened = impl->there.open(impl->options);
    if (!opened) impl->there.close();
  });
  if (!opened) return opened.error();
  impl->build();
  return std::unique_ptr<Rooms>(new Rooms(std::move(impl)));
}

Rooms::~Rooms() {
  impl_->sandbox_loop.reset();  // they refer to what is closed below
  impl_->overlay_loop.reset();
  impl_->service_loop.reset();
  impl_->port.reset();
  run_and_wait(impl_->worker, [&] { impl_->there.close(); });
}

void Rooms::start() {
  Impl& self = *impl_;
  self.tasks.spawn("sandboxes", self.sandbox_loop->run());
  self.tasks.spawn("overlay", self.overlay_loop->run());
  self.tasks.spawn("services", self.service_loop->run());
  self.tasks.spawn("packet filter", self.watch_filter());
}

awaitable<void> Rooms::stop() { co_await impl_->tasks.stop(); }

async::Latest<netns::Desired>& Rooms::sandboxes() { return impl_->want_sandboxes; }
async::Latest<overlay::Desired>& Rooms::overlay() { return impl_->want_overlay; }
servicelb::Reconciler& Rooms::services() { return *impl_->service_loop; }
void Rooms::wake_sandboxes() { impl_->sandbox_loop->wake(); }

awaitable<base::Result<netns::Observed>> Rooms::look_at_sandboxes() {
  auto job = [this] { return impl_->there.sandboxes->observe(); };
  co_return co_await async::run_on(impl_->worker.executor(), job);
}

awaitable<base::Result<overlay::Observed>> Rooms::look_at_overlay() {
  auto job = [this] { return impl_->there.overlay->observe(); };
  co_return co_await async::run_on(impl_->worker.executor(), job);
}

awaitable<base::Result<Rooms::BaseChains>> Rooms::look_at_base_chains(std::uint64_t known_epoch) {
  auto job = [this, known_epoch]() -> base::Result<BaseChains> {
    auto& session = *impl_->there.session;
    BaseChains out;
    auto epoch = session.epoch();
    if (!epoch) return epoch.error();
    out.epoch = *epoch;
    if (out.epoch == known_epoch) return out;
    auto chains = session.base_chains();
    if (!chains) return chains.error();
    out.chains = std::move(*chains);
    return out;
  };
  co_return co_await async::run_on(impl_->worker.executor(), job);
}

awaitable<base::Result<>> Rooms::hold_translation() {
  auto job = [this]() -> base::Result<> {
    auto held = servicelb::TranslationHold::open();
    if (!held) return held.error();
    impl_->there.hold.emplace(std::move(*held));
    return {};
  };
  co_return co_await async::run_on(impl_->worker.executor(), job);
}

awaitable<base::Result<>> Rooms::remove_services() {
  auto job = [this] {
    servicelb::Engine engine(*impl_->there.services);
    return engine.uninstall();
  };
  co_return co_await async::run_on(impl_->worker.executor(), job);
}

std::uint64_t Rooms::sandbox_passes() const { return impl_->sandbox_loop->passes(); }
std::uint64_t Rooms::sandbox_generation() const { return impl_->sandbox_loop->reconciled_generation(); }
std::uint64_t Rooms::overlay_passes() const { return impl_->overlay_loop->passes(); }
std::uint64_t Rooms::overlay_generation() const { return impl_->overlay_loop->reconciled_generation(); }

std::vector<std::string> Rooms::last_plans() const {
  std::vector<std::string> out;
  for (const auto& line : impl_->sandbox_loop->last_plan()) out.push_back("sandboxes: " + line);
  for (const auto& line : impl_->overlay_loop->last_plan()) out.push_back("overlay: " + line);
  for (const auto& line : impl_->service_loop->last_plan()) out.push_back("services: " + line);
  return out;
}

}  // namespace trama::agent
