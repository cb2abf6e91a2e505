// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/api/exec.h"

#include <deque>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <fcntl.h>

#include "base/async/run_on.h"
#include "control/api/object.h"

namespace trama::agent {
namespace {

namespace asio = async::asio;
namespace json = boost::json;
using async::kTuple;
using Pipe = asio::posix::stream_descriptor;

enum Channel : char { kStdin = 0, kStdout = 1, kStderr = 2, kError = 3, kResize = 4, kClose = '\xff' };
constexpr std::size_t kPiece = 32 * 1024;
constexpr std::size_t kMostQueued = 64;  // pieces that wait for a slow client; then the command's output waits

// Messages to the client from several readers, one after the other.
class Outbox {
 public:
  explicit Outbox(async::WebSocket& socket, asio::any_io_executor ex) : socket_(socket), wake_(ex), room_(ex) {}

  awaitable<bool> put(char channel, std::string data) {
    while (!broken_ && queue_.size() >= kMostQueued) co_await room_.wait_for(std::chrono::seconds(1));
    if (broken_) co_return false;
    data.insert(data.begin(), channel);
    queue_.push_back(std::move(data));
    wake_.set();
    co_return true;
  }
  void close() {
    closing_ = true;
    wake_.set();
  }
  awaitable<void> run() {
    while (!broken_) {
      if (queue_.empty()) {
        if (closing_) co_return;
        co_await wake_.wait();
        continue;
      }
      auto message = std::move(queue_.front());
      queue_.pop_front();
      room_.set();
      auto sent = co_await socket_.write(std::move(message));
      if (!sent) broken_ = true;
    }
  }

 private:
  async::WebSocket& socket_;
  async::Event wake_, room_;
  std::deque<std::string> queue_;
  bool closing_ = false, broken_ = false;
};

// What the command writes, until it and its children have let go of the pipe.
awaitable<void> pump(Pipe& from, char channel, Outbox& outbox) {
  std::string buffer(kPiece, '\0');
  while (from.is_open()) {
    auto [ec, n] = co_await from.async_read_some(asio::buffer(buffer), kTuple);
    if (n > 0) {
      auto piece = buffer.substr(0, n);
      auto taken = co_await outbox.put(channel, std::move(piece));
      if (!taken) co_return;
    }
    if (ec) co_return;  // EOF, and EIO of a terminal that nobody holds any more
  }
}

void resize(netns::ExecProcess& process, std::string_view text) {
  boost::system::error_code ec;
  auto value = json::parse(json::string_view(text.data(), text.size()), ec);
  if (ec || !value.is_object()) return;
  auto dimension = [&](const char* name) {
    auto n = api::int_at(value.get_object(), name);
    return static_cast<unsigned short>(n < 0 ? 0 : n > 10000 ? 10000 : n);
  };
  netns::TerminalSize size;
  size.columns = dimension("Width");
  size.rows = dimension("Height");
  (void)process.resize(size);
}

// What the client sends, until it goes away.
awaitable<void> receive(async::WebSocket& socket, netns::ExecProcess& process, Pipe& input) {
  for (;;) {
    auto message = co_await socket.read();
    if (!message) co_return;
    if (message->empty()) continue;
    char channel = message->front();
    auto data = message->substr(1);
    if (channel == kResize) resize(process, data);
    if (channel == kClose && data.size() == 1 && data[0] == kStdin) {
      boost::system::error_code ignored;
      input.close(ignored);
    }
    if (channel == kStdin && !data.empty() && input.is_open()) {
      auto [ec, n] = co_await asio::async_write(input, asio::buffer(data), kTuple);
      boost::system::error_code ignored;
      if (ec) input.close(ignored);
    }
  }
}

constexpr auto kLastWords = std::chrono::milliseconds(300);

// A command that leaves children behind which hold its pipes is over all the same, once what it wrote has been read.
awaitable<void> over(Pipe& pidfd) {
  auto [ec] = co_await pidfd.async_wait(Pipe::wait_read, kTuple);
  (void)ec;
  co_await async::sleep_for(kLastWords);
}

// One command and its client. Everything runs in the one coroutine tree of run(): cancelling that ends all of it.
class Conversation {
 public:
  Conversation(netns::ExecProcess& process, async::WebSocket& socket, bool terminal, asio::any_io_executor ex,
               asio::any_io_executor files)
      : process_(process),
        socket_(socket),
        files_(std::move(files)),
        outbox_(socket, ex),
        out_(ex),
        err_(ex),
        in_(ex),
        pidfd_(ex) {
    // A terminal is one descriptor for both directions; each direction gets one of its own.
    take(out_, terminal ? duplicate(process.terminal) : process.stdout_r.release());
    take(err_, process.stderr_r.release());
    take(in_, terminal ? duplicate(process.terminal) : process.stdin_w.release());
    take(pidfd_, duplicate(process.pidfd));
  }

  awaitable<void> run() {
    using namespace asio::experimental::awaitable_operators;
    auto deliver = deliver_all();
    auto listen = receive(socket_, process_, in_);
    auto winner = co_await (std::move(deliver) || std::move(listen));
    if (winner.index() == 0 || waited_) co_return;
    (void)process_.kill();  // the client has gone
    auto job = [this] { return process_.wait(); };
    co_await async::run_on(files_, job);
  }

 private:
  static int duplicate(const base::UniqueFd& fd) { return fd ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3) : -1; }
  static void take(Pipe& pipe, int fd) {
    if (fd < 0) return;
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    pipe.assign(fd);
  }

  awaitable<void> deliver_all() {
    using namespace asio::experimental::awaitable_operators;
    auto sending = outbox_.run();
    auto talking = talk();
    co_await (std::move(sending) && std::move(talking));
    co_await socket_.close();
  }

  awaitable<void> talk() {
    using namespace asio::experimental::awaitable_operators;
    auto read_out = pump(out_, kStdout, outbox_);
    auto read_err = pump(err_, kStderr, outbox_);
    auto reading = std::move(read_out) && std::move(read_err);
    auto ending = over(pidfd_);
    co_await (std::move(reading) || std::move(ending));
    auto [ec] = co_await pidfd_.async_wait(Pipe::wait_read, kTuple);  // wait() must not block the files' thread
    (void)ec;
    auto job = [this] { return process_.wait(); };
    waited_ = true;
    auto code = co_await async::run_on(files_, job);
    auto verdict = code ? exec_status(*code) : exec_failure(code.error().to_string());
    co_await outbox_.put(kError, std::move(verdict));
    outbox_.close();
  }

  netns::ExecProcess& process_;
  async::WebSocket& socket_;
  asio::any_io_executor files_;
  Outbox outbox_;
  Pipe out_, err_, in_, pidfd_;
  bool waited_ = false;
};

}  // namespace

awaitable<void> serve_exec(AskExec ask, netns::Uid uid, const netns::PodProcesses& pods, asio::any_io_executor files,
                           HttpExchange& exchange) {
  std::vector<std::string> protocols = {"v5.channel.k8s.io", "v4.channel.k8s.io"};
  auto socket = co_await exchange.websocket(std::move(protocols));
  if (!socket) co_return;
  netns::ExecRequest request;
  request.uid = std::move(uid);
  request.container = ask.where.container;
  request.command = std::move(ask.command);
  request.stdin_open = ask.stdin_open;
  request.terminal = ask.terminal;
  auto job = [&] { return netns::start_exec(pods, request); };
  auto process = co_await async::run_on(files, job);
  if (!process) {
    std::string failure(1, static_cast<char>(kError));
    failure += exec_failure(process.error().to_string());
    co_await (*socket)->write(std::move(failure));
    co_await (*socket)->close();
    co_return;
  }
  auto ex = co_await asio::this_coro::executor;
  Conversation conversation(*process, **socket, ask.terminal, ex, files);
  co_await conversation.run();
}

}  // namespace trama::agent
