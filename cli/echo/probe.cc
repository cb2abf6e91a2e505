// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/echo/probe.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <thread>

#include <boost/json.hpp>
#include <poll.h>

#include "cli/echo/http.h"
#include "cli/echo/server.h"

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

Result<ProbeTarget> parse_probe_target(std::string_view text) {
  ProbeTarget t;
  auto strip = [&](std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
  };
  int default_port = 80;
  if (strip("https://"))
    return Error::text("https is not spoken here: probe the http:// port, or tcp://HOST:PORT for a connection only");
  if (strip("tcp://") || strip("tcp:"))
    t.protocol = ProbeProtocol::tcp, default_port = -1;
  else if (strip("udp://") || strip("udp:"))
    t.protocol = ProbeProtocol::udp, default_port = -1;
  else
    strip("http://");
  auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    if (t.protocol == ProbeProtocol::http) t.path = std::string(text.substr(slash));
    text = text.substr(0, slash);
  }
  t.host_header = std::string(text);
  auto where = parse_host_port(text, default_port);
  if (!where) return std::move(where).error();
  if (where->host.empty()) where->host = "localhost";
  t.where = std::move(*where);
  return t;
}

namespace {

// What one request left behind: the answer's line, or why there is none.
using Outcome = Result<std::string>;

class Worker {
 public:
  Worker(const ProbeOptions& options, const SocketAddress& address) : o_(options), address_(address) {}

  Outcome ask() {
    deadline_ = Clock::now() + o_.timeout;
    switch (o_.target.protocol) {
      case ProbeProtocol::http: return ask_http();
      case ProbeProtocol::tcp: return ask_tcp();
      case ProbeProtocol::udp: return ask_udp();
    }
    return Error::from_errno(EINVAL, "probe");
  }

 private:
  // Waits for `events`; ETIMEDOUT at the deadline.
  Result<> wait(short events, const char* what) {
    for (;;) {
      auto left = std::chrono::ceil<milliseconds>(deadline_ - Clock::now()).count();
      if (left <= 0) return Error::from_errno(ETIMEDOUT, what);
      pollfd p{fd_.get(), events, 0};
      int n = poll(&p, 1, static_cast<int>(left));
      if (n > 0) return {};
      if (n < 0 && errno != EINTR) return Error::from_errno(errno, what);
    }
  }

  Result<> connect_to(int type) {
    fd_.reset(socket(address_.storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd_) return Error::from_errno(errno, "open a socket");
    if (connect(fd_.get(), address_.get(), address_.length) == 0) return {};
    if (errno != EINPROGRESS) return Error::from_errno(errno, "connect");
    if (auto r = wait(POLLOUT, "connect"); !r) return r;
    int err = 0;
    socklen_t n = sizeof err;
    getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &err, &n);
    if (err) return Error::from_errno(err, "connect");
    return {};
  }

  Result<> send_all(std::string_view bytes) {
    while (!bytes.empty()) {
      auto n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(n));
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return Error::from_errno(errno, "send");
      if (auto r = wait(POLLOUT, "send"); !r) return r;
    }
    return {};
  }

  // Appends what arrived; false at the end of the stream.
  Result<bool> receive(std::string& into) {
    std::array<char, 65536> buffer;  // NOLINT: filled by recv
    for (;;) {
      if (auto r = wait(POLLIN, "wait for an answer"); !r) return std::move(r).error();
      auto n = recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (n > 0) into.append(buffer.data(), static_cast<std::size_t>(n));
      if (n >= 0) return n > 0;
      if (errno != EAGAIN && errno != EINTR) return Error::from_errno(errno, "wait for an answer");
    }
  }

  Outcome ask_http() {
    bool reused = bool(fd_);
    auto answer = one_http();
    // A kept connection may have been closed by the server between two requests: that is no failure of the service.
    if (!answer && reused && !answer.error().is(std::errc::timed_out)) {
      fd_.reset();
      answer = one_http();
    }
    if (!answer || !o_.keep_alive) fd_.reset();
    return answer;
  }

  Outcome one_http() {
    if (!fd_)
      if (auto r = connect_to(SOCK_STREAM); !r) return std::move(r).error();
    auto sent = send_all(fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: trama-probe\r\nConnection: {}\r\n\r\n",
                                     o_.target.path, o_.target.host_header, o_.keep_alive ? "keep-alive" : "close"));
    if (!sent) return std::move(sent).error();
    std::string in;
    std::optional<HttpResponseHead> head;
    for (;;) {
      if (!head) {
        auto parsed = parse_http_response(in);
        if (!parsed) return std::move(parsed).error();
        head = *parsed;
      }
      if (head && head->body_bytes && in.size() >= head->bytes + *head->body_bytes) break;
      auto more = receive(in);
      if (!more) return std::move(more).error();
      if (*more) continue;
      if (head && !head->body_bytes) break;
      return Error::from_errno(ECONNRESET, "the connection ended before the answer did");
    }
    if (!head->keep_alive || !head->body_bytes) fd_.reset();
    if (head->status >= 400) return Error::text(fmt::format("HTTP status {}", head->status), std::errc::io_error);
    return in.substr(head->bytes);
  }

  Outcome ask_tcp() {
    if (auto r = connect_to(SOCK_STREAM); !r) return std::move(r).error();
    std::string in;
    // Who does not greet answers to a line; who does neither has at least accepted the connection.
    if (auto r = send_all("probe\n"); !r) return std::move(r).error();
    auto got = receive(in);
    fd_.reset();
    if (!got) return std::move(got).error();
    return in;
  }

  Outcome ask_udp() {
    if (auto r = connect_to(SOCK_DGRAM); !r) return std::move(r).error();
    if (auto r = send_all("probe"); !r) return std::move(r).error();
    std::string in;
    auto got = receive(in);
    fd_.reset();
    if (!got) return std::move(got).error();
    return in;
  }

  const ProbeOptions& o_;
  const SocketAddress& address_;
  UniqueFd fd_;
  Clock::time_point deadline_;
};

std::string first_line(const std::string& text) {
  return text.substr(0, std::min<std::size_t>(text.find_first_of("\r\n"), 200));
}

std::string milliseconds_text(std::uint32_t us) { return fmt::format("{:.2f}", us / 1000.0); }

}  // namespace

ProbeReport run_probe(const ProbeOptions& options, const std::atomic<bool>& stop) {
  ProbeReport report;
  auto begin = Clock::now();
  auto address =
      resolve(options.target.where, options.target.protocol == ProbeProtocol::udp ? SOCK_DGRAM : SOCK_STREAM);
  if (!address) {
    report.failures = std::max(1u, options.count);
    report.by_failure[address.error().to_string()] = report.failures;
    return report;
  }
  std::mutex mutex;  // guards report, last and gap
  std::atomic<std::uint64_t> started{0};
  auto last = begin;
  Clock::duration gap{0};
  auto work = [&] {
    Worker worker(options, *address);
    for (;;) {
      if (stop) return;
      if (options.duration.count() > 0 ? Clock::now() - begin >= options.duration : started++ >= options.count) return;
      auto t0 = Clock::now();
      auto outcome = worker.ask();
      auto t1 = Clock::now();
      {
        std::lock_guard lock(mutex);
        if (outcome) {
          ++report.answers;
          ++report.by_pod[echo_field(*outcome, "pod")];
          report.microseconds.push_back(
              static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(t1 - t0).count()));
          report.last_answer = first_line(*outcome);
          gap = std::max(gap, t1 - last);
          last = t1;
        } else {
          ++report.failures;
          ++report.by_failure[outcome.error().to_string()];
        }
      }
      if (options.interval.count() > 0) std::this_thread::sleep_for(options.interval);
    }
  };
  std::vector<std::thread> threads;
  auto n = std::clamp(options.concurrency, 1u, 512u);
  for (unsigned i = 1; i < n; ++i) threads.emplace_back(work);
  work();
  for (auto& t : threads) t.join();
  std::sort(report.microseconds.begin(), report.microseconds.end());
  report.elapsed = std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
  report.longest_gap = std::chrono::duration_cast<milliseconds>(std::max(gap, Clock::now() - last));
  return report;
}

std::uint32_t ProbeReport::percentile(double p) const {
  if (microseconds.empty()) return 0;
  auto i = static_cast<std::size_t>(p / 100 * static_cast<double>(microseconds.size()));
  return microseconds[std::min(i, microseconds.size() - 1)];
}

std::string ProbeReport::to_text() const {
  std::string out;
  if (answers == 1 && failures == 0) return last_answer + "\n";
  out += fmt::format("{} answer{}, {} failure{} in {} ms\n", answers, answers == 1 ? "" : "s", failures,
                     failures == 1 ? "" : "s", elapsed.count());
  for (const auto& [pod, n] : by_pod)
    out += fmt::format("  {:<32} {:>7}  {:5.1f} %\n", pod.empty() ? "(no pod named)" : pod, n,
                       100.0 * static_cast<double>(n) / static_cast<double>(answers));
  if (answers > 0)
    out += fmt::format("  latency ms: p50 {}  p90 {}  p99 {}  max {}   longest gap {} ms\n",
                       milliseconds_text(percentile(50)), milliseconds_text(percentile(90)),
                       milliseconds_text(percentile(99)), milliseconds_text(microseconds.back()), longest_gap.count());
  for (const auto& [why, n] : by_failure) out += fmt::format("  failed {}x: {}\n", n, why);
  return out;
}

std::string ProbeReport::to_json() const {
  boost::json::object o, pods, failed, latency;
  for (const auto& [pod, n] : by_pod) pods[pod] = n;
  for (const auto& [why, n] : by_failure) failed[why] = n;
  for (auto [name, p] :
       {std::pair("p50", 50.0), std::pair("p90", 90.0), std::pair("p99", 99.0), std::pair("max", 100.0)})
    latency[name] = percentile(p);
  o["answers"] = answers;
  o["failures"] = failures;
  o["pods"] = std::move(pods);
  o["errors"] = std::move(failed);
  o["latencyMicroseconds"] = std::move(latency);
  o["elapsedMilliseconds"] = elapsed.count();
  o["longestGapMilliseconds"] = longest_gap.count();
  o["lastAnswer"] = last_answer;
  return boost::json::serialize(o) + "\n";
}

}  // namespace trama::cli
