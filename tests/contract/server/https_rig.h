// SPDX-License-Identifier: GPL-2.0-or-later
// The API server on loopback over real TLS, in a thread of its own, and clients that do with their bytes what they
// like.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <openssl/ssl.h>

#include "base/unique_fd.h"
#include "control/pki/authority.h"
#include "control/server/server.h"
#include "control/store/memory_store.h"

namespace trama::test {

class HttpsRig {
 public:
  // Certificates, the store and what stands in its way are the rig's; everything else of the options counts.
  explicit HttpsRig(server::Options options = {}, store::StoreOptions store = {});
  ~HttpsRig();
  HttpsRig(const HttpsRig&) = delete;
  HttpsRig& operator=(const HttpsRig&) = delete;

  std::uint16_t port() const { return port_; }
  const pki::Authority& authority() const { return authority_; }
  pki::KeyPair identity(const std::string& name, const std::string& group) const;
  static pki::KeyPair identity_of(const pki::Authority& authority, const std::string& name, const std::string& group);
  // Clients are taken with certificates of these from now on.
  base::Result<> trust(const std::string& bundle_pem);

 private:
  async::asio::io_context context_{1};
  pki::Authority authority_;
  pki::KeyPair serving_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<server::Server> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

struct HttpReply {
  int status = 0;  // 0: no answer came
  std::string head, body;
  std::string header(const std::string& name) const;  // "" when absent; case as sent by us
};

// A client that blocks. Nothing it does throws: a connection that has ended reads as "".
class RawClient {
 public:
  struct Options {
    std::string from = "127.0.0.1";  // any of 127.0.0.0/8
    pki::KeyPair identity;           // empty: nobody
    int receive_buffer = 0;          // of the socket; 0 = the kernel's
    bool tls = true;                 // false: connected, and not a byte sent
  };
  explicit RawClient(const HttpsRig& rig) : RawClient(rig, Options()) {}
  RawClient(const HttpsRig& rig, Options options);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }  // the handshake included
  bool send(const std::string& bytes);
  bool send_raw(const std::string& bytes);  // below TLS
  // What comes within `limit`; "" when nothing does or the connection has ended.
  std::string read_some(std::chrono::milliseconds limit = std::chrono::seconds(5));
  // One whole answer with a Content-Length.
  HttpReply reply(std::chrono::milliseconds limit = std::chrono::seconds(5));
  HttpReply ask(const std::string& method, const std::string& path, const std::string& body = "");
  // How long it takes until the server hangs up; `limit` when it does not.
  std::chrono::milliseconds until_closed(std::chrono::milliseconds limit);

 private:
  bool wait_readable(int ms);
  base::UniqueFd socket_;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  bool connected_ = false, closed_ = false;
  std::string rest_;  // read, and not asked for yet
};

}  // namespace trama::test
