// SPDX-License-Identifier: GPL-2.0-or-later
// One TLS connection to the server. Private to control/client; includes Beast.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/fields.hpp>

#include "base/async/byte_stream.h"
#include "base/async/dial.h"
#include "control/client/api_client.h"
#include "control/client/tls.h"

namespace trama::client {

namespace beast = boost::beast;
namespace http = beast::http;
using async::tcp;
using async::TlsStream;
using async::transport_error;

// Why no answer could be read, in words: what was wrong with it where that is known.
base::Error answer_error(const boost::system::error_code& ec, std::string what);

struct Target {
  std::string host;  // without brackets
  std::string port;
  std::string authority;  // for the Host header
  std::string verify;     // name or address that the certificate must carry
};
// One for each server; at least one.
base::Result<std::vector<Target>> parse_targets(const ClientOptions& options);

struct Connection;
using OpenConnections = std::set<Connection*>;  // of one client, on its executor

struct Connection {
  Connection(async::asio::any_io_executor ex, std::shared_ptr<TlsSetup> setup)
      : tls(std::move(setup)),
        stream(beast::tcp_stream(std::move(ex)), tls->context),
        bytes(async::byte_stream(stream)) {}
  std::shared_ptr<TlsSetup> tls;  // outlives the stream
  TlsStream stream;
  std::unique_ptr<async::ByteStream> bytes;  // the same
  beast::flat_buffer buffer{1u << 16};
  bool used = false;                       // has carried a whole exchange before
  std::size_t server = 0;                  // which of the client's
  std::shared_ptr<OpenConnections> among;  // where it is listed while it lives

  ~Connection() {
    if (among) among->erase(this);
  }
  void list_in(std::shared_ptr<OpenConnections> all) {
    among = std::move(all);
    among->insert(this);
  }

  bool looks_alive() { return async::looks_alive(lowest().socket()); }
  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream); }
};

awaitable<base::Result<std::unique_ptr<Connection>>> open_connection(async::asio::any_io_executor ex,
                                                                     std::shared_ptr<TlsSetup> tls, Target target,
                                                                     milliseconds limit);

awaitable<base::Result<std::unique_ptr<WebSocket>>> open_websocket(std::unique_ptr<Connection> connection,
                                                                   Target target, std::string path,
                                                                   std::string subprotocol, Headers headers,
                                                                   milliseconds limit);

}  // namespace trama::client
