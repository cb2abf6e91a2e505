// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/mesh/link.h"

#include <array>

#include "base/async/dial.h"

namespace trama::overlay::mesh {

namespace asio = boost::asio;
using async::kTuple;
using base::Error;
using base::Result;
using Verdict = peers::Judgement::Verdict;

namespace {

constexpr auto kGoodbye = std::chrono::milliseconds(500);  // for the last words to leave

Error refusal(std::string sentence) { return Error::text(std::move(sentence), std::errc::protocol_error); }

}  // namespace

Link::Link(asio::any_io_executor ex, asio::ip::tcp::socket socket, Side side, IpPort remote)
    : side_(side), remote_(remote), tcp_(std::move(socket)), wake_(ex) {
  async::keep_alive(tcp_.socket(), std::chrono::seconds(10), std::chrono::seconds(5));
  tcp_.expires_after(kHandshake);
}

awaitable<Result<>> Link::greet() {
  auto mine = peers::greeting();
  std::string theirs;
  // The dialer speaks first, so that a stranger who only connects learns nothing and costs nothing.
  if (side_ == Side::dialer) {
    auto [ec, n] = co_await asio::async_write(tcp_, asio::buffer(mine), kTuple);
    if (ec) co_return async::transport_error(ec, "greet");
  }
  std::array<char, peers::kGreetingSize> buffer;
  peers::Judgement judgement;
  while (judgement.verdict == Verdict::more) {
    auto room = asio::buffer(buffer.data(), peers::kGreetingSize - theirs.size());
    auto [ec, n] = co_await tcp_.async_read_some(room, kTuple);
    if (ec) co_return async::transport_error(ec, "no greeting came");
    theirs.append(buffer.data(), n);
    judgement = peers::judge_greeting(theirs);
  }
  foreign_ = judgement.verdict == Verdict::weave || judgement.verdict == Verdict::foreign;
  if (side_ == Side::acceptor || foreign_) {
    std::string answer = side_ == Side::acceptor ? mine : std::string();
    if (judgement.verdict != Verdict::fine) answer += "\ntrama: " + judgement.sentence + "\n";
    auto [ec, n] = co_await asio::async_write(tcp_, asio::buffer(answer), kTuple);
    if (ec) co_return async::transport_error(ec, "greet");
  }
  if (judgement.verdict != Verdict::fine) co_return refusal(judgement.sentence);
  heard_ = judgement.theirs;
  co_return Result<>();
}

awaitable<Result<>> Link::secure(std::shared_ptr<asio::ssl::context> context, WhoIs who_is) {
  context_ = std::move(context);
  tls_.emplace(std::move(tcp_), *context_);
  auto role = side_ == Side::dialer ? asio::ssl::stream_base::client : asio::ssl::stream_base::server;
  auto [ec] = co_await tls_->async_handshake(role, kTuple);
  if (ec == boost::beast::error::timeout) co_return refusal("the TLS handshake took too long");
  if (ec) co_return refusal("TLS: " + handshake_failure(tls_->native_handle(), ec));
  auto secured = look_at_peer(tls_->native_handle(), who_is);
  if (!secured) co_return refusal(secured.error().to_string());
  secured_ = std::move(*secured);
  stream_ = async::byte_stream(*tls_);
  co_return Result<>();
}

void Link::begin(peers::Hello hello, Millis now) {
  hello.mine = peers::Versions{};
  hello.heard = heard_;
  session_.emplace(std::move(hello), secured_.who.node, now);
  stream_->transport().expires_never();  // from here on the session watches the time
}

awaitable<void> Link::read(std::shared_ptr<Link> self, std::function<Millis()> now, OnEvent on_event) {
  std::array<char, 16 * 1024> buffer;
  while (!self->shut_ && !self->session_->closed()) {
    auto room = asio::buffer(buffer);
    auto [ec, n] = co_await self->stream_->read_some(room);
    if (ec) {
      auto why = ec == asio::error::eof || ec == asio::ssl::error::stream_truncated
                     ? std::string("it closed the connection")
                     : ec.message();
      if (!self->session_->closed()) on_event(peers::Session::Closed{std::move(why), false});
      self->session_->close("");
      break;
    }
    for (const auto& event : self->session_->receive(std::string_view(buffer.data(), n), now())) on_event(event);
    self->flush();
  }
  self->flush();
}

awaitable<void> Link::write(std::shared_ptr<Link> self) {
  while (!self->shut_) {
    auto output = self->session_->take_output();
    if (output.empty()) {
      if (self->session_->closed()) break;
      co_await self->wake_.wait();
      continue;
    }
    bool last = self->session_->closed();
    if (last) self->stream_->transport().expires_after(kGoodbye);
    std::vector<asio::const_buffer> pieces;
    pieces.push_back(asio::buffer(output));
    auto ec = co_await self->stream_->write(std::move(pieces));
    if (ec) break;
  }
  self->shut();
}

void Link::shut() {
  if (std::exchange(shut_, true)) return;
  boost::system::error_code ignored;
  auto& socket = stream_ ? stream_->transport().socket() : tcp_.socket();
  socket.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket.close(ignored);
  wake_.set();
}

}  // namespace trama::overlay::mesh
