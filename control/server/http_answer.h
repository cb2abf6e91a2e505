// SPDX-License-Identifier: GPL-2.0-or-later
// One answer on one connection, as HTTP/1.1. Private to control/server.
#pragma once

#include "base/async/byte_stream.h"
#include "control/server/server.h"

namespace trama::server {

class HttpAnswer final : public Stream {
 public:
  // `buffer` holds what came behind the request. A client that takes nothing for `slow` is given up.
  HttpAnswer(async::ByteStream& stream, boost::beast::flat_buffer& buffer, bool keep_alive, bool head,
             std::chrono::milliseconds slow)
      : stream_(stream), buffer_(buffer), keep_alive_(keep_alive), head_(head), slow_(slow) {}

  awaitable<base::Result<>> reply(Reply reply) override;
  awaitable<base::Result<>> begin(int status, std::string content_type) override;
  awaitable<base::Result<>> chunk(std::string data) override;
  awaitable<base::Result<>> finish() override;
  awaitable<base::Result<std::string>> read_some() override;
  awaitable<base::Result<>> write(std::string data) override;

  // "100 Continue": the client waits for it before it sends its body.
  awaitable<base::Result<>> go_on();
  // Returns when the client has closed its side, or sends what nobody will read.
  awaitable<void> wait_gone();
  // The connection ends with this answer.
  void close_afterwards() { keep_alive_ = false; }

  bool answered() const { return answered_; }
  // False once the connection can not carry another request.
  bool reusable() const { return keep_alive_ && !raw_ && !broken_; }

 private:
  awaitable<base::Result<>> send(std::vector<async::asio::const_buffer> pieces);
  void be_patient() { stream_.transport().expires_after(slow_); }
  base::Result<> outcome(const boost::system::error_code& ec);

  async::ByteStream& stream_;
  boost::beast::flat_buffer& buffer_;
  bool keep_alive_, head_;
  std::chrono::milliseconds slow_;
  bool answered_ = false, raw_ = false, broken_ = false;
};

}  // namespace trama::server
