// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/pod_watch.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/inotify.h>

#include "base/async/run_on.h"
#include "base/file.h"
#include "base/log.h"

namespace trama::agent {

namespace asio = async::asio;
using async::kTuple;

namespace {
constexpr auto kLookAnyway = std::chrono::milliseconds(5'000);
constexpr std::size_t kEventBuffer = 16 * 1024;
}  // namespace

struct PodWatch::Watcher {
  explicit Watcher(asio::any_io_executor ex) : fd(ex) {}
  asio::posix::stream_descriptor fd;
  int parent = -1;
  alignas(inotify_event) char buffer[kEventBuffer];
};

PodWatch::PodWatch(asio::any_io_executor brain, asio::any_io_executor files, const netns::PodProcesses& pods,
                   OnStatus on_status, OnExit on_exit)
    : brain_(brain),
      files_(std::move(files)),
      pods_(pods),
      on_status_(std::move(on_status)),
      on_exit_(std::move(on_exit)),
      wake_(brain),
      exits_(brain) {}

PodWatch::~PodWatch() = default;

base::Result<> PodWatch::open() {
  auto dir = pods_.options().run_dir + "/pods";
  if (auto ok = base::make_directories(dir, 0700); !ok) return ok;
  base::UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) return base::Error::from_errno(errno, "inotify");
  watcher_ = std::make_unique<Watcher>(brain_);
  watcher_->parent = ::inotify_add_watch(fd.get(), dir.c_str(), IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR);
  if (watcher_->parent < 0) return base::Error::from_errno(errno, "watch " + dir);
  watcher_->fd.assign(fd.release());
  return {};
}

void PodWatch::look(const netns::Uid& uid) {
  dirty_.insert(uid);
  wake_.set();
}

const netns::PodStatus* PodWatch::status(const netns::Uid& uid) const {
  auto it = statuses_.find(uid);
  return it == statuses_.end() ? nullptr : &it->second;
}

void PodWatch::watch_directory(const netns::Uid& uid) {
  if (!watcher_ || watches_.contains(uid)) return;
  int wd = ::inotify_add_watch(watcher_->fd.native_handle(), pods_.directory(uid).c_str(),
                               IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR);
  if (wd < 0) return;
  watches_[uid] = wd;
  watched_[wd] = uid;
}

awaitable<void> PodWatch::read_events() {
  for (;;) {
    auto [ec, n] = co_await watcher_->fd.async_read_some(asio::buffer(watcher_->buffer), kTuple);
    if (ec == asio::error::operation_aborted) co_return;
    if (ec) {
      co_await async::sleep_for(kLookAnyway);
      continue;
    }
    for (std::size_t at = 0; at + sizeof(inotify_event) <= n;) {
      const auto* event = reinterpret_cast<const inotify_event*>(watcher_->buffer + at);
      at += sizeof(inotify_event) + event->len;
      if (event->mask & IN_Q_OVERFLOW) {
        for (const auto& uid : pods_.list()) look(uid);
      } else if (event->mask & IN_IGNORED) {
        if (auto it = watched_.find(event->wd); it != watched_.end()) {
          watches_.erase(it->second);
          watched_.erase(it);
        }
      } else if (event->wd == watcher_->parent && event->len > 0) {
        look(event->name);
      } else if (auto it = watched_.find(event->wd); it != watched_.end()) {
        look(it->second);
      }
    }
  }
}

awaitable<void> PodWatch::read_one(netns::Uid uid) {
  watch_directory(uid);  // before reading: a report that comes in between is seen as an event
  struct Look {
    base::Result<netns::PodStatus> status;
    std::shared_ptr<netns::RunningPod> running;
  };
  bool wait_for_exit = !awaited_.contains(uid);
  auto job = [this, uid, wait_for_exit] {
    Look out;
    out.status = pods_.read_status(uid);
    if (!wait_for_exit || !out.status || out.status->finished) return out;
    if (auto pod = pods_.adopt(uid)) out.running = std::make_shared<netns::RunningPod>(std::move(*pod));
    return out;
  };
  auto seen = co_await async::run_on(files_, job);
  if (!seen.status) {
    if (seen.status.error().is(std::errc::no_such_file_or_directory) && statuses_.erase(uid) > 0)
      on_status_(uid, nullptr);
    co_return;
  }
  if (seen.running && awaited_.insert(uid).second) exits_.spawn("pod exit", await_exit(uid, seen.running));
  auto [it, fresh] = statuses_.try_emplace(uid);
  if (!fresh && it->second == *seen.status) co_return;
  it->second = std::move(*seen.status);
  on_status_(uid, &it->second);
}

awaitable<void> PodWatch::await_exit(netns::Uid uid, std::shared_ptr<netns::RunningPod> pod) {
  asio::posix::stream_descriptor pidfd(brain_, pod->pidfd.release());
  auto [ec] = co_await pidfd.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
  awaited_.erase(uid);
  if (ec) co_return;
  look(uid);
  on_exit_(uid);
}

awaitable<void> PodWatch::run() {
  using namespace asio::experimental::awaitable_operators;
  if (auto ok = open(); !ok)
    base::logger("pods")->warn("no instant reports of the pods' processes: {}; looking every {} s",
                               ok.error().to_string(), kLookAnyway.count() / 1000);
  auto looking = [this]() -> awaitable<void> {
    for (const auto& uid : pods_.list()) dirty_.insert(uid);
    for (;;) {
      while (!dirty_.empty()) {
        auto uid = *dirty_.begin();
        dirty_.erase(dirty_.begin());
        co_await read_one(uid);
      }
      bool woken = co_await wake_.wait_for(kLookAnyway);
      if (!woken)
        for (const auto& uid : pods_.list()) dirty_.insert(uid);
    }
  };
  auto events = watcher_ && watcher_->fd.is_open() ? read_events() : async::sleep_for(std::chrono::hours(24 * 365));
  auto looks = looking();
  co_await (std::move(looks) && std::move(events));
}

awaitable<void> PodWatch::stop() { co_await exits_.stop(); }

}  // namespace trama::agent
