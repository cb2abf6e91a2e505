// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/echo/server.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <queue>

#include <sys/epoll.h>
#include <unistd.h>

#include "cli/echo/http.h"
#include "cli/echo/socket.h"

namespace trama::cli {
namespace {

using base::Error;
using base::Result;
using base::UniqueFd;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kLargestAnswer = 64u << 20;
constexpr long kLongestPause = 600'000;
constexpr std::size_t kUnsentLimit = 4u << 20;  // stop reading from a peer that does not read

enum class Protocol { http, tcp, udp };

struct Listener {
  UniqueFd fd;
  Protocol protocol = Protocol::http;
};

// One accepted connection. `paused` is set while a /slow answer waits: further requests stay in `in`.
struct Connection {
  UniqueFd fd;
  std::uint64_t serial = 0;
  Protocol protocol = Protocol::http;
  std::string client;
  std::string in, out;
  std::size_t skip = 0;  // bytes of a request body still to be dropped
  bool paused = false;
  bool closing = false;  // close once `out` is sent
  bool reading = true;   // EPOLLIN is armed
};

struct Wake {
  Clock::time_point at;
  int fd;
  std::uint64_t serial;  // the connection it was meant for: descriptors are reused
  std::string answer;
  bool operator<(const Wake& o) const { return at > o.at; }
};

long number(const HttpRequest& r, const char* name, long highest) {
  auto it = r.query.find(name);
  long n = 0;
  if (it != r.query.end()) std::from_chars(it->second.data(), it->second.data() + it->second.size(), n);
  return std::clamp(n, 0L, highest);
}

class Server final : public EchoServer {
 public:
  Server(EchoIdentity identity, std::chrono::milliseconds drain, UniqueFd epoll)
      : identity_(std::move(identity)), drain_(drain), epoll_(std::move(epoll)) {}

  Result<> add(Protocol protocol, const std::string& where) {
    auto address = parse_host_port(where);
    if (!address) return std::move(address).error();
    auto fd = bind_socket(protocol == Protocol::udp ? SOCK_DGRAM : SOCK_STREAM, *address);
    if (!fd) return std::move(fd).error();
    ports_.push_back(local_address(fd->get()).port());
    if (auto r = watch(fd->get(), EPOLLIN, EPOLL_CTL_ADD); !r) return r;
    int key = fd->get();
    listeners_[key] = Listener{std::move(*fd), protocol};
    return {};
  }

  std::vector<std::uint16_t> ports() const override { return ports_; }

  Result<> run(const std::atomic<bool>& stop) override {
    std::array<epoll_event, 256> events{};
    for (;;) {
      if (stop && !drain_until_) drain_until_ = Clock::now() + drain_;
      if (drain_until_ && Clock::now() >= *drain_until_) return {};
      int n = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout());
      if (n < 0 && errno != EINTR) return Error::from_errno(errno, "wait for requests");
      for (int i = 0; i < n; ++i) on_event(events[static_cast<std::size_t>(i)]);
      run_wakes();
    }
  }

 private:
  Result<> watch(int fd, std::uint32_t events, int operation) {
    epoll_event e{};
    e.events = events;
    e.data.fd = fd;
    if (epoll_ctl(epoll_.get(), operation, fd, &e) < 0) return Error::from_errno(errno, "watch a socket");
    return {};
  }

  int timeout() const {
    auto next = Clock::now() + std::chrono::milliseconds(200);
    if (!wakes_.empty()) next = std::min(next, wakes_.top().at);
    if (drain_until_) next = std::min(next, *drain_until_);
    auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    return static_cast<int>(std::max<long>(left, 0));
  }

  void on_event(const epoll_event& e) {
    if (auto l = listeners_.find(e.data.fd); l != listeners_.end()) {
      if (l->second.protocol == Protocol::udp)
        answer_datagrams(e.data.fd);
      else
        accept_all(l->second);
      return;
    }
    auto c = connections_.find(e.data.fd);
    if (c == connections_.end()) return;
    bool alive = !(e.events & EPOLLERR);
    if (alive && (e.events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))) alive = read_from(c->second);
    if (alive) alive = advance(c->second);
    if (!alive) connections_.erase(c);
  }

  // Answers and sends until the peer, a pause or a lack of input stops it. False: the connection is over.
  bool advance(Connection& c) {
    for (;;) {
      auto before = c.in.size();
      if (!serve_requests(c) || !flush(c)) return false;
      if (!c.out.empty() || c.paused || c.in.empty() || c.in.size() == before) return true;
    }
  }

  void accept_all(const Listener& l) {
    for (;;) {
      SocketAddress peer;
      peer.length = sizeof peer.storage;
      UniqueFd fd(accept4(l.fd.get(), peer.get(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) {
        // Out of descriptors: the listener stays readable; give running answers a moment instead of spinning.
        if (errno == EMFILE || errno == ENFILE) usleep(1000);
        return;
      }
      int key = fd.get();
      if (!watch(key, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_ADD)) continue;
      Connection c;
      c.fd = std::move(fd);
      c.serial = ++serial_;
      c.protocol = l.protocol;
      c.client = peer.to_string();
      if (c.protocol == Protocol::tcp) c.out = echo_line(identity_, c.client) + "\n";
      auto& kept = connections_[key] = std::move(c);
      if (!flush(kept)) connections_.erase(key);
    }
  }

  void answer_datagrams(int fd) {
    std::array<char, 65536> buffer;  // NOLINT: filled by recvfrom
    for (;;) {
      SocketAddress peer;
      peer.length = sizeof peer.storage;
      auto n = recvfrom(fd, buffer.data(), buffer.size(), 0, peer.get(), &peer.length);
      if (n < 0) return;
      auto line = echo_line(identity_, peer.to_string()) + " data=";
      line.append(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(n), 60'000));
      (void)!sendto(fd, line.data(), line.size(), 0, peer.get(), peer.length);
    }
  }

  // False: the connection is over.
  bool read_from(Connection& c) {
    std::array<char, 16384> buffer;  // NOLINT: filled by read
    for (;;) {
      auto n = read(c.fd.get(), buffer.data(), buffer.size());
      if (n == 0) {
        if (c.paused) return false;
        c.closing = true;
        return !c.out.empty();
      }
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      (c.protocol == Protocol::tcp ? c.out : c.in).append(buffer.data(), static_cast<std::size_t>(n));
      if (c.out.size() + c.in.size() > kUnsentLimit) return true;  // flush() decides whether to read on
    }
  }

  bool serve_requests(Connection& c) {
    while (!c.paused && !c.closing && !c.in.empty() && c.out.size() < kUnsentLimit) {
      auto dropped = std::min(c.skip, c.in.size());
      c.in.erase(0, dropped);
      c.skip -= dropped;
      if (c.skip > 0 || c.in.empty()) return true;
      auto head = parse_http_request(c.in);
      if (!head) {
        c.out += http_response(400, head.error().to_string() + "\n", false);
        c.closing = true;
        return true;
      }
      if (!*head) return true;
      c.in.erase(0, (*head)->bytes);
      c.skip = (*head)->request.body_bytes;
      respond(c, (*head)->request);
    }
    return true;
  }

  void respond(Connection& c, const HttpRequest& r) {
    auto line = echo_line(identity_, c.client) + " path=" + r.path + "\n";
    if (!r.keep_alive) c.closing = true;
    if (r.path == "/healthz") {
      c.out += answer(r, "ok\n");
    } else if (r.path == "/bytes") {
      auto n = static_cast<std::size_t>(number(r, "n", kLargestAnswer));
      c.out += answer(r, std::string(n, 'x'));
    } else if (r.path == "/slow") {
      c.paused = true;
      auto at = Clock::now() + std::chrono::milliseconds(number(r, "ms", kLongestPause));
      wakes_.push(Wake{at, c.fd.get(), c.serial, answer(r, line)});
    } else {
      c.out += answer(r, line);
    }
  }

  // To HEAD the same answer without its body.
  static std::string answer(const HttpRequest& r, std::string_view body) {
    auto text = http_response(200, body, r.keep_alive);
    if (r.method == "HEAD") text.resize(text.size() - body.size());
    return text;
  }

  void run_wakes() {
    auto now = Clock::now();
    while (!wakes_.empty() && wakes_.top().at <= now) {
      auto wake = wakes_.top();
      wakes_.pop();
      auto c = connections_.find(wake.fd);
      if (c == connections_.end() || c->second.serial != wake.serial) continue;
      c->second.paused = false;
      c->second.out += wake.answer;
      if (!advance(c->second)) connections_.erase(c);
    }
  }

  // Sends what there is and arms epoll accordingly. False: the connection is over.
  bool flush(Connection& c) {
    std::size_t sent = 0;
    while (sent < c.out.size()) {
      auto n = send(c.fd.get(), c.out.data() + sent, c.out.size() - sent, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return false;
        break;
      }
      sent += static_cast<std::size_t>(n);
    }
    c.out.erase(0, sent);
    if (c.out.empty() && c.closing && !c.paused) return false;
    bool want_read = !c.closing && c.out.size() + c.in.size() < kUnsentLimit;
    std::uint32_t events = (want_read ? EPOLLIN | EPOLLRDHUP : 0u) | (c.out.empty() ? 0u : EPOLLOUT);
    return bool(watch(c.fd.get(), events, EPOLL_CTL_MOD));
  }

  EchoIdentity identity_;
  std::chrono::milliseconds drain_;
  std::optional<Clock::time_point> drain_until_;
  UniqueFd epoll_;
  std::map<int, Listener> listeners_;
  std::map<int, Connection> connections_;
  std::priority_queue<Wake> wakes_;
  std::vector<std::uint16_t> ports_;
  std::uint64_t serial_ = 0;
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

EchoIdentity EchoIdentity::from_environment() {
  EchoIdentity id{variable("TRAMA_POD"), variable("TRAMA_NODE"), variable("TRAMA_NAMESPACE")};
  if (id.pod.empty()) id.pod = variable("HOSTNAME");
  if (id.pod.empty()) {
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) == 0) id.pod = name;
  }
  return id;
}

std::string echo_line(const EchoIdentity& id, const std::string& client) {
  return fmt::format("pod={} node={} namespace={} client={}", id.pod, id.node, id.ns, client);
}

std::string echo_field(std::string_view line, std::string_view key) {
  while (!line.empty()) {
    auto word = line.substr(0, line.find_first_of(" \r\n"));
    line.remove_prefix(std::min(line.size(), word.size() + 1));
    if (word.starts_with(key) && word.size() > key.size() && word[key.size()] == '=')
      return std::string(word.substr(key.size() + 1));
  }
  return "";
}

Result<std::unique_ptr<EchoServer>> EchoServer::listen(const EchoOptions& options) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::from_errno(errno, "make an epoll");
  auto server = std::make_unique<Server>(options.identity, options.drain, std::move(epoll));
  for (auto [list, protocol] : {std::pair(&options.http, Protocol::http), std::pair(&options.tcp, Protocol::tcp),
                                std::pair(&options.udp, Protocol::udp)})
    for (const auto& where : *list)
      if (auto r = server->add(protocol, where); !r) return std::move(r).error();
  return std::unique_ptr<EchoServer>(std::move(server));
}

}  // namespace trama::cli
