// SPDX-License-Identifier: GPL-2.0-or-later
// One connection to one member. Private to control/etcd; includes Beast.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/async/byte_stream.h"
#include "control/etcd/gateway.h"

namespace trama::etcd {

namespace asio = async::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using async::TcpStream;
using async::TlsStream;
using Parser = http::response_parser<http::string_body>;

struct Member {
  std::string url, host, port, authority;
  bool tls = false;
};

struct Connection {
  explicit Connection(const Member& to) : member(to) {}
  Member member;
  std::shared_ptr<asio::ssl::context> context;  // outlives `tls`
  std::optional<TlsStream> tls;
  std::optional<TcpStream> plain;
  std::unique_ptr<async::ByteStream> bytes;  // whichever of the two there is
  beast::flat_buffer buffer{1u << 16};

  TcpStream& lowest() { return bytes->transport(); }
};

awaitable<base::Result<std::unique_ptr<Connection>>> connect(asio::any_io_executor ex, Member to,
                                                             std::shared_ptr<asio::ssl::context> context,
                                                             milliseconds limit);
// Writes a POST and reads the answer's head, or all of it.
awaitable<base::Result<>> exchange(Connection& c, std::string path, std::string body, Parser& parser, bool whole);
// Reads some more of a body.
awaitable<base::Result<>> read_more(Connection& c, Parser& parser);

base::Result<Member> parse_member(const std::string& url);
base::Result<std::shared_ptr<asio::ssl::context>> make_context(const GatewayOptions& options);

}  // namespace trama::etcd
