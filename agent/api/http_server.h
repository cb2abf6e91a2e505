// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/api/http.h"
#include "base/ip.h"

namespace trama::agent {

// Who may connect, over TLS. Without it the server speaks plain HTTP.
struct HttpTls {
  std::string certificate_pem, key_pem;
  std::string client_ca_pem;  // a client certificate is mandatory
  // Whom the certificate must speak for, once it has been verified.
  std::function<bool(const std::string& common_name, const std::vector<std::string>& organizations)> allowed;
};

struct HttpServerOptions {
  std::string name;                         // of the logger
  std::vector<base::IpPort> listen;         // port 0 picks one, see port()
  std::vector<base::Cidr> refused_sources;  // connections from here are closed without a word
  std::size_t connections = 128;            // more than that are closed at once
  bool early = false;  // the addresses may come later, as that of a second uplink whose network is not up yet
  std::chrono::milliseconds patience{10'000};  // for a handshake, a request, or a client that does not take its answer
};

// Listens, and gives every request to the handler. Everything happens on the executor given; stop() ends all
// connections and waits for their handlers.
class HttpServer {
 public:
  static base::Result<std::unique_ptr<HttpServer>> start(async::asio::any_io_executor ex, HttpServerOptions options,
                                                         HttpHandler handler);
  static base::Result<std::unique_ptr<HttpServer>> start_tls(async::asio::any_io_executor ex, HttpServerOptions options,
                                                             HttpTls tls, HttpHandler handler);
  virtual ~HttpServer() = default;
  // For connections made from now on.
  virtual base::Result<> use_certificate(std::string certificate_pem, std::string key_pem,
                                         std::string client_ca_pem) = 0;
  virtual std::uint16_t port() const = 0;  // of the first listener
  virtual awaitable<void> stop() = 0;
};

}  // namespace trama::agent
