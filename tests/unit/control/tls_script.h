// SPDX-License-Identifier: GPL-2.0-or-later
// An HTTPS server for tests that does exactly what a test says, connection by connection, and remembers what it was
// sent.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <openssl/ssl.h>

#include "base/unique_fd.h"
#include "control/pki/authority.h"

namespace trama::control::test {

// A CA with a serving certificate for 127.0.0.1 and kubernetes.default.svc.
struct TestPki {
  TestPki();
  pki::Authority authority;
  pki::KeyPair serving;
};

class TlsScript {
 public:
  class Connection {
   public:
    // One request: head and, by Content-Length, body. "" when the client has gone.
    std::string read_request();
    bool write(const std::string& bytes);  // false once the client has gone
    // "HTTP/1.1 200 OK" with a JSON body, connection kept.
    void reply(int status, const std::string& body);
    void begin_chunks();
    void chunk(const std::string& bytes);
    void end_chunks();
    // Waits until the client closes, at most five seconds.
    void wait_closed();

   private:
    friend class TlsScript;
    Connection(SSL* ssl, TlsScript& owner) : ssl_(ssl), owner_(owner) {}
    SSL* ssl_;
    TlsScript& owner_;
    std::string rest_;
  };
  using Script = std::function<void(Connection&, int number)>;  // number counts connections from 0

  // `client_ca`: clients must present a certificate of this CA.
  TlsScript(const pki::KeyPair& serving, Script script, const std::string& client_ca = "");
  ~TlsScript();
  std::string url() const { return "https://127.0.0.1:" + std::to_string(port_); }
  std::uint16_t port() const { return port_; }
  int connections() const { return connections_; }
  int handshakes() const { return handshakes_; }
  std::string received() const;               // all application bytes of all connections
  std::vector<std::string> requests() const;  // their first lines

 private:
  void serve();
  void serve_one(int fd, int number);
  Script script_;
  SSL_CTX* context_;
  base::UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> connections_{0}, handshakes_{0};
  mutable std::mutex mutex_;
  std::string received_;
  std::vector<std::string> requests_;
  std::vector<std::thread> sessions_;
  std::thread acceptor_;
};

}  // namespace trama::control::test
