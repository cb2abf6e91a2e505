// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/process_port.h"

#include <algorithm>

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/epoll.h>

#include "base/log.h"

namespace trama::netns {

using base::Error;
using base::Result;
using base::UniqueFd;

PodSpec pod_spec(const Sandbox& s, const Surroundings& where) {
  PodSpec spec;
  spec.uid = s.uid;
  spec.ns = s.ns, spec.name = s.name;
  spec.hostname = s.hostname;
  spec.netns_path = where.netns_path;
  spec.hosts_path = where.hosts_path;
  spec.resolv_conf_path = where.resolv_conf_path;
  spec.limits = s.limits;
  spec.restart = s.restart;
  for (const auto& c : s.containers) {
    ContainerSpec to;
    to.name = c.name;
    to.image = c.root;
    to.command = c.command;
    to.env = c.environment;
    to.working_dir = c.working_directory;
    to.mounts = c.mounts;
    to.held = c.held;
    spec.containers.push_back(std::move(to));
  }
  for (const auto& [name, volume] : s.volumes) spec.volumes[name] = {volume.scratch, volume.size_bytes};
  return spec;
}

Result<std::unique_ptr<PodProcessPort>> PodProcessPort::make(PodProcesses pods) {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::from_errno(errno, "create an epoll descriptor");
  return std::unique_ptr<PodProcessPort>(new PodProcessPort(std::move(pods), std::move(epoll)));
}

PodProcessPort::~PodProcessPort() {
  std::vector<std::thread> finished;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->changed = nullptr;
    for (auto& [uid, task] : shared_->tasks) {
      if (task.done)
        finished.push_back(std::move(task.thread));
      else
        task.thread.detach();
    }
  }
  for (auto& t : finished) t.join();
}

void PodProcessPort::on_change(std::function<void()> changed) {
  std::lock_guard lock(shared_->mutex);
  shared_->changed = std::move(changed);
}

PodProcessPort::Job PodProcessPort::job(const Uid& uid) {
  std::lock_guard lock(shared_->mutex);
  auto it = shared_->tasks.find(uid);
  return it == shared_->tasks.end() || it->second.done ? Job::none : it->second.job;
}

void PodProcessPort::collect() {
  std::vector<std::thread> finished;
  {
    std::lock_guard lock(shared_->mutex);
    for (auto it = shared_->tasks.begin(); it != shared_->tasks.end();) {
      if (!it->second.done) {
        ++it;
        continue;
      }
      finished.push_back(std::move(it->second.thread));
      it = shared_->tasks.erase(it);
    }
  }
  for (auto& t : finished) t.join();
}

Result<> PodProcessPort::in_background(const Uid& uid, Job kind, std::function<Result<>(PodProcesses&)> work) {
  collect();
  std::lock_guard lock(shared_->mutex);
  if (shared_->tasks.contains(uid)) return {};  // one thing after the other; the next pass asks again
  auto& task = shared_->tasks[uid];
  task.job = kind;
  task.thread = std::thread([shared = shared_, uid, kind, work = std::move(work)] {
    pthread_setname_np(pthread_self(), kind == Job::stop ? "pod-stop" : "pod-remove");
    auto r = work(shared->pods);
    if (!r) base::logger("netns")->warn("{}; trying again", r.error().to_string());
    std::lock_guard inner(shared->mutex);
    shared->tasks[uid].done = true;
    if (shared->changed) shared->changed();  // under the lock: on_change(nullptr) promises that no call comes any more
  });
  return {};
}

PodProcessPort::Seen PodProcessPort::look(const Uid& uid) {
  Seen seen;
  auto under_way = job(uid);
  seen.stopping = under_way == Job::stop;
  seen.leaving = under_way == Job::remove;
  auto status = pods_.read_status(uid);
  auto spec = pods_.read_spec(uid);
  if (spec) seen.limits = spec->limits;
  if (status)
    for (const auto& c : status->containers) seen.containers.push_back(c.state);

  auto pod = pods_.adopt(uid);
  if (pod) {
    seen.phase = ProcessPhase::running;
    if (spec && !spec->volumes.empty())
      if (auto volumes = pods_.volume_digests(uid)) seen.volumes = std::move(*volumes);
    if (running_.contains(uid) && running_[uid].pid == pod->pid) return seen;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = pod->pidfd.get();
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pod->pidfd.get(), &event);
    running_[uid] = std::move(*pod);
    return seen;
  }
  running_.erase(uid);
  if (!pod.error().is(std::errc::no_such_process)) {
    // It runs, but something about it does not fit; the planner sees what (its namespace has no name any more).
    seen.phase = ProcessPhase::running;
    return seen;
  }
  if (!status) return seen;
  seen.phase = ProcessPhase::finished;
  // An init that was killed took its containers along. They run again where the policy says that they must not end.
  bool lost = std::any_of(seen.containers.begin(), seen.containers.end(),
                          [](const ContainerState& c) { return c.reason == "ContainerStatusUnknown"; });
  if (lost && spec && spec->restart != RestartPolicy::never) seen.phase = ProcessPhase::none;
  return seen;
}

Result<std::map<Uid, ProcessPort::Seen>> PodProcessPort::observe() {
  collect();
  std::map<Uid, Seen> out;
  for (const auto& uid : pods_.list()) out.emplace(uid, look(uid));
  std::erase_if(running_, [&](const auto& r) { return !out.contains(r.first); });
  return out;
}

Result<> PodProcessPort::start(const Sandbox& sandbox, const Surroundings& where) {
  if (job(sandbox.uid) != Job::none)
    return Error::from_errno(EBUSY, fmt::format("start {}/{}", sandbox.ns, sandbox.name));
  auto started = pods_.start(pod_spec(sandbox, where), sandbox.volumes);
  if (!started && !started.error().is(std::errc::file_exists)) return std::move(started).error();
  return {};
}

Result<> PodProcessPort::set_limits(const Uid& uid, const Limits& limits) {
  if (job(uid) != Job::none) return {};
  return pods_.update_limits(uid, limits);
}

Result<> PodProcessPort::release(const Sandbox& sandbox, const Surroundings& where) {
  if (job(sandbox.uid) != Job::none) return {};
  return pods_.release(pod_spec(sandbox, where));
}

Result<> PodProcessPort::write_volumes(const Uid& uid, const Volumes& volumes) {
  if (job(uid) != Job::none) return {};
  return pods_.write_volumes(uid, volumes);
}

Result<> PodProcessPort::stop(const Uid& uid, std::chrono::seconds grace) {
  return in_background(uid, Job::stop, [uid, grace](PodProcesses& pods) { return pods.stop(uid, grace); });
}

Result<> PodProcessPort::remove(const Uid& uid) {
  auto all = pods_.list();
  if (std::find(all.begin(), all.end(), uid) == all.end()) return {};
  return in_background(uid, Job::remove, [uid](PodProcesses& pods) { return pods.remove(uid); });
}

UniqueFd PodProcessPort::namespace_of(const Uid& uid) {
  auto of = [](pid_t pid) {
    return UniqueFd(::open(fmt::format("/proc/{}/ns/net", pid).c_str(), O_RDONLY | O_CLOEXEC));
  };
  if (auto it = running_.find(uid); it != running_.end()) return of(it->second.pid);
  auto status = pods_.read_status(uid);
  if (status)
    for (const auto& c : status->containers)
      if (c.pid > 0) return of(c.pid);
  return {};
}

void PodProcessPort::drain() {
  epoll_event events[16];
  for (;;) {
    int n = ::epoll_wait(epoll_.get(), events, 16, 0);
    if (n <= 0) return;
    for (int i = 0; i < n; ++i) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, events[i].data.fd, nullptr);
  }
}

}  // namespace trama::netns
