// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/prober.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <fcntl.h>

#include "base/async/deadline.h"
#include "base/async/endpoint.h"
#include "base/async/run_on.h"

namespace trama::agent {

namespace asio = async::asio;
using asio::ip::tcp;
using async::kTuple;

struct Prober::Run {
  ProbeTarget target;
  std::vector<ProbeState> states;
  std::size_t tasks = 0;
  bool ended = false;
};

namespace {

base::Error network_error(const boost::system::error_code& ec, std::string what) {
  return {std::error_code(ec), std::move(what)};
}

awaitable<base::Result<>> connect(tcp::socket& socket, base::Ip ip, std::uint16_t port) {
  base::IpPort where{ip, port};
  auto endpoint = async::endpoint_of<tcp>(where);
  auto [ec] = co_await socket.async_connect(endpoint, kTuple);
  if (ec) co_return network_error(ec, "connect to " + where.to_string());
  co_return base::Result<>();
}

awaitable<base::Result<>> connect_only(base::Ip ip, std::uint16_t port) {
  auto ex = co_await asio::this_coro::executor;
  tcp::socket socket(ex);
  co_return co_await connect(socket, ip, port);
}

std::string http_request(base::Ip ip, const ProbeAction& action) {
  base::IpPort where{ip, action.port};
  std::string host = where.to_string(), extra;
  for (const auto& [name, value] : action.headers) {
    if (name == "Host" || name == "host")
      host = value;
    else
      extra += name + ": " + value + "\r\n";
  }
  return fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kube-probe/1.31 trama/{}\r\nAccept: */*\r\n{}"
      "Connection: close\r\n\r\n",
      action.path, host, TRAMA_VERSION, extra);
}

awaitable<base::Result<>> http_exchange(base::Ip ip, ProbeAction action) {
  auto ex = co_await asio::this_coro::executor;
  tcp::socket socket(ex);
  auto connected = co_await connect(socket, ip, action.port);
  if (!connected) co_return connected;
  auto request = http_request(ip, action);
  auto [ec, written] = co_await asio::async_write(socket, asio::buffer(request), kTuple);
  if (ec) co_return network_error(ec, "send the request");
  std::string line(256, '\0');
  std::size_t have = 0;
  while (have < 12) {  // "HTTP/1.1 200"
    auto [error, n] = co_await socket.async_read_some(asio::buffer(line.data() + have, line.size() - have), kTuple);
    have += n;
    if (error && have < 12) co_return network_error(error, "read the answer");
  }
  int code = 0;
  if (line.starts_with("HTTP/1.") && line[8] == ' ')
    for (std::size_t i = 9; i < 12 && line[i] >= '0' && line[i] <= '9'; ++i) code = code * 10 + (line[i] - '0');
  if (code < 100) co_return base::Error::text("HTTP probe failed: the answer is not HTTP");
  if (code < 200 || code >= 400)
    co_return base::Error::text(fmt::format("HTTP probe failed with statuscode: {}", code));
  co_return base::Result<>();
}

// Reads what a command writes, so that it never waits for a reader nor dies of having none; keeps the beginning.
class Output : public std::enable_shared_from_this<Output> {
 public:
  Output(const asio::any_io_executor& ex, base::UniqueFd fd) : pipe_(ex, fd.release()) { pipe_.non_blocking(true); }
  void start() {
    auto next = [self = shared_from_this()](boost::system::error_code ec, std::size_t n) {
      if (ec) return;
      self->keep(n);
      self->start();
    };
    pipe_.async_read_some(asio::buffer(chunk_), std::move(next));
  }
  // What is there now; nothing is read any more.
  std::string finish() {
    pipe_.cancel();
    boost::system::error_code ec;
    for (std::size_t n = 1; n > 0 && !ec;) keep(n = pipe_.read_some(asio::buffer(chunk_), ec));
    pipe_.close(ec);
    return std::move(kept_);
  }

 private:
  static constexpr std::size_t kMost = 1024;
  void keep(std::size_t n) { kept_.append(chunk_.data(), std::min(n, kMost - std::min(kMost, kept_.size()))); }
  asio::posix::stream_descriptor pipe_;
  std::array<char, 4096> chunk_{};
  std::string kept_;
};

// The command of an exec probe: its exit code is the answer. Past the time limit it is killed.
awaitable<base::Result<>> run_command(const netns::PodProcesses& pods, netns::ExecRequest request, milliseconds timeout,
                                      asio::any_io_executor files) {
  auto start = [&] { return netns::start_exec(pods, request); };
  auto process = co_await async::run_on(files, start);
  if (!process) co_return process.error();
  auto ex = co_await asio::this_coro::executor;
  int copy = ::fcntl(process->pidfd.get(), F_DUPFD_CLOEXEC, 3);
  asio::posix::stream_descriptor pidfd(ex, copy);
  auto out = std::make_shared<Output>(ex, std::move(process->stdout_r));
  auto err = std::make_shared<Output>(ex, std::move(process->stderr_r));
  out->start();
  err->start();
  asio::steady_timer timer(ex, timeout);
  bool late = false;
  timer.async_wait([&](boost::system::error_code ec) {
    if (ec) return;
    late = true;
    (void)process->kill();
  });
  auto [ec] = co_await pidfd.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
  timer.cancel();
  if (ec) (void)process->kill();
  std::string said = out->finish() + err->finish();
  while (!said.empty() && (said.back() == '\n' || said.back() == ' ')) said.pop_back();
  auto wait = [&] { return process->wait(); };
  auto code = co_await async::run_on(files, wait);
  if (late) co_return base::Error::text(fmt::format("command timed out after {} ms", timeout.count()));
  if (!code) co_return code.error();
  if (*code != 0)
    co_return base::Error::text(fmt::format("command exited with {}{}{}", *code, said.empty() ? "" : ": ", said));
  co_return base::Result<>();
}

}  // namespace

awaitable<base::Result<>> probe_tcp(base::Ip ip, std::uint16_t port, milliseconds timeout) {
  auto work = connect_only(ip, port);
  std::string what = "no connection";
  co_return co_await async::with_deadline(std::move(work), timeout, std::move(what));
}

awaitable<base::Result<>> probe_http(base::Ip ip, ProbeAction action, milliseconds timeout) {
  auto work = http_exchange(ip, std::move(action));
  std::string what = "no answer";
  co_return co_await async::with_deadline(std::move(work), timeout, std::move(what));
}

Prober::Prober(asio::any_io_executor brain, asio::any_io_executor files, const netns::PodProcesses& pods,
               OnVerdict on_verdict, std::size_t parallel)
    : brain_(brain),
      files_(std::move(files)),
      pods_(pods),
      on_verdict_(std::move(on_verdict)),
      parallel_(parallel),
      tasks_(brain) {}

Prober::~Prober() = default;

awaitable<void> Prober::stop() {
  for (auto& [key, run] : runs_) run->ended = true;
  co_await tasks_.stop();
}

void Prober::want(const netns::Uid& uid, const std::vector<ProbeTarget>& targets) {
  for (auto it = runs_.lower_bound({uid, ""}); it != runs_.end() && it->first.first == uid;) {
    bool wanted = false;
    for (const auto& target : targets)
      wanted = wanted || (target.container == it->first.second && target.run == it->second->target.run);
    if (wanted) {
      ++it;
      continue;
    }
    it->second->ended = true;
    it = runs_.erase(it);
  }
  for (const auto& target : targets) {
    if (target.probes.empty()) continue;
    auto [it, fresh] = runs_.try_emplace({uid, target.container});
    if (!fresh) continue;
    auto run = std::make_shared<Run>();
    run->target = target;
    auto now = std::chrono::steady_clock::now();
    for (const auto& probe : target.probes) run->states.emplace_back(probe, now);
    it->second = run;
    for (std::size_t i = 0; i < run->states.size(); ++i) tasks_.spawn("probe", probe_loop(run, i));
  }
}

std::optional<bool> Prober::ready(const netns::Uid& uid, const std::string& container) const {
  auto it = runs_.find({uid, container});
  if (it == runs_.end()) return std::nullopt;
  bool ready = true;
  for (const auto& state : it->second->states) {
    if (state.spec().kind == ProbeKind::liveness) continue;
    if (state.verdict() == ProbeState::Verdict::unknown) return std::nullopt;
    ready = ready && state.passing();
  }
  return ready;
}

awaitable<base::Result<>> Prober::ask(std::shared_ptr<Run> run, const ProbeSpec& spec) {
  auto ip = run->target.address;
  if (!spec.action.host.empty()) {
    auto other = base::Ip::parse(spec.action.host);
    if (!other) co_return base::Error::text(fmt::format("host {} is not an address", spec.action.host));
    ip = *other;
  }
  if (spec.action.type == ProbeAction::Type::tcp) co_return co_await probe_tcp(ip, spec.action.port, spec.timeout);
  if (spec.action.type == ProbeAction::Type::http) co_return co_await probe_http(ip, spec.action, spec.timeout);
  netns::ExecRequest request;
  request.uid = run->target.uid;
  request.container = run->target.container;
  request.command = spec.action.command;
  co_return co_await run_command(pods_, std::move(request), spec.timeout, files_);
}

awaitable<void> Prober::probe_loop(std::shared_ptr<Run> run, std::size_t index) {
  auto& state = run->states[index];
  bool reported = false;
  auto last = state.passing();
  while (!run->ended) {
    // Liveness and readiness wait until the container has started up.
    bool starting = false;
    if (state.spec().kind != ProbeKind::startup)
      for (const auto& other : run->states)
        starting = starting || (other.spec().kind == ProbeKind::startup && !other.passing());
    auto wait = std::chrono::duration_cast<milliseconds>(state.next() - std::chrono::steady_clock::now());
    if (wait.count() > 0) co_await async::sleep_for(wait);
    if (run->ended) co_return;
    if (starting || asking_ >= parallel_) {
      co_await async::sleep_for(milliseconds(10));
      continue;
    }
    struct Count {
      std::size_t& n;
      explicit Count(std::size_t& of) : n(of) { ++n; }
      ~Count() { --n; }
    };
    base::Result<> answer;
    {
      Count count(asking_);
      answer = co_await ask(run, state.spec());
    }
    if (run->ended) co_return;
    auto verdict = state.answered(static_cast<bool>(answer), std::chrono::steady_clock::now());
    bool passing = state.passing();
    bool decided = verdict != ProbeState::Verdict::unknown;
    if (passing == last && (reported || !decided)) continue;
    last = passing;
    reported = true;
    on_verdict_(run->target.uid, run->target.container, state.spec().kind, passing,
                answer ? "" : answer.error().to_string());
    if (state.spec().kind == ProbeKind::startup && passing) co_return;  // it has done its work
  }
}

}  // namespace trama::agent
