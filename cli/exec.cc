// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/exec.h"

#include <charconv>
#include <csignal>
#include <deque>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "base/async/task_group.h"
#include "cli/terminal.h"
#include "control/api/object.h"
#include "control/client/api_client.h"

namespace trama::cli {

using async::awaitable;
using async::kTuple;
using base::Error;
using base::Result;
namespace asio = boost::asio;

namespace {

// Channel numbers of v5.channel.k8s.io: the first byte of every message.
enum Channel : char { kStdin = 0, kStdout = 1, kStderr = 2, kError = 3, kResize = 4, kClose = static_cast<char>(255) };

// WebSocket writes come from three places (stdin, resize, close): one at a time, in order.
class Sender {
 public:
  Sender(client::WebSocket& socket, asio::any_io_executor ex) : socket_(socket), wake_(std::move(ex)) {}
  void put(std::string message) {
    queue_.push_back(std::move(message));
    wake_.set();
  }
  std::size_t waiting() const { return queue_.size(); }
  awaitable<void> run() {
    for (;;) {
      while (!queue_.empty()) {
        auto message = std::move(queue_.front());
        queue_.pop_front();
        auto sent = co_await socket_.write(std::move(message));
        if (!sent) co_return;
      }
      co_await wake_.wait();
    }
  }

 private:
  client::WebSocket& socket_;
  std::deque<std::string> queue_;
  async::Event wake_;
};

std::string framed(char channel, std::string_view bytes) {
  std::string m(1, channel);
  m += bytes;
  return m;
}

// stdin may be a file, which epoll refuses: those are read at once, they never block.
awaitable<void> pump_stdin(Sender& sender) {
  auto ex = co_await asio::this_coro::executor;
  std::string buffer(32 * 1024, '\0');
  int copy = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  boost::system::error_code ec;
  asio::posix::stream_descriptor in(ex);
  if (copy >= 0) in.assign(copy, ec);
  bool pollable = copy >= 0 && !ec;
  if (copy >= 0 && ec) ::close(copy);
  for (;;) {
    std::size_t n = 0;
    if (pollable) {
      // Wait, then one plain read: the descriptor stays blocking, as the shell we came from expects it.
      auto [error] = co_await in.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
      if (error) co_return;
    }
    auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    n = static_cast<std::size_t>(got);
    sender.put(framed(kStdin, std::string_view(buffer.data(), n)));
    while (sender.waiting() > 64) co_await async::sleep_for(std::chrono::milliseconds(1));
  }
  sender.put(framed(kClose, std::string_view("\0", 1)));
}

void send_size(Sender& sender) {
  auto size = window_size(STDIN_FILENO);
  sender.put(framed(kResize, fmt::format("{{\"Width\":{},\"Height\":{}}}", size.columns, size.rows)));
}

awaitable<void> watch_size(Sender& sender) {
  asio::signal_set changes(co_await asio::this_coro::executor, SIGWINCH);
  for (;;) {
    send_size(sender);
    auto [ec, number] = co_await changes.async_wait(kTuple);
    if (ec) co_return;
  }
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      usleep(1000);
      continue;
    }
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

awaitable<Result<int>> read_all(client::WebSocket& socket) {
  for (;;) {
    auto message = co_await socket.read();
    if (!message) {
      // The server closed without a Status: the connection was cut, and with it the command's fate is unknown.
      if (message.error().code().value() == ENODATA)
        co_return Error::text("the connection ended before the command did", std::errc::connection_reset);
      co_return std::move(message).error();
    }
    if (message->empty()) continue;
    std::string_view payload = std::string_view(*message).substr(1);
    switch ((*message)[0]) {
      case kStdout: write_all(STDOUT_FILENO, payload); break;
      case kStderr: write_all(STDERR_FILENO, payload); break;
      case kError: {
        boost::system::error_code ec;
        auto status = json::parse(payload, ec);
        if (ec) co_return Error::text(std::string(payload), std::errc::protocol_error);
        co_return exit_code_of_status(status);
      }
      default: break;
    }
  }
}

}  // namespace

Result<int> exit_code_of_status(const json::value& v) {
  const auto* status = v.if_object();
  if (!status) return Error::text("the command's status is not an object", std::errc::protocol_error);
  if (api::text_at(*status, "status") == "Success") return 0;
  for (const auto& c : api::array_at(*status, "details.causes")) {
    const auto* cause = c.if_object();
    if (!cause || api::text_at(*cause, "reason") != "ExitCode") continue;
    auto text = api::text_at(*cause, "message");
    int code = 0;
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), code);
    if (ec == std::errc() && end == text.data() + text.size()) return code;
  }
  auto message = api::text_at(*status, "message", "the command failed");
  auto reason = api::text_at(*status, "reason");
  return Error::text(message, reason == "NotFound" ? std::errc::no_such_file_or_directory : std::errc::io_error);
}

awaitable<Result<int>> exec_session(client::ApiClient& client, ExecOptions options) {
  std::string protocol = "v5.channel.k8s.io";
  auto opened = co_await client.websocket(options.path, protocol);
  if (!opened) co_return std::move(opened).error();
  auto socket = std::move(*opened);
  auto ex = co_await asio::this_coro::executor;
  std::unique_ptr<RawTerminal> raw;
  if (options.terminal && options.use_stdin) raw = std::make_unique<RawTerminal>(STDIN_FILENO);
  Result<int> code;
  {
    Sender sender(*socket, ex);
    async::TaskGroup tasks(ex);
    tasks.spawn("exec sender", sender.run());
    if (options.use_stdin) tasks.spawn("exec stdin", pump_stdin(sender));
    if (options.terminal) tasks.spawn("exec window size", watch_size(sender));
    code = co_await read_all(*socket);
    co_await tasks.stop();
  }
  raw.reset();
  co_await socket->close();
  co_return code;
}

}  // namespace trama::cli
