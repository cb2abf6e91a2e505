// SPDX-License-Identifier: GPL-2.0-or-later
// Talks to the members of an etcd cluster through their JSON gateways: HTTP/1.1 with kept-alive connections, plain or
// TLS. Everything runs on the executor given at construction (one thread); a call is cancelled by cancelling its
// coroutine.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/async/event.h"
#include "base/result.h"
#include "control/etcd/wire.h"

namespace trama::etcd {

using async::awaitable;
using std::chrono::milliseconds;

struct GatewayOptions {
  std::vector<std::string> urls;  // "http://10.0.0.1:2379", "https://etcd-1:2379"; all members of one cluster
  std::string ca_pem;             // for https: whom to trust; needed
  std::string certificate_pem;    // the client's, with its key; both or none
  std::string key_pem;
  milliseconds connect_timeout{1'000};  // TCP and TLS together
  milliseconds request_timeout{3'000};
  std::size_t answer_limit = 64u << 20;
};

struct Reply {
  Failure failure;     // code ok: `text` is the answer
  std::string text;    // JSON
  bool maybe = false;  // no answer that says so: it may have happened, and may still happen
  bool ok() const { return failure.code == Code::ok; }
  base::Error error() const;  // of a reply that is not ok()
};

// The lines of a watch. Destroying it closes the connection.
class LineStream {
 public:
  virtual ~LineStream() = default;
  // The next line; an error when the stream has ended or was closed.
  virtual awaitable<base::Result<std::string>> next() = 0;
  // next() fails from now on, also the one that waits.
  virtual void close() = 0;
  virtual const std::string& member() const = 0;
  // When bytes came last: a line may be all of history, and take its time.
  virtual std::chrono::steady_clock::time_point last_heard() const = 0;
};

class Gateway {
 public:
  // Fails when a URL or a PEM text can not be used; does not connect.
  static base::Result<std::unique_ptr<Gateway>> make(async::asio::any_io_executor ex, GatewayOptions options);
  virtual ~Gateway() = default;
  // One request to the member that worked last. A member that can not be reached is left for the next one; an answer
  // that does not come (or "no leader" and the like) is given back as `maybe`, and the next call goes elsewhere.
  virtual awaitable<Reply> call(std::string path, std::string body) = 0;
  // For reads and writes that may happen twice: tries all members, twice round, before it gives up.
  awaitable<Reply> call_again(std::string path, std::string body);
  // POST /v3/watch; every call begins with the next member.
  virtual awaitable<base::Result<std::unique_ptr<LineStream>>> watch(std::string body) = 0;
  virtual std::size_t members() const = 0;
};

}  // namespace trama::etcd
