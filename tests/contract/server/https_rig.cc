// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/contract/server/https_rig.h"

#include <csignal>
#include <ctime>
#include <future>
#include <stdexcept>

#include <arpa/inet.h>
#include <boost/asio/co_spawn.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "control/store/writes.h"
#include "tests/support/run_coroutine.h"

namespace trama::test {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

sockaddr_in loopback(const std::string& ip, std::uint16_t port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &a.sin_addr);
  return a;
}

pki::KeyPair issue(const pki::Authority& authority, const std::string& name, const std::string& group, bool server) {
  pki::Issue i;
  i.subject.common_name = name;
  if (!group.empty()) i.subject.organizations = {group};
  i.usage.server = server;
  i.usage.client = !server;
  if (server) i.names.ips = {base::Ip::v4(127, 0, 0, 1)};
  i.now = std::time(nullptr);
  return *authority.issue(i);
}

int left(steady_clock::time_point end) {
  auto ms = std::chrono::duration_cast<milliseconds>(end - steady_clock::now()).count();
  return ms < 0 ? 0 : static_cast<int>(ms);
}

}  // namespace

HttpsRig::HttpsRig(server::Options options, store::StoreOptions store_options)
    : authority_(std::move(*pki::Authority::create("test-ca", std::time(nullptr)))) {
  std::signal(SIGPIPE, SIG_IGN);
  auto store = store::open_store(store::make_null_log(), context_.get_executor(), store_options);
  if (!store) throw std::runtime_error(store.error().to_string());
  store_ = std::move(*store);
  store::Decision make = [](store::Transaction& tx) {
    const auto& kind = *api::kind_of_resource("namespaces");
    return store::create(tx, kind, {"namespaces", "", "default"}, {}, std::chrono::system_clock::now());
  };
  auto made = run_coroutine(context_, store_->write(std::move(make)));
  if (!made) throw std::runtime_error(made.error().message);
  serving_ = issue(authority_, "server", "", true);
  options.certificate_pem = serving_.certificate_pem;
  options.key_pem = serving_.key_pem;
  options.client_ca_pem = authority_.certificate_pem();
  auto server = server::Server::create(context_.get_executor(), *store_, std::move(options));
  if (!server) throw std::runtime_error(server.error().to_string());
  server_ = std::move(*server);
  base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto address = loopback("0.0.0.0", 0);
  socklen_t size = sizeof address;
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket.get(), 512) != 0)
    throw std::runtime_error("no listening socket");
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  if (auto ok = server_->listen(std::move(socket)); !ok) throw std::runtime_error(ok.error().to_string());
  context_.restart();
  thread_ = std::thread([this] { context_.run(); });
}

HttpsRig::~HttpsRig() {
  auto end = [this]() -> async::awaitable<void> {
    co_await server_->stop();
    co_await store_->close();
  };
  std::promise<void> done;
  async::asio::co_spawn(context_, end, [&](std::exception_ptr) { done.set_value(); });
  done.get_future().wait();
  context_.stop();
  thread_.join();
}

pki::KeyPair HttpsRig::identity(const std::string& name, const std::string& group) const {
  return issue(authority_, name, group, false);
}

pki::KeyPair HttpsRig::identity_of(const pki::Authority& authority, const std::string& name, const std::string& group) {
  return issue(authority, name, group, false);
}

base::Result<> HttpsRig::trust(const std::string& bundle_pem) {
  std::promise<base::Result<>> done;
  async::asio::post(context_,
                    [&] { done.set_value(server_->use_tls(serving_.certificate_pem, serving_.key_pem, bundle_pem)); });
  return done.get_future().get();
}

std::string HttpReply::header(const std::string& name) const {
  auto at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  at += name.size() + 4;
  return head.substr(at, head.find("\r\n", at) - at);
}

RawClient::RawClient(const HttpsRig& rig, Options options) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  auto from = loopback(options.from, 0), to = loopback("127.0.0.1", rig.port());
  if (options.receive_buffer > 0)
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &options.receive_buffer, sizeof options.receive_buffer);
  int one = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  timeval limit{10, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  connected_ = ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&from), sizeof from) == 0 &&
               ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  if (!connected_ || !options.tls) return;
  context_ = SSL_CTX_new(TLS_client_method());
  if (!options.identity.certificate_pem.empty()) {
    auto certificate = pki::Certificate::from_pem(options.identity.certificate_pem);
    auto key = pki::PrivateKey::from_pem(options.identity.key_pem);
    SSL_CTX_use_certificate(context_, certificate->get());
    SSL_CTX_use_PrivateKey(context_, key->get());
  }
  ssl_ = SSL_new(context_);
  SSL_set_fd(ssl_, socket_.get());
  SSL_clear_mode(ssl_, SSL_MODE_AUTO_RETRY);  // what is not data must not make a read wait for some
  connected_ = SSL_connect(ssl_) == 1;
}

RawClient::~RawClient() {
  if (ssl_) SSL_free(ssl_);
  if (context_) SSL_CTX_free(context_);
}

bool RawClient::send(const std::string& bytes) {
  return connected_ && SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
}

bool RawClient::send_raw(const std::string& bytes) {
  return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

std::string RawClient::read_some(milliseconds limit) {
  if (auto kept = std::exchange(rest_, {}); !kept.empty()) return kept;
  auto end = steady_clock::now() + limit;
  while (connected_ && !closed_ && (SSL_pending(ssl_) > 0 || wait_readable(left(end)))) {
    std::string out(16'384, '\0');
    int n = SSL_read(ssl_, out.data(), static_cast<int>(out.size()));
    if (n > 0) {
      out.resize(static_cast<std::size_t>(n));
      return out;
    }
    if (SSL_get_error(ssl_, n) != SSL_ERROR_WANT_READ) closed_ = true;  // otherwise: a session ticket or the like
  }
  return "";
}

bool RawClient::wait_readable(int ms) {
  pollfd p{socket_.get(), POLLIN, 0};
  return ::poll(&p, 1, ms) == 1;
}

HttpReply RawClient::reply(milliseconds limit) {
  auto end = steady_clock::now() + limit;
  HttpReply out;
  std::string all;
  for (;;) {
    auto more = read_some(milliseconds(left(end)));
    if (more.empty()) return {};
    all += more;
    auto head = all.find("\r\n\r\n");
    if (head == std::string::npos) continue;
    out.head = all.substr(0, head + 2);
    auto length = out.header("Content-Length");
    auto size = length.empty() ? 0 : std::stoul(length);
    if (all.size() < head + 4 + size) continue;
    out.status = std::stoi(out.head.substr(9, 3));
    out.body = all.substr(head + 4, size);
    rest_ = all.substr(head + 4 + size);
    return out;
  }
}

HttpReply RawClient::ask(const std::string& method, const std::string& path, const std::string& body) {
  auto head = fmt::format("{} {} HTTP/1.1\r\nHost: x\r\n", method, path);
  if (!body.empty()) head += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  if (!send(head + "\r\n" + body)) return {};
  return reply();
}

milliseconds RawClient::until_closed(milliseconds limit) {
  auto start = steady_clock::now(), end = start + limit;
  std::string unread;
  char bytes[4096];
  while (!closed_ && steady_clock::now() < end) {
    if (connected_ && ssl_)
      unread += read_some(milliseconds(left(end)));
    else if (wait_readable(left(end)) && ::recv(socket_.get(), bytes, sizeof bytes, 0) <= 0)
      closed_ = true;
  }
  rest_ = std::move(unread);
  return closed_ ? std::chrono::duration_cast<milliseconds>(steady_clock::now() - start) : limit;
}

}  // namespace trama::test
