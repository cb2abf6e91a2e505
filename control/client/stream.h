// SPDX-License-Identifier: GPL-2.0-or-later
// What a connection becomes when its answer does not end. Private to control/client.
#pragma once

#include <memory>
#include <string>

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/line_buffer.h"
#include "control/client/connection.h"

namespace trama::client {

using BodyParser = http::response_parser<http::string_body>;

class HttpStream final : public Stream {
 public:
  // `parser` has read the head.
  HttpStream(std::unique_ptr<Connection> connection, std::unique_ptr<BodyParser> parser, std::size_t line_limit);
  int status() const override;
  awaitable<base::Result<std::string>> read(milliseconds limit) override;
  awaitable<base::Result<std::string>> read_line(milliseconds limit) override;

 private:
  awaitable<base::Result<std::string>> more(milliseconds limit);
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<BodyParser> parser_;
  base::LineBuffer lines_;
  std::size_t line_limit_;
};

class TlsTunnel final : public Tunnel {
 public:
  explicit TlsTunnel(std::unique_ptr<Connection> connection);
  awaitable<base::Result<std::string>> read() override;
  awaitable<base::Result<>> write(std::string bytes) override;
  void close() override;

 private:
  std::unique_ptr<Connection> connection_;
};

}  // namespace trama::client
