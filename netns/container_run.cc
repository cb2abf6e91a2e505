// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/container_run.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "netns/privileges.h"
#include "netns/root_fs.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {
constexpr milliseconds kDrainTime{1000};

std::string read_at(int directory, const char* name) {
  UniqueFd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC));
  std::string out;
  char chunk[4096];
  for (ssize_t n; fd && out.size() < 1 << 20 && (n = ::read(fd.get(), chunk, sizeof chunk)) > 0;)
    out.append(chunk, static_cast<std::size_t>(n));
  return out;
}

bool write_at(int directory, const char* name, std::string_view text) {
  UniqueFd fd(::openat(directory, name, O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// The number behind `key` on a line of its own.
std::optional<std::uint64_t> value_of(const std::string& text, const std::string& key) {
  std::string all = "\n" + text;
  std::size_t at = all.find("\n" + key);
  if (at == std::string::npos) return std::nullopt;
  return std::strtoull(all.c_str() + at + 1 + key.size(), nullptr, 10);
}

// What the host calls our child, and since when: read through the host's own /proc.
void identify(int host_proc, pid_t pid, ContainerStatus& status) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return;
  auto host = value_of(read_at(host_proc, fmt::format("self/fdinfo/{}", pidfd.get()).c_str()), "Pid:");
  if (!host || *host == 0) return;
  std::string stat = read_at(host_proc, fmt::format("{}/stat", *host).c_str());
  std::size_t at = stat.rfind(')');  // the name before it may contain anything
  for (int field = 0; field < 20 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return;
  status.pid = static_cast<pid_t>(*host);
  status.start_time = std::strtoull(stat.c_str() + at, nullptr, 10);
}

struct PipePair {
  UniqueFd read, write;
};
Result<PipePair> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  PipePair p{UniqueFd(fds[0]), UniqueFd(fds[1])};
  (void)::fcntl(p.read.get(), F_SETFL, O_NONBLOCK);
  return p;
}
}  // namespace

Result<CgroupLeaf> CgroupLeaf::open(const std::vector<std::string>& directories) {
  CgroupLeaf leaf;
  for (const std::string& path : directories) {
    leaf.directories_.emplace_back(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!leaf.directories_.back()) return Error::from_errno(errno, "open cgroup " + path);
  }
  return leaf;
}

Result<> CgroupLeaf::join() const {
  for (const UniqueFd& d : directories_)
    if (!write_at(d.get(), "cgroup.procs", "0")) return Error::from_errno(errno, "join the container's cgroup");
  return {};
}

std::uint64_t CgroupLeaf::oom_kills() const {
  for (const UniqueFd& d : directories_)
    for (const char* file : {"memory.events", "memory.oom_control"})
      if (auto n = value_of(read_at(d.get(), file), "oom_kill ")) return *n;
  return 0;
}

void CgroupLeaf::kill() const {
  for (const UniqueFd& d : directories_) {
    if (write_at(d.get(), "cgroup.kill", "1")) return;
  }
  if (directories_.empty()) return;
  std::string pids = read_at(directories_[0].get(), "cgroup.procs");
  const char* at = pids.c_str();
  for (char* end = nullptr; long pid = std::strtol(at, &end, 10); at = end)
    if (pid > 1) (void)::kill(static_cast<pid_t>(pid), SIGKILL);
}

ContainerRun::ContainerRun(const PodSpec& spec, std::size_t index, CgroupLeaf leaf, int host_proc)
    : pod_(spec), index_(index), spec_(spec.containers[index]), leaf_(std::move(leaf)), host_proc_(host_proc) {
  status_.state.name = spec_.name;
  status_.state.reason = spec_.held ? kHeldReason : "ContainerCreating";
}

bool ContainerRun::start() {
  if (started_before_) {
    status_.last = status_.state.phase == ContainerPhase::terminated ? status_.state : status_.last;
    ++status_.state.restarts;
  }
  started_before_ = true;
  int restarts = status_.state.restarts;
  status_.state = ContainerState{};
  status_.state.name = spec_.name;
  status_.state.reason = "ContainerCreating";
  status_.state.restarts = restarts;
  began_ = Clock::now();
  setup_error_.clear();
  oom_before_ = leaf_.oom_kills();

  auto out = make_pipe(), err = make_pipe(), setup = make_pipe();
  std::fflush(nullptr);
  pid_ = out && err && setup ? ::fork() : -1;
  if (pid_ == 0) run_child(setup->write.get(), out->write.get(), err->write.get());
  if (pid_ < 0) {
    pid_ = 0;
    end(128, 0, "StartError", Error::from_errno(errno, "fork").to_string());
    phase_ = Phase::idle;
    return false;
  }
  identify(host_proc_, pid_, status_);
  setup_ = std::move(setup->read);
  outputs_ = {std::move(out->read), std::move(err->read)};
  phase_ = Phase::starting;
  return true;
}

void ContainerRun::run_child(int setup, int out, int err) {
  auto prepare = [&]() -> Error {
    sigset_t none;
    sigemptyset(&none);
    (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
    (void)::setsid();
    if (auto r = leaf_.join(); !r) return std::move(r).error();
    if (::unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0) return Error::from_errno(errno, "unshare");
    if (auto r = enter_container_root(pod_, index_); !r) return std::move(r).error();
    auto identity = resolve_user(spec_.user);
    if (!identity) return std::move(identity).error();
    (void)base::write_knob("/proc/self/oom_score_adj", fmt::format("{}", spec_.oom_score_adj));
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    // So that programs that open /dev/stdout by name may do so as another user.
    for (int fd : {out, err}) {
      [[maybe_unused]] int owned = ::fchown(fd, identity->uid, identity->gid);
    }
    if (::dup2(null.get(), 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) return Error::from_errno(errno, "dup2");
    const std::string& directory = spec_.working_dir.empty() ? "/" : spec_.working_dir;
    if (::chdir(directory.c_str()) < 0) return Error::from_errno(errno, "chdir " + directory);
    auto environment = container_environment(spec_.env, *identity, pod_.hostname.empty() ? pod_.name : pod_.hostname,
                                             spec_.image == "host");
    if (auto r = drop_privileges(*identity); !r) return std::move(r).error();
    if (::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0) return Error::from_errno(errno, "close_range");
    (void)::signal(SIGPIPE, SIG_DFL);
    std::vector<std::string> words = spec_.command;
    words.insert(words.end(), spec_.args.begin(), spec_.args.end());
    return execute(words, environment);
  };
  std::string text = prepare().to_string();
  (void)!::write(setup, text.data(), text.size());
  ::_exit(128);
}

void ContainerRun::poll_descriptors(std::vector<int>& out) const {
  for (const UniqueFd* fd : {&setup_, &outputs_[0], &outputs_[1]})
    if (*fd) out.push_back(fd->get());
}

bool ContainerRun::ready(int fd) {
  if (setup_ && fd == setup_.get()) return read_setup();
  for (std::size_t i = 0; i < outputs_.size(); ++i)
    if (outputs_[i] && fd == outputs_[i].get()) read_output(i);
  return false;
}

// End of file without a word: the command was executed (or the child was killed, which its wait status will tell).
bool ContainerRun::read_setup() {
  char text[4096];
  ssize_t n = ::read(setup_.get(), text, sizeof text);
  if (n < 0) return false;
  if (n > 0) {
    setup_error_.append(text, static_cast<std::size_t>(n));
    return false;
  }
  setup_.reset();
  if (!setup_error_.empty() || phase_ != Phase::starting) return false;
  phase_ = Phase::running;
  status_.state.phase = ContainerPhase::running;
  status_.state.reason.clear();
  status_.state.started_at = base::format_timestamp(base::now());
  return true;
}

// One read at a time, so that a flood from one container does not hold up the others. False at the end.
bool ContainerRun::read_output(std::size_t stream) {
  char bytes[32 * 1024];
  ssize_t n = ::read(outputs_[stream].get(), bytes, sizeof bytes);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  std::string records;
  if (n > 0) {
    splitters_[stream].feed(std::string_view(bytes, static_cast<std::size_t>(n)), base::now(), records);
  } else {
    splitters_[stream].finish(base::now(), records);
    outputs_[stream].reset();
  }
  write_log(records);
  return n > 0;
}

void ContainerRun::write_log(const std::string& records) {
  if (records.empty()) return;
  Result<> r;
  if (!log_) {
    auto opened = LogWriter::open(fmt::format("{}/{}.log", kBasePod, spec_.name), pod_.log);
    if (opened)
      log_ = std::move(*opened);
    else
      r = std::move(opened).error();
  }
  if (log_) r = log_->append(records);
  if (!r && !log_failed_) fmt::print(stderr, "container {}: output is lost: {}\n", spec_.name, r.error().to_string());
  log_failed_ = !r;
}

void ContainerRun::end(int exit_code, int signal, std::string reason, std::string message) {
  ended_ = Clock::now();
  ContainerState& s = status_.state;
  s.phase = ContainerPhase::terminated;
  s.reason = std::move(reason), s.message = std::move(message);
  s.exit_code = exit_code, s.signal = signal;
  s.finished_at = base::format_timestamp(base::now());
  status_.pid = 0, status_.start_time = 0;
}

void ContainerRun::reaped(int wait_status) {
  if (setup_) {  // ended before we saw whether it had executed its command
    char text[4096];
    for (ssize_t n; (n = ::read(setup_.get(), text, sizeof text)) > 0;)
      setup_error_.append(text, static_cast<std::size_t>(n));
    setup_.reset();
  }
  if (status_.state.started_at.empty() && setup_error_.empty())
    status_.state.started_at = base::format_timestamp(base::now());
  pid_ = 0;
  phase_ = Phase::ending;
  int signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
  int code = signal ? 128 + signal : WEXITSTATUS(wait_status);
  if (!setup_error_.empty()) {
    end(128, 0, "StartError", setup_error_);
  } else if (code != 0 && leaf_.oom_kills() > oom_before_) {
    end(code, signal, "OOMKilled", "the kernel ended it because its memory limit was reached");
  } else {
    end(code, signal, code == 0 ? "Completed" : "Error", signal ? fmt::format("ended by signal {}", signal) : "");
  }
  leaf_.kill();  // what the main process has left behind
}

std::optional<Clock::time_point> ContainerRun::settle_by() const {
  if (phase_ != Phase::ending) return std::nullopt;
  return ended_ + kDrainTime;
}

bool ContainerRun::settle() {
  if (phase_ != Phase::ending) return false;
  if ((outputs_[0] || outputs_[1]) && Clock::now() < ended_ + kDrainTime) return false;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    std::string records;
    splitters_[i].finish(base::now(), records);
    write_log(records);
    outputs_[i].reset();
  }
  phase_ = Phase::idle;
  return true;
}

void ContainerRun::signal(int number) const {
  if (pid_ > 0) (void)::kill(pid_, number);
}

void ContainerRun::kill() {
  signal(SIGKILL);
  leaf_.kill();
}

void ContainerRun::describe_waiting(std::string reason, std::string message) {
  status_.last = status_.state;
  status_.state.phase = ContainerPhase::waiting;
  status_.state.reason = std::move(reason);
  status_.state.message = std::move(message);
  status_.state.exit_code = status_.state.signal = 0;
  status_.state.started_at.clear();
  status_.state.finished_at.clear();
}

void ContainerRun::describe_ended() {
  if (!status_.last || status_.state.phase != ContainerPhase::waiting) return;
  int restarts = status_.state.restarts;
  status_.state = *status_.last;
  status_.state.restarts = restarts;
  status_.last.reset();
}

milliseconds ContainerRun::last_run() const { return std::chrono::duration_cast<milliseconds>(ended_ - began_); }

}  // namespace trama::netns
