// SPDX-License-Identifier: GPL-2.0-or-later
// One connection on 6783/tcp: greeting, TLS, then a Session with its bytes carried back and forth.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/async/byte_stream.h"
#include "overlay/mesh/tls.h"
#include "overlay/peers/keys.h"
#include "overlay/peers/session.h"

namespace trama::overlay::mesh {

using async::awaitable;
using base::IpPort;
using peers::Millis;
using peers::Side;

class Link {
 public:
  static constexpr Millis kHandshake{5'000};  // greeting, TLS, hello: all together
  static constexpr std::size_t kMostWaiting = 4 << 20;

  Link(async::asio::any_io_executor ex, boost::asio::ip::tcp::socket socket, Side side, IpPort remote);

  // The greetings. EPROTO with a sentence when the other side is not one of us; `foreign` tells that it never was.
  awaitable<base::Result<>> greet();
  // TLS. EPROTO with a sentence when that fails or the certificate is nobody's.
  awaitable<base::Result<>> secure(std::shared_ptr<boost::asio::ssl::context> context, WhoIs who_is);
  // From here on there is a session; `hello` lacks only what the connection itself decides.
  void begin(peers::Hello hello, Millis now);

  using OnEvent = std::function<void(const peers::Session::Event&)>;
  // Until the connection ends. `now` is asked at each piece.
  static awaitable<void> read(std::shared_ptr<Link> self, std::function<Millis()> now, OnEvent on_event);
  static awaitable<void> write(std::shared_ptr<Link> self);

  bool has_session() const { return session_.has_value(); }
  peers::Session& session() { return *session_; }
  const peers::Session& session() const { return *session_; }
  // After anything was said in the session: it must be sent.
  void flush() { wake_.set(); }
  void shut();  // at once, nothing more is sent

  Side side() const { return side_; }
  const IpPort& remote() const { return remote_; }
  const Certified& who() const { return secured_.who; }
  bool foreign() const { return foreign_; }
  // The third node that it leads over; "" = there is none.
  const std::string& via() const { return via_; }
  void set_via(std::string node) { via_ = std::move(node); }
  // Our address that it leads from; unspecified = not known.
  const base::Ip& local() const { return local_; }
  void set_local(const base::Ip& address) { local_ = address; }
  // Once: what the keys of datagrams are made of.
  std::string take_exported() { return std::exchange(secured_.exported, {}); }
  std::string take_tunnel_exported() { return std::exchange(secured_.tunnel_exported, {}); }
  Millis established{0};

 private:
  Side side_;
  IpPort remote_;
  base::Ip local_;
  async::TcpStream tcp_;
  std::shared_ptr<boost::asio::ssl::context> context_;  // must outlive the stream
  std::optional<async::TlsStream> tls_;
  std::unique_ptr<async::ByteStream> stream_;
  peers::Versions heard_;
  Secured secured_;
  std::optional<peers::Session> session_;
  async::Event wake_;
  bool shut_ = false, foreign_ = false;
  std::string via_;
};

}  // namespace trama::overlay::mesh
