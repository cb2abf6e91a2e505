// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/pod_manager.h"

#include <algorithm>
#include <csignal>

#include <sys/syscall.h>
#include <unistd.h>

#include "agent/compute/pod_status.h"
#include "control/api/quantity.h"

namespace trama::agent {

using netns::ContainerPhase;

namespace {

// The API knows this run of the container already.
bool is_told(const api::Object& pod, const netns::ContainerState& state) {
  for (const auto& item : api::array_at(pod.body, "status.containerStatuses"))
    if (item.is_object() && api::text_at(item.get_object(), "name") == state.name)
      return api::text_at(item.get_object(), "state.running.startedAt") == whole_seconds(state.started_at);
  return false;
}

}  // namespace

PodManager::PodManager(async::asio::any_io_executor brain, PodManagerOptions options, PodManagerParts parts)
    : brain_(brain), options_(std::move(options)), parts_(parts), log_(base::logger("pods")), tasks_(brain) {}

awaitable<void> PodManager::stop() { co_await tasks_.stop(); }

void PodManager::adopt(const netns::Observed& observed) {
  observed_ = std::make_shared<const netns::Observed>(observed);
  for (const auto& [uid, box] : observed.sandboxes) {
    for (const auto& ip : pool_.adopt(uid, box.network.addresses))
      log_->error("pod {}/{} has address {}, which another pod has too", box.ns, box.name, ip.to_string());
    if (box.netns && box.link) networked_.insert(uid);
  }
  pool_.adopted(std::chrono::steady_clock::now());
  adopted_ = true;
  if (!observed.sandboxes.empty()) log_->info("adopted {} sandboxes", observed.sandboxes.size());
}

void PodManager::set_cidrs(std::vector<base::Cidr> cidrs) {
  if (cidrs == pool_.cidrs()) return;
  pool_.set_cidrs(std::move(cidrs));
  pool_.adopted(std::chrono::steady_clock::now());
}

void PodManager::set_mtu(unsigned mtu) { mtu_ = mtu; }

const netns::ObservedSandbox* PodManager::seen(const netns::Uid& uid) const {
  if (!observed_) return nullptr;
  auto it = observed_->sandboxes.find(uid);
  return it == observed_->sandboxes.end() ? nullptr : &it->second;
}

// Before anything is computed: what was not asked for is not known.
void PodManager::want_sources() {
  SourceNames all;
  for (const auto& [name, pod] : parts_.view.pods()) {
    if (api::text_at(pod->body, "spec.nodeName") != options_.node_name || is_terminal(*pod)) continue;
    auto names = named_sources(*pod);
    all.objects.merge(names.objects);
    all.tokens.merge(names.tokens);
  }
  parts_.sources.want(all.objects);
  parts_.tokens.want(all.tokens);
}

void PodManager::update(bool service_names) {
  if (!adopted_ || mtu_ == 0) return;
  want_sources();
  if (service_names || !names_) names_ = std::make_unique<ServiceNames>(parts_.view.services(), options_.dns.domain);
  SandboxContext context;
  context.node_name = options_.node_name;
  context.netns_prefix = options_.netns_prefix;
  context.host_ips = options_.host_ips;
  context.mtu = mtu_;
  context.node_resolv_conf = options_.node_resolv_conf;
  context.dns = options_.dns;
  context.existing = asked_;
  context.sources.object = [this](const api::Key& key) { return parts_.sources.lookup(key); };
  context.sources.token = [this](const TokenWant& want) { return parts_.tokens.lookup(want); };
  if (auto service = parts_.view.service({"default", "kubernetes"})) {
    context.api_host = api::text_at(service->body, "spec.clusterIP");
    for (const auto& port : api::array_at(service->body, "spec.ports"))
      if (port.is_object() && context.api_port == 0)
        context.api_port = static_cast<std::uint16_t>(api::int_at(port.get_object(), "port"));
  }
  if (auto node = parts_.view.node(options_.node_name)) {
    const auto& allocatable = api::object_at(node->body, "status.allocatable");
    if (auto* cpu = allocatable.if_contains("cpu")) context.node_cpu_milli = api::milli_of(*cpu);
    if (auto* memory = allocatable.if_contains("memory")) context.node_memory_bytes = api::units_of(*memory);
  }
  for (const auto& [uid, box] : observed_->sandboxes)
    if (!box.leaving) context.existing.insert(uid);
  auto now = std::chrono::steady_clock::now();
  AddressSource addresses = [&](const api::Object& pod) {
    std::vector<base::Ip> had;
    for (const auto& value : api::array_at(pod.body, "status.podIPs"))
      if (value.is_object())
        if (auto ip = base::Ip::parse(api::text_at(value.get_object(), "ip"))) had.push_back(*ip);
    return pool_.assign(pod.uid, now, had);
  };
  auto out = compute_sandboxes(parts_.view.pods(), *names_, context, addresses);
  troubles_ = std::move(out.troubles);
  waits_ = std::move(out.waits);

  // A saved view may be older than the sandboxes: what it does not know is nobody's to remove before the server spoke.
  bool unknown = std::any_of(observed_->sandboxes.begin(), observed_->sandboxes.end(),
                             [&](const auto& box) { return !out.desired.sandboxes.contains(box.first); });
  holding_ = !parts_.view.synced(Kind::pods) && unknown;
  if (!holding_ && (!published_ || !(*published_ == out.desired))) {
    published_ = std::make_shared<const netns::Desired>(std::move(out.desired));
    published_generation_ = parts_.want.publish(published_);
    for (const auto& [uid, box] : published_->sandboxes) {
      asked_.insert(uid);
      if (box.stop_with_grace) stop_generation_.try_emplace(uid, published_generation_);
    }
  }
  forget_gone();
  for (const auto& [name, pod] : parts_.view.pods())
    if (api::text_at(pod->body, "spec.nodeName") == options_.node_name) pods_[pod->uid] = pod;
  for (const auto& [uid, pod] : pods_) {
    if (out.nothing_to_stop.contains(uid) && parts_.view.synced(Kind::pods))
      parts_.reporter.finish_delete(pod);
    else
      refresh(pod);
  }
}

void PodManager::forget_gone() {
  std::set<netns::Uid> live;
  for (const auto& [name, pod] : parts_.view.pods()) live.insert(pod->uid);
  for (auto it = pods_.begin(); it != pods_.end();) {
    const auto& uid = it->first;
    if (live.contains(uid)) {
      ++it;
      continue;
    }
    parts_.prober.want(uid, {});
    parts_.reporter.forget(uid);
    failures_.erase(uid);
    stop_generation_.erase(uid);
    networked_.erase(uid);
    it = pods_.erase(it);
  }
}

void PodManager::tick() {
  bool waiting = std::any_of(troubles_.begin(), troubles_.end(), [](const auto& t) { return !t.second.final; });
  if (waiting) update(false);
}

void PodManager::on_observed(std::shared_ptr<const netns::Observed> observed) {
  observed_ = std::move(observed);
  fresh_ = true;
  for (const auto& [uid, pod] : pods_) {
    auto* box = seen(uid);
    bool well = box && box->netns && box->link;
    if (well == networked_.contains(uid)) continue;
    // A sandbox that was made a moment ago is not in this observation yet; one that is damaged is.
    if (!well && !box) continue;
    if (well)
      networked_.insert(uid);
    else
      networked_.erase(uid);
    refresh(pod);
  }
}

void PodManager::on_outcome(const SandboxPort::Outcome& outcome) {
  if (outcome.uid.empty()) return;
  auto it = pods_.find(outcome.uid);
  if (outcome.error.empty()) {
    bool changed = failures_.erase(outcome.uid) > 0;
    if (outcome.step == "CreateNetwork") changed = networked_.insert(outcome.uid).second || changed;
    if (outcome.step == "StartProcesses") parts_.processes.look(outcome.uid);
    if (changed && it != pods_.end()) refresh(it->second);
    return;
  }
  PodTrouble trouble;
  trouble.reason = outcome.step == "CreateNetwork"    ? "SandboxCreateFailed"
                   : outcome.step == "StartProcesses" ? "RunContainerError"
                                                      : "SandboxNotInSync";
  trouble.message = outcome.error;
  if (it != pods_.end()) parts_.reporter.event(*it->second, "Pod", "Warning", trouble.reason, trouble.message);
  failures_[outcome.uid] = std::move(trouble);
  if (it != pods_.end()) refresh(it->second);
}

void PodManager::on_report(const async::PassReport& report) {
  if (!std::exchange(fresh_, false)) return;  // it saw nothing
  settled_ = observed_;
  settled_generation_ = report.generation;
  for (auto it = asked_.begin(); it != asked_.end();) {
    bool wanted = published_ && published_->sandboxes.contains(*it);
    bool there = settled_->sandboxes.contains(*it);
    it = !wanted && !there && settled_generation_ >= published_generation_ ? asked_.erase(it) : std::next(it);
  }
  release_addresses();
  for (const auto& [uid, pod] : pods_)
    if (is_being_deleted(*pod)) end_if_over(pod);
}

void PodManager::release_addresses() {
  if (settled_generation_ < published_generation_ || !published_) return;
  std::vector<netns::Uid> over;
  for (const auto& [owner, ips] : pool_.assignments())
    if (!published_->sandboxes.contains(owner) && !settled_->sandboxes.contains(owner)) over.push_back(owner);
  for (const auto& owner : over) pool_.release(owner, std::chrono::steady_clock::now());
}

// The API object goes when the processes have gone; the network follows when the object has.
void PodManager::end_if_over(const api::ObjectPtr& pod) {
  auto asked = stop_generation_.find(pod->uid);
  if (asked == stop_generation_.end() || !settled_ || settled_generation_ < asked->second) return;
  auto it = settled_->sandboxes.find(pod->uid);
  bool running =
      it != settled_->sandboxes.end() && (it->second.stopping || it->second.processes == netns::ProcessPhase::running);
  if (!running && parts_.view.synced(Kind::pods)) parts_.reporter.finish_delete(pod);
}

void PodManager::on_process_status(const netns::Uid& uid) {
  if (auto it = pods_.find(uid); it != pods_.end()) refresh(it->second);
}

std::map<std::string, bool> PodManager::readiness(const api::Object& pod,
                                                  const std::vector<netns::ContainerStatus>& containers) {
  std::map<std::string, bool> out;
  for (const auto& value : api::array_at(pod.body, "spec.containers")) {
    if (!value.is_object()) continue;
    std::vector<std::string> refused;
    auto probes = parse_probes(value.get_object(), refused);
    for (const auto& line : refused) parts_.reporter.event(pod, "Pod", "Warning", "UnsupportedProbe", line);
    auto decides = [](const ProbeSpec& p) { return p.kind != ProbeKind::liveness; };
    if (std::none_of(probes.begin(), probes.end(), decides)) continue;
    auto name = api::text_at(value.get_object(), "name");
    if (auto verdict = parts_.prober.ready(pod.uid, name)) {
      out[name] = *verdict;
      continue;
    }
    // Undecided: a run that was ready before this agent started still is, until a probe says otherwise.
    bool was_ready = false;
    for (const auto& status : containers) {
      if (status.state.name != name || status.state.phase != ContainerPhase::running) continue;
      for (const auto& item : api::array_at(pod.body, "status.containerStatuses")) {
        if (!item.is_object() || api::text_at(item.get_object(), "name") != name) continue;
        was_ready =
            api::bool_at(item.get_object(), "ready") &&
            api::text_at(item.get_object(), "state.running.startedAt") == whole_seconds(status.state.started_at);
      }
    }
    out[name] = was_ready;
  }
  return out;
}

PodFindings PodManager::findings(const api::Object& pod, const netns::PodStatus* status) {
  PodFindings out;
  out.host_ips = options_.host_ips;
  out.now = now_seconds();
  if (auto it = failures_.find(pod.uid); it != failures_.end()) out.trouble = it->second;
  if (auto it = troubles_.find(pod.uid); it != troubles_.end()) out.trouble = it->second;
  if (auto it = waits_.find(pod.uid); it != waits_.end() && it->second.volumes.empty())
    out.config_errors = it->second.containers;
  if (status) {
    out.containers = status->containers;
    out.ready = readiness(pod, out.containers);
  }
  bool networked = networked_.contains(pod.uid);
  if (auto* ips = pool_.of(pod.uid); ips && networked) out.pod_ips = *ips;
  if (!networked)
    for (const auto& container : out.containers) out.ready[container.state.name] = false;
  return out;
}

void PodManager::probe(const api::ObjectPtr& pod, const std::vector<netns::ContainerStatus>& containers) {
  std::vector<ProbeTarget> targets;
  auto* ips = pool_.of(pod->uid);
  if (ips && !ips->empty() && networked_.contains(pod->uid) && !is_being_deleted(*pod)) {
    for (const auto& value : api::array_at(pod->body, "spec.containers")) {
      if (!value.is_object()) continue;
      auto name = api::text_at(value.get_object(), "name");
      for (const auto& status : containers) {
        if (status.state.name != name || status.state.phase != ContainerPhase::running) continue;
        std::vector<std::string> refused;
        ProbeTarget target{pod->uid, name, status.state.started_at, ips->front(), {}};
        target.probes = parse_probes(value.get_object(), refused);
        targets.push_back(std::move(target));
      }
    }
  }
  parts_.prober.want(pod->uid, targets);
}

void PodManager::say(const api::Object& pod, const std::vector<netns::ContainerStatus>& containers) {
  if (auto it = troubles_.find(pod.uid); it != troubles_.end())
    parts_.reporter.event(pod, "Pod", "Warning", it->second.reason, it->second.message);
  if (auto it = waits_.find(pod.uid); it != waits_.end()) {
    for (const auto& [volume, why] : it->second.volumes)
      parts_.reporter.event(pod, "Pod", "Warning", "FailedMount",
                            fmt::format("MountVolume.SetUp failed for volume \"{}\" : {}", volume, why));
    // Variables are looked up when a container starts, which it does once its volumes are there.
    auto waits = [&](const std::string& name) {
      auto at = std::find_if(containers.begin(), containers.end(), [&](const auto& c) { return c.state.name == name; });
      return at == containers.end() || netns::is_held(at->state);
    };
    if (it->second.volumes.empty())
      for (const auto& [container, why] : it->second.containers)
        if (waits(container)) parts_.reporter.event(pod, "Pod", "Warning", "Failed", "Error: " + why);
  }
  for (const auto& status : containers) {
    const auto& state = status.state;
    // What ran before this agent came has been told by the one that started it.
    if (state.phase == ContainerPhase::running && !is_told(pod, state))
      parts_.reporter.event(pod, "Pod", "Normal", "Started", "Started container " + state.name);
    if (state.phase == ContainerPhase::waiting && state.reason == "CrashLoopBackOff")
      parts_.reporter.event(pod, "Pod", "Warning", "BackOff",
                            fmt::format("Back-off restarting failed container {}", state.name));
    if (state.phase != ContainerPhase::running && state.reason == "StartError")
      parts_.reporter.event(pod, "Pod", "Warning", "Failed",
                            fmt::format("container {}: {}", state.name, state.message));
  }
}

void PodManager::refresh(const api::ObjectPtr& in_view) {
  if (!adopted_) return;
  auto pod = parts_.reporter.newest(in_view);
  auto* status = parts_.processes.status(pod->uid);
  auto* box = seen(pod->uid);
  // Its report exists but was not read yet: saying anything now would only flap.
  if (!status && box && box->processes != netns::ProcessPhase::none) return;
  static const std::vector<netns::ContainerStatus> nothing;
  const auto& containers = status ? status->containers : nothing;
  probe(pod, containers);
  say(*pod, containers);
  auto next = compute_pod_status(*pod, findings(*pod, status));
  if (next != api::object_at(pod->body, "status")) parts_.reporter.pod_status(pod, std::move(next));
}

void PodManager::on_verdict(const netns::Uid& uid, const std::string& container, ProbeKind kind, bool passing,
                            const std::string& answer) {
  auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  const auto& pod = it->second;
  if (!passing) {
    auto title = std::string(to_string(kind));
    title[0] = static_cast<char>(title[0] - 'a' + 'A');
    parts_.reporter.event(*pod, "Pod", "Warning", "Unhealthy", fmt::format("{} probe failed: {}", title, answer));
  }
  if (!passing && kind != ProbeKind::readiness) {
    parts_.reporter.event(*pod, "Pod", "Normal", "Killing",
                          fmt::format("Container {} failed {} probe, will be restarted", container, to_string(kind)));
    std::chrono::seconds grace(api::int_at(pod->body, "spec.terminationGracePeriodSeconds", 30));
    tasks_.spawn("restart a container", restart_container(uid, container, grace));
  }
  refresh(pod);
}

// The pod's init starts it again as the restart policy says; here it is only ended.
awaitable<void> PodManager::restart_container(netns::Uid uid, std::string container, std::chrono::seconds grace) {
  auto* status = parts_.processes.status(uid);
  if (!status) co_return;
  for (const auto& c : status->containers) {
    if (c.state.name != container || c.pid <= 0) continue;
    base::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, c.pid, 0)));
    auto started = netns::process_start_time(c.pid);
    // Opened first, compared after: now it is that process or none.
    if (!pidfd || !started || *started != c.start_time) co_return;
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0);
    co_await async::sleep_for(grace);
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    co_return;
  }
}

PodManager::Summary PodManager::summary() const {
  Summary out;
  out.pods = pods_.size();
  out.sandboxes = observed_ ? observed_->sandboxes.size() : 0;
  out.addresses = pool_.assignments().size();
  out.holding = holding_;
  for (const auto& [uid, pod] : pods_) {
    if (is_pod_ready(api::object_at(parts_.reporter.newest(pod)->body, "status"))) ++out.ready;
    for (const auto* all : {&troubles_, &failures_})
      if (auto it = all->find(uid); it != all->end())
        out.troubles.push_back(
            fmt::format("{}/{}: {}: {}", pod->key.ns, pod->key.name, it->second.reason, it->second.message));
  }
  return out;
}

std::vector<base::Ip> PodManager::local_pods() const {
  std::vector<base::Ip> out;
  auto add = [&out](const auto& sandboxes) {
    for (const auto& [uid, box] : sandboxes)
      out.insert(out.end(), box.network.addresses.begin(), box.network.addresses.end());
  };
  // Before the first publish: what was adopted. A restart must not take them out and put them in again.
  if (published_)
    add(published_->sandboxes);
  else if (observed_)
    add(observed_->sandboxes);
  std::sort(out.begin(), out.end());
  return out;
}

api::ObjectPtr PodManager::pod_of(const netns::Uid& uid) const {
  auto it = pods_.find(uid);
  return it == pods_.end() ? nullptr : it->second;
}

bool PodManager::may_log_more(const netns::Uid& uid, const std::string& container) const {
  auto* status = parts_.processes.status(uid);
  if (!status || status->finished || !pods_.contains(uid)) return false;
  for (const auto& c : status->containers)
    if (c.state.name == container) return true;
  return false;
}

}  // namespace trama::agent
