// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/reconciler.h"

#include <set>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <fcntl.h>
#include <linux/rtnetlink.h>

#include "base/async/task_group.h"
#include "base/netlink/monitor.h"
#include "netns/file_watch.h"

namespace trama::netns {

using async::awaitable;
using async::asio::any_io_executor;
using async::asio::posix::stream_descriptor;

struct Reconciler::Core {
  // Remembers of each look which directories matter. The rest passes through.
  struct Tap {
    Kernel& kernel;
    const Paths& paths;
    std::set<std::string> directories;

    base::Result<Observed> observe() {
      auto seen = kernel.observe();
      if (!seen) return seen;
      std::set<std::string> all{paths.netns_dir};
      for (const auto& [uid, s] : seen->sandboxes)
        if (!s.network.netns_name.empty()) all.insert(paths.etc_netns_dir + "/" + s.network.netns_name);
      directories = std::move(all);
      return seen;
    }
    base::Result<> apply(const Op& op) { return kernel.apply(op); }
  };
  using Loop = async::Reconciler<Desired, Tap>;

  Core(async::Latest<Desired>& w, Kernel& kernel, Hints& h, any_io_executor on, Options o, OnReport report)
      : want(w),
        hints(h),
        worker(std::move(on)),
        options(std::move(o)),
        on_report(std::move(report)),
        tap{kernel, options.paths, {}},
        loop(w, tap, worker, {"netns", options.refresh, std::chrono::milliseconds(0)},
             [this](const async::PassReport& r) { finished(r); }) {}
  ~Core() { hints.on_change(nullptr); }

  void finished(const async::PassReport& report) {
    // What was done shows in the next look; failures have the loop's own pace.
    if (files) files->watch(tap.directories);
    if (report.operations > 0 && report.failures.empty() && dirty) dirty->set();
    on_report(report);
  }

  awaitable<void> pace() {
    for (;;) {
      co_await dirty->wait();
      co_await async::sleep_for(options.gather);
      loop.wake();
      co_await async::sleep_for(options.pause);
    }
  }

  bool concerns_us(const netlink::Monitor::Seen& seen) {
    if (seen.overrun) {
      hints.inside_changed(std::nullopt);
      return true;
    }
    if (seen.nsid) return hints.inside_changed(seen.nsid);
    switch (seen.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH: return hints.is_ours(seen.link);
      default: return true;  // routes may take the place of ours whatever their protocol; switches
    }
  }

  awaitable<void> watch_links() {
    auto ex = co_await async::asio::this_coro::executor;
    std::vector<unsigned> groups{RTNLGRP_LINK,       RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR,  RTNLGRP_IPV6_IFADDR,
                                 RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};
    auto monitor = netlink::Monitor::open(ex, groups, netlink::Monitor::Scope::with_children);
    if (!monitor) {
      base::logger("netns")->warn("{}; changes by others are noticed every {} ms only", monitor.error().to_string(),
                                  options.refresh.count());
      co_return;
    }
    auto on_event = [this](netlink::Monitor::Seen seen) {
      if (concerns_us(seen)) dirty->set();
    };
    co_await monitor->run(on_event);
  }

  // Wakes when `fd` becomes readable; the descriptor is duplicated, its owner keeps it.
  awaitable<void> watch_fd(int fd, std::function<bool()> drain) {
    auto ex = co_await async::asio::this_coro::executor;
    int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) co_return;
    stream_descriptor readable(ex, copy);
    for (;;) {
      auto [ec] = co_await readable.async_wait(stream_descriptor::wait_read, async::kTuple);
      if (ec) throw boost::system::system_error(ec);
      if (drain()) dirty->set();
    }
  }

  awaitable<void> watch_guard() {
    auto ask = [this] { return hints.guard_touched(); };
    moved.emplace(co_await async::asio::this_coro::executor);
    for (;;) {
      (void)co_await moved->wait_for(options.guard_poll);
      if (!want.get()) continue;
      auto touched = co_await async::run_on(worker, ask);
      if (!touched || *touched) loop.wake();
    }
  }

  awaitable<void> run() {
    auto ex = co_await async::asio::this_coro::executor;
    dirty = std::make_shared<async::Event>(ex);
    std::weak_ptr<async::Event> to = dirty;
    auto changed = [ex, to] {
      auto tell = [to] {
        if (auto event = to.lock()) event->set();
      };
      async::asio::post(ex, tell);
    };
    hints.on_change(changed);
    auto opened = FileWatch::open();
    if (opened)
      files = std::make_unique<FileWatch>(std::move(*opened));
    else
      base::logger("netns")->warn("{}", opened.error().to_string());

    auto on_files = [this] { return files->drain(); };
    auto on_ended = [this] {
      hints.drain();
      return true;
    };
    async::TaskGroup watchers(ex);
    watchers.spawn("pace of the sandboxes", pace());
    watchers.spawn("links of the sandboxes", watch_links());
    watchers.spawn("guard of the sandboxes", watch_guard());
    if (files) watchers.spawn("files of the sandboxes", watch_fd(files->fd(), on_files));
    if (hints.ended_fd() >= 0) watchers.spawn("ends of the sandboxes", watch_fd(hints.ended_fd(), on_ended));
    std::exception_ptr thrown;
    try {
      co_await loop.run();
    } catch (...) {
      thrown = std::current_exception();
    }
    // Cancelled: the watchers still have to be waited for.
    co_await async::asio::this_coro::reset_cancellation_state();
    co_await watchers.stop();
    if (thrown) std::rethrow_exception(thrown);
  }

  async::Latest<Desired>& want;
  Hints& hints;
  any_io_executor worker;
  Options options;
  OnReport on_report;
  Tap tap;
  Loop loop;
  std::optional<async::Event> moved;  // while somebody waits for it
  std::shared_ptr<async::Event> dirty;
  std::unique_ptr<FileWatch> files;
};

Reconciler::Reconciler(async::Latest<Desired>& want, Kernel& kernel, Hints& hints, any_io_executor worker,
                       Options options, OnReport on_report)
    : core_(std::make_unique<Core>(want, kernel, hints, std::move(worker), std::move(options), std::move(on_report))) {}
Reconciler::~Reconciler() = default;

awaitable<void> Reconciler::run() { co_await core_->run(); }
void Reconciler::wake() { core_->loop.wake(); }
void Reconciler::filter_moved() {
  if (core_->moved) core_->moved->set();
}
std::uint64_t Reconciler::reconciled_generation() const { return core_->loop.reconciled_generation(); }
std::uint64_t Reconciler::passes() const { return core_->loop.passes(); }
const std::vector<std::string>& Reconciler::last_plan() const { return core_->loop.last_plan(); }

}  // namespace trama::netns
