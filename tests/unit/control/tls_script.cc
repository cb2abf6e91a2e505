// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/control/tls_script.h"

#include <csignal>
#include <ctime>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace trama::control::test {

TestPki::TestPki() : authority(std::move(*pki::Authority::create("test-ca", std::time(nullptr)))) {
  pki::Issue issue;
  issue.subject.common_name = "server";
  issue.names.dns = {"kubernetes.default.svc"};
  issue.names.ips = {base::Ip::v4(127, 0, 0, 1)};
  issue.usage.server = true;
  issue.now = std::time(nullptr);
  serving = *authority.issue(issue);
  serving.certificate_pem += authority.certificate_pem();
}

TlsScript::TlsScript(const pki::KeyPair& serving, Script script, const std::string& client_ca)
    : script_(std::move(script)), context_(SSL_CTX_new(TLS_server_method())) {
  std::signal(SIGPIPE, SIG_IGN);
  auto chain = *pki::Certificate::chain_from_pem(serving.certificate_pem);
  auto key = *pki::PrivateKey::from_pem(serving.key_pem);
  SSL_CTX_use_certificate(context_, chain[0].get());
  SSL_CTX_use_PrivateKey(context_, key.get());
  for (std::size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context_, chain[i].get());
  if (!client_ca.empty()) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_), pki::Certificate::from_pem(client_ca)->get());
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&a), size) != 0 || ::listen(listener_.get(), 64) != 0)
    abort();
  ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&a), &size);
  port_ = ntohs(a.sin_port);
  acceptor_ = std::thread([this] { serve(); });
}

TlsScript::~TlsScript() {
  stop_ = true;
  acceptor_.join();
  for (auto& t : sessions_) t.join();
  SSL_CTX_free(context_);
}

void TlsScript::serve() {
  while (!stop_) {
    pollfd p{listener_.get(), POLLIN, 0};
    if (::poll(&p, 1, 20) <= 0) continue;
    int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    int number = connections_++;
    sessions_.emplace_back([this, fd, number] { serve_one(fd, number); });
  }
}

void TlsScript::serve_one(int fd, int number) {
  base::UniqueFd owned(fd);
  timeval limit{5, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  SSL* ssl = SSL_new(context_);
  SSL_set_fd(ssl, fd);
  if (SSL_accept(ssl) == 1) {
    ++handshakes_;
    Connection c(ssl, *this);
    script_(c, number);
    SSL_shutdown(ssl);
  } else {
    // TLS 1.3: a client that refuses our certificate may still have been counted as connected; whatever it sent is
    // read.
    char bytes[256];
    int n = SSL_read(ssl, bytes, sizeof bytes);
    if (n > 0) {
      std::lock_guard lock(mutex_);
      received_.append(bytes, static_cast<std::size_t>(n));
    }
  }
  SSL_free(ssl);
}

std::string TlsScript::received() const {
  std::lock_guard lock(mutex_);
  return received_;
}

std::vector<std::string> TlsScript::requests() const {
  std::lock_guard lock(mutex_);
  return requests_;
}

std::string TlsScript::Connection::read_request() {
  for (;;) {
    auto end = rest_.find("\r\n\r\n");
    if (end != std::string::npos) {
      auto head = rest_.substr(0, end + 4);
      std::size_t length = 0;
      for (const char* name : {"Content-Length: ", "content-length: "})
        if (auto at = head.find(name); at != std::string::npos) length = std::stoul(head.substr(at + 16));
      if (rest_.size() >= head.size() + length) {
        auto request = rest_.substr(0, head.size() + length);
        rest_.erase(0, request.size());
        std::lock_guard lock(owner_.mutex_);
        owner_.requests_.push_back(request.substr(0, request.find("\r\n")));
        return request;
      }
    }
    char bytes[4096];
    int n = SSL_read(ssl_, bytes, sizeof bytes);
    if (n <= 0) return "";
    rest_.append(bytes, static_cast<std::size_t>(n));
    std::lock_guard lock(owner_.mutex_);
    owner_.received_.append(bytes, static_cast<std::size_t>(n));
  }
}

bool TlsScript::Connection::write(const std::string& bytes) {
  return bytes.empty() || SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
}

void TlsScript::Connection::reply(int status, const std::string& body) {
  write(fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", status,
                    body.size(), body));
}

void TlsScript::Connection::begin_chunks() {
  write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
}
void TlsScript::Connection::chunk(const std::string& bytes) {
  write(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
}
void TlsScript::Connection::end_chunks() { write("0\r\n\r\n"); }

void TlsScript::Connection::wait_closed() {
  char bytes[4096];
  for (int n = 0; (n = SSL_read(ssl_, bytes, sizeof bytes)) > 0;) {
    std::lock_guard lock(owner_.mutex_);
    owner_.received_.append(bytes, static_cast<std::size_t>(n));
  }
}

}  // namespace trama::control::test
