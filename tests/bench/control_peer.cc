// SPDX-License-Identifier: GPL-2.0-or-later
// What a real etcd takes for the write that every Kubernetes API server waits for.
#include <csignal>
#include <filesystem>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <unistd.h>

#include "control/pki/base64.h"
#include "tests/bench/control_rig.h"

namespace trama::bench {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

constexpr const char* kEtcd = "/usr/bin/etcd";

struct Puts {
  std::uint16_t port;
  Clock::time_point end;
  std::size_t done = 0;
  std::string value = pki::to_base64(std::string(1024, 'x'));
};

awaitable<void> put_until(Puts& puts, std::size_t worker) {
  auto ex = co_await asio::this_coro::executor;
  beast::tcp_stream stream(ex);
  tcp::endpoint where(asio::ip::address_v4::loopback(), puts.port);
  auto [connect_ec] = co_await stream.async_connect(where, async::kTuple);
  if (connect_ec) fail("etcd: " + connect_ec.message());
  beast::flat_buffer buffer;
  for (std::size_t i = 0; Clock::now() < puts.end; ++i) {
    http::request<http::string_body> request(http::verb::post, "/v3/kv/put", 11);
    request.set(http::field::host, "127.0.0.1");
    auto key = pki::to_base64(fmt::format("/bench/{}/{}", worker, i));
    request.body() = fmt::format(R"({{"key":"{}","value":"{}"}})", key, puts.value);
    request.prepare_payload();
    auto [sent_ec, sent] = co_await http::async_write(stream, request, async::kTuple);
    http::response<http::string_body> answer;
    auto [read_ec, read] = co_await http::async_read(stream, buffer, answer, async::kTuple);
    if (sent_ec || read_ec || answer.result() != http::status::ok) fail("etcd: a put was not answered");
    ++puts.done;
  }
}

}  // namespace

bool EtcdPeer::installed() { return ::access(kEtcd, X_OK) == 0; }

EtcdPeer::EtcdPeer() : port_(free_port()) {
  auto clients = fmt::format("http://127.0.0.1:{}", port_), peers = fmt::format("http://127.0.0.1:{}", free_port());
  pid_ = test::start_program(
      {kEtcd, "--data-dir", scratch_.path + "/etcd", "--listen-client-urls", clients, "--advertise-client-urls",
       clients, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster",
       "default=" + peers, "--log-level", "error"},
      scratch_.path + "/log");
  asio::io_context context;
  for (auto begin = Clock::now(); seconds_since(begin) < 20; ::usleep(50'000)) {
    tcp::socket probe(context);
    boost::system::error_code ec;
    probe.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port_), ec);
    if (!ec) return;
  }
  fail("etcd did not start");
}

EtcdPeer::~EtcdPeer() { test::end_program(pid_, SIGTERM); }

double EtcdPeer::puts_per_second(std::size_t together, std::chrono::milliseconds how_long) {
  asio::io_context context(1);
  auto begin = Clock::now();
  Puts puts{port_, begin + how_long};
  for (std::size_t i = 0; i < together; ++i)
    asio::co_spawn(context, put_until(puts, i), [](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
    });
  context.run();
  return static_cast<double>(puts.done) / seconds_since(begin);
}

}  // namespace trama::bench
