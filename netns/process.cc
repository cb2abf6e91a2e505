// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/process.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>

#include <boost/json/object.hpp>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/timestamp.h"
#include "netns/json_fields.h"
#include "netns/launch.h"
#include "netns/spawn.h"
#include "netns/volume_files.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;
using std::chrono::milliseconds;

namespace {
constexpr int kStartTimeoutMs = 15'000;

std::string group_of(const Uid& uid) { return "pod-" + uid; }

std::string boot_id() {
  std::string id = base::read_file("/proc/sys/kernel/random/boot_id").value_or(std::string());
  while (id.ends_with('\n')) id.pop_back();
  return id;
}

bool wait_for_exit(int pidfd, milliseconds limit) {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto left = std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now()).count();
    pollfd p{pidfd, POLLIN, 0};
    int n = ::poll(&p, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30)));
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

// The init that init.json names, if it is that very process which still runs. ESRCH otherwise.
Result<RunningPod> find_init(const std::string& directory, const Uid& uid) {
  auto not_running = [&] { return Error::from_errno(ESRCH, fmt::format("init of pod {}", uid)); };
  auto text = base::read_file(directory + "/init.json");
  if (!text) {
    if (text.error().is(std::errc::no_such_file_or_directory)) return not_running();
    return std::move(text).error();
  }
  auto object = parse_json_object(*text, "init.json");
  if (!object) return std::move(object).error();
  RunningPod pod;
  pod.uid = uid;
  std::string boot;
  JsonFields f(*object, "init");
  f.read("pid", pod.pid);
  f.read("startTime", pod.start_time);
  f.read("bootId", boot);
  if (auto r = f.result(); !r) return std::move(r).error();
  if (pod.pid <= 0 || boot != boot_id()) return not_running();
  pod.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pod.pid, 0)));
  if (!pod.pidfd) {
    if (errno == ESRCH || errno == EINVAL) return not_running();
    return Error::from_errno(errno, "pidfd_open");
  }
  // In this order: the descriptor holds the process that has the pid now, and the start time says whether it is ours.
  auto since = process_start_time(pod.pid);
  if (!since || *since != pod.start_time || wait_for_exit(pod.pidfd.get(), milliseconds(0))) return not_running();
  return pod;
}

// The volumes inside the pod's own mount namespace, as a path that stays theirs as long as the descriptor lives.
struct VolumesInside {
  UniqueFd directory;
  std::string path() const { return fmt::format("/proc/self/fd/{}", directory.get()); }
};
Result<VolumesInside> open_volumes(const RunningPod& pod) {
  auto path = fmt::format("/proc/{}/root{}", pod.pid, kBaseVolumes);
  VolumesInside out{UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC))};
  int why = errno;
  // Opened first, asked after: now it is that process or none.
  if (wait_for_exit(pod.pidfd.get(), milliseconds(0))) return Error::from_errno(ESRCH, "volumes of pod " + pod.uid);
  if (!out.directory) return Error::from_errno(why, "open " + path);
  return out;
}

Result<> write_all(const RunningPod& pod, const Volumes& volumes) {
  auto inside = open_volumes(pod);
  if (!inside) return std::move(inside).error();
  for (const auto& [name, volume] : volumes) {
    if (volume.scratch) continue;
    if (auto r = write_volume(inside->path(), name, volume); !r) return r;
  }
  return {};
}

// An orphan of ours is reaped by the machine's init; if that is us, by us.
void reap(int pidfd) {
  siginfo_t info{};
  (void)::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
}

// An init that vanished cannot say how its containers ended.
bool settle_lost(PodStatus& status) {
  if (status.finished) return false;
  for (ContainerStatus& c : status.containers) {
    if (c.state.phase == ContainerPhase::terminated) continue;
    c.state.phase = ContainerPhase::terminated;
    c.state.reason = "ContainerStatusUnknown";
    c.state.message = "the pod's init ended without a report; its processes ended with it";
    c.state.exit_code = 137, c.state.signal = SIGKILL;
    if (c.state.finished_at.empty()) c.state.finished_at = base::format_timestamp(base::now());
    c.pid = 0, c.start_time = 0;
  }
  status.finished = true;
  ++status.sequence;
  return true;
}
}  // namespace

Result<std::uint64_t> process_start_time(pid_t pid) {
  auto text = base::read_file(fmt::format("/proc/{}/stat", pid));
  if (!text)
    return Error::from_errno(text.error().is(std::errc::no_such_file_or_directory) ? ESRCH : EIO,
                             fmt::format("process {}", pid));
  std::size_t at = text->rfind(')');
  for (int field = 0; field < 20 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  if (at == std::string::npos) return Error::text(fmt::format("/proc/{}/stat: cannot be understood", pid));
  return std::strtoull(text->c_str() + at, nullptr, 10);
}

PodProcesses::PodProcesses(Options options, CgroupRoot cgroups)
    : options_(std::move(options)), cgroups_(std::move(cgroups)) {}

std::string PodProcesses::directory(const Uid& uid) const { return fmt::format("{}/pods/{}", options_.run_dir, uid); }

std::string PodProcesses::log_path(const Uid& uid, const std::string& container) const {
  return fmt::format("{}/{}.log", directory(uid), container);
}

Result<RunningPod> PodProcesses::start(const PodSpec& spec, const Volumes& volumes) {
  std::string what = fmt::format("start pod {}/{}", spec.ns, spec.name);
  if (auto r = validate(spec); !r) return std::move(r).error().in(what);
  std::string dir = directory(spec.uid), group = group_of(spec.uid);
  auto present = find_init(dir, spec.uid);
  if (present) return Error::from_errno(EEXIST, what);
  if (!present.error().is(std::errc::no_such_process)) return std::move(present).error().in(what);

  auto attempt = [&]() -> Result<RunningPod> {
    // What an earlier run of the same pod may have left.
    if (auto r = cgroups_.kill_all(group); !r) return std::move(r).error();
    if (auto r = base::make_directories(dir, 0750); !r) return std::move(r).error();
    for (const char* file : {"init.json", "status.json"}) (void)::unlink((dir + "/" + file).c_str());
    if (auto r = base::write_file_atomic(dir + "/spec.json", to_json(spec), 0600); !r) return std::move(r).error();

    PodLaunch launch;
    launch.spec = spec;
    launch.directory = dir;
    std::error_code ignored;
    launch.executable = std::filesystem::canonical(options_.executable, ignored).string();
    Limits none;
    if (auto r = cgroups_.create(group, spec.limits); !r) return std::move(r).error();
    if (auto r = cgroups_.create(group + "/init", none); !r) return std::move(r).error();
    launch.init_cgroups = cgroups_.directories(group + "/init");
    KnobOptions whole;
    whole.kill_as_one = true;
    for (const ContainerSpec& c : spec.containers) {
      if (auto r = cgroups_.create(group + "/" + c.name, c.limits, whole); !r) return std::move(r).error();
      launch.container_cgroups.push_back(cgroups_.directories(group + "/" + c.name));
    }

    auto program = open_executable(options_.executable);
    if (!program) return std::move(program).error();
    auto description = memory_file("trama-launch", to_json(launch));
    if (!description) return std::move(description).error();
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    UniqueFd words(::open((dir + "/init.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    int sockets[2];
    if (!null || !words || ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
      return Error::from_errno(errno, "prepare the init's descriptors");
    UniqueFd ours(sockets[0]), theirs(sockets[1]);
    auto starter =
        spawn(program->get(),
              {"trama", "pod-init", "--spec-fd", "3", "--control-fd", "4", "--pod", spec.ns + "/" + spec.name},
              {null.get(), words.get(), words.get(), description->get(), theirs.get()});
    if (!starter) return std::move(starter).error();
    theirs.reset();

    RunningPod pod;
    pod.uid = spec.uid;
    Result<> stands;
    for (bool done = false; !done;) {
      auto message = receive_message(ours.get(), kStartTimeoutMs);
      if (!message) {
        stands = std::move(message).error();
        done = true;
      } else if (message->end) {
        stands = Error::text("the pod's init ended before it stood; its last words are in " + dir + "/init.log",
                             std::errc::io_error);
        done = true;
      } else if (message->fd) {
        char* end = nullptr;
        pod.pid = static_cast<pid_t>(std::strtol(message->text.c_str(), &end, 10));
        pod.start_time = std::strtoull(end, nullptr, 10);
        pod.pidfd = std::move(message->fd);
      } else if (message->text == kVolumesReady && pod.pidfd) {
        stands = write_all(pod, volumes);
        if (stands) stands = send_message(ours.get(), kVolumesWritten);
        done = !stands;
      } else {
        if (message->text != "ok" || !pod.pidfd) stands = Error::text(message->text, std::errc::io_error);
        done = true;
      }
    }
    if (!stands || !wait_for_exit(starter->pidfd.get(), milliseconds(kStartTimeoutMs)))
      (void)::syscall(SYS_pidfd_send_signal, starter->pidfd.get(), SIGKILL, nullptr, 0);
    while (::waitpid(starter->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (!stands) return std::move(stands).error();
    return pod;
  };
  auto pod = attempt();
  if (pod) return pod;
  Error error = std::move(pod).error().in(what);
  (void)remove(spec.uid);
  return error;
}

Result<RunningPod> PodProcesses::adopt(const Uid& uid) const {
  auto pod = find_init(directory(uid), uid);
  if (!pod) return std::move(pod).error().in("adopt");
  auto refuse = [&](std::string why) {
    return Error::text(fmt::format("adopt pod {}: process {} {}; stop the pod and start it again", uid, pod->pid, why));
  };
  auto groups = base::read_file(fmt::format("/proc/{}/cgroup", pod->pid));
  std::string wanted = fmt::format("/{}/{}/init\n", cgroups_.root(), group_of(uid));
  if (!groups || groups->find(wanted) == std::string::npos) return refuse("is not in the pod's cgroup");
  auto spec = read_spec(uid);
  if (!spec) return std::move(spec).error().in("adopt");
  struct stat pinned {
  }, actual{};
  if (::stat(spec->netns_path.c_str(), &pinned) < 0)
    return refuse(fmt::format("runs, but {} is gone", spec->netns_path));
  if (::stat(fmt::format("/proc/{}/ns/net", pod->pid).c_str(), &actual) < 0 || pinned.st_ino != actual.st_ino ||
      pinned.st_dev != actual.st_dev)
    return refuse(fmt::format("is in another network namespace than {}", spec->netns_path));
  return pod;
}

// The spec first, then the word: whoever comes between the two finds in the status who still waits, and says it again.
Result<> PodProcesses::release(const PodSpec& spec) {
  auto what = fmt::format("release containers of pod {}/{}", spec.ns, spec.name);
  if (auto r = validate(spec); !r) return std::move(r).error().in(what);
  auto pod = find_init(directory(spec.uid), spec.uid);
  if (!pod) return std::move(pod).error().in(what);
  auto present = read_spec(spec.uid);
  if (!present) return std::move(present).error().in(what);
  for (ContainerSpec& c : present->containers) {
    auto next = std::find_if(spec.containers.begin(), spec.containers.end(),
                             [&](const ContainerSpec& n) { return n.name == c.name && n.image == c.image; });
    if (c.held && next != spec.containers.end() && !next->held) c = *next;
  }
  if (auto r = validate(*present); !r) return std::move(r).error().in(what);
  if (auto r = base::write_file_atomic(directory(spec.uid) + "/spec.json", to_json(*present), 0600); !r)
    return std::move(r).error().in(what);
  if (::syscall(SYS_pidfd_send_signal, pod->pidfd.get(), kReleaseSignal, nullptr, 0) < 0)
    return Error::from_errno(errno, what);
  return {};
}

Result<> PodProcesses::write_volumes(const Uid& uid, const Volumes& volumes) {
  auto pod = find_init(directory(uid), uid);
  if (!pod) return std::move(pod).error().in("write volumes");
  return write_all(*pod, volumes);
}

Result<std::map<std::string, std::string>> PodProcesses::volume_digests(const Uid& uid) const {
  std::map<std::string, std::string> out;
  auto spec = read_spec(uid);
  if (!spec) return std::move(spec).error();
  std::erase_if(spec->volumes, [](const auto& v) { return v.second.scratch; });
  if (spec->volumes.empty()) return out;
  auto pod = find_init(directory(uid), uid);
  if (!pod) return std::move(pod).error();
  auto inside = open_volumes(*pod);
  if (!inside) return std::move(inside).error();
  for (const auto& [name, shape] : spec->volumes) out[name] = written_digest(inside->path(), name);
  return out;
}

Result<std::string> PodProcesses::volume_file(const Uid& uid, const std::string& volume,
                                              const std::string& path) const {
  if (!is_file_path(volume) || !is_file_path(path))
    return Error::text(fmt::format("{}/{}: no file of a volume", volume, path), std::errc::invalid_argument);
  auto spec = read_spec(uid);
  if (!spec) return std::move(spec).error();
  auto shape = spec->volumes.find(volume);
  // What containers write to may be anything, a link too.
  if (shape == spec->volumes.end() || shape->second.scratch)
    return Error::text(fmt::format("{} is no volume of files", volume), std::errc::no_such_file_or_directory);
  auto pod = find_init(directory(uid), uid);
  if (!pod) return std::move(pod).error();
  auto inside = open_volumes(*pod);
  if (!inside) return std::move(inside).error();
  return base::read_file(fmt::format("{}/{}/{}", inside->path(), volume, path));
}

Result<> PodProcesses::stop(const Uid& uid, milliseconds grace) {
  std::string dir = directory(uid), what = "stop pod " + uid;
  auto pod = find_init(dir, uid);
  if (!pod && !pod.error().is(std::errc::no_such_process)) return std::move(pod).error().in(what);
  if (pod) {
    siginfo_t order{};
    order.si_signo = SIGTERM;
    order.si_code = SI_QUEUE;
    order.si_pid = ::getpid();
    order.si_value.sival_int = static_cast<int>(std::clamp<std::int64_t>(grace.count(), 0, 1 << 30));
    if (::syscall(SYS_pidfd_send_signal, pod->pidfd.get(), SIGTERM, &order, 0) == 0)
      (void)wait_for_exit(pod->pidfd.get(), grace + milliseconds(3000));
  }
  if (auto r = cgroups_.kill_all(group_of(uid)); !r) return std::move(r).error().in(what);
  if (pod) {
    if (!wait_for_exit(pod->pidfd.get(), milliseconds(5000)))
      return Error::from_errno(ETIMEDOUT, fmt::format("{}: process {} does not die", what, pod->pid));
    reap(pod->pidfd.get());
  }
  auto status = read_status(uid);  // settled, now that nothing runs
  if (status) return base::write_file_atomic(dir + "/status.json", to_json(*status));
  return {};
}

Result<> PodProcesses::remove(const Uid& uid) {
  std::string what = "remove pod " + uid;
  auto pod = find_init(directory(uid), uid);
  if (pod) (void)::syscall(SYS_pidfd_send_signal, pod->pidfd.get(), SIGKILL, nullptr, 0);
  if (auto r = cgroups_.kill_all(group_of(uid)); !r) return std::move(r).error().in(what);
  if (pod && wait_for_exit(pod->pidfd.get(), milliseconds(5000))) reap(pod->pidfd.get());
  if (auto r = cgroups_.remove(group_of(uid)); !r) return std::move(r).error().in(what);
  return base::remove_tree(directory(uid));
}

Result<PodStatus> PodProcesses::read_status(const Uid& uid) const {
  // The init first: one that ends between the two readings has reported before it ended.
  bool runs = static_cast<bool>(find_init(directory(uid), uid));
  auto text = base::read_file(directory(uid) + "/status.json");
  if (!text) return std::move(text).error().in("status of pod " + uid);
  auto status = parse_pod_status(*text);
  if (!status) return std::move(status).error();
  if (!runs) settle_lost(*status);
  return status;
}

Result<PodSpec> PodProcesses::read_spec(const Uid& uid) const {
  auto text = base::read_file(directory(uid) + "/spec.json");
  if (!text) return std::move(text).error();
  return parse_pod_spec(*text);
}

Result<CgroupUsage> PodProcesses::usage(const Uid& uid) const { return cgroups_.usage(group_of(uid)); }

Result<> PodProcesses::update_limits(const Uid& uid, const Limits& limits) {
  if (auto r = cgroups_.update(group_of(uid), limits, KnobOptions{}); !r) return r;
  auto spec = read_spec(uid);
  if (!spec) return std::move(spec).error();
  spec->limits = limits;
  return base::write_file_atomic(directory(uid) + "/spec.json", to_json(*spec), 0600);
}

std::vector<Uid> PodProcesses::list() const {
  std::set<Uid> out;
  std::error_code error;
  for (std::filesystem::directory_iterator i(options_.run_dir + "/pods", error), end; !error && i != end;
       i.increment(error))
    out.insert(i->path().filename().string());
  for (const std::string& group : cgroups_.list())
    if (group.starts_with("pod-")) out.insert(group.substr(4));
  return {out.begin(), out.end()};
}

}  // namespace trama::netns
