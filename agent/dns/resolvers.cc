// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/dns/resolvers.h"

#include <algorithm>
#include <random>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "agent/resolv_conf.h"
#include "base/async/deadline.h"
#include "base/async/endpoint.h"

namespace trama::agent::dns {

namespace asio = async::asio;
using asio::ip::tcp;
using asio::ip::udp;
using async::kTuple;

namespace {

constexpr std::uint16_t kPort = 53;

base::Error failed(const base::IpPort& server, const boost::system::error_code& ec) {
  return {std::error_code(ec), fmt::format("ask {}", server.to_string())};
}

awaitable<base::Result<Bytes>> over_udp(base::IpPort server, Bytes query) {
  auto ex = co_await asio::this_coro::executor;
  udp::socket socket(ex);
  boost::system::error_code ec;
  auto there = async::endpoint_of<udp>(server);
  socket.open(there.protocol(), ec);
  if (!ec) socket.connect(there, ec);
  if (ec) co_return failed(server, ec);
  auto [sent, n] = co_await socket.async_send(asio::buffer(query), kTuple);
  if (sent) co_return failed(server, sent);
  Bytes reply(kLargestMessage);
  for (;;) {
    auto [got, size] = co_await socket.async_receive(asio::buffer(reply), kTuple);
    if (got) co_return failed(server, got);
    if (!answers(std::span(reply).first(size), query)) continue;
    reply.resize(size);
    co_return reply;
  }
}

awaitable<base::Result<Bytes>> over_tcp(base::IpPort server, Bytes query) {
  auto ex = co_await asio::this_coro::executor;
  tcp::socket socket(ex);
  auto there = async::endpoint_of<tcp>(server);
  auto [connected] = co_await socket.async_connect(there, kTuple);
  if (connected) co_return failed(server, connected);
  Bytes framed{static_cast<std::uint8_t>(query.size() >> 8), static_cast<std::uint8_t>(query.size())};
  framed.insert(framed.end(), query.begin(), query.end());
  auto [sent, n] = co_await asio::async_write(socket, asio::buffer(framed), kTuple);
  if (sent) co_return failed(server, sent);
  std::array<std::uint8_t, 2> length{};
  auto [headed, h] = co_await asio::async_read(socket, asio::buffer(length), kTuple);
  if (headed) co_return failed(server, headed);
  Bytes reply(static_cast<std::size_t>(length[0] << 8 | length[1]));
  auto [got, size] = co_await asio::async_read(socket, asio::buffer(reply), kTuple);
  if (got) co_return failed(server, got);
  if (!answers(reply, query))
    co_return base::Error::text(fmt::format("{} answered another question", server.to_string()));
  co_return reply;
}

std::uint16_t random_number() {
  static std::random_device device;  // the kernel's random numbers
  return static_cast<std::uint16_t>(device());
}

void set_number(Bytes& message, std::uint16_t id) {
  message[0] = static_cast<std::uint8_t>(id >> 8);
  message[1] = static_cast<std::uint8_t>(id);
}

}  // namespace

std::vector<base::IpPort> servers_of(std::string_view resolv_conf, const std::vector<base::Ip>& ours) {
  std::vector<base::IpPort> out;
  for (const auto& ip : read_resolv_conf(resolv_conf).nameservers)
    if (out.size() < kMostNameservers && std::find(ours.begin(), ours.end(), ip) == ours.end())
      out.push_back({ip, kPort});
  return out;
}

bool Resolvers::use(std::vector<base::IpPort> servers) {
  if (servers == servers_) return false;
  servers_ = std::move(servers);
  preferred_ = 0;
  return true;
}

awaitable<base::Result<Bytes>> Resolvers::ask(Bytes query, bool tcp) {
  if (servers_.empty()) co_return base::Error::text("this node's resolv.conf names no server that could be asked");
  if (asking_ >= options_.in_flight) co_return base::Error::text("too many questions are waiting for an answer");
  ++asking_;
  struct Asked {
    std::size_t& n;
    ~Asked() { --n; }
  } asked{asking_};
  std::uint16_t theirs = static_cast<std::uint16_t>(query[0] << 8 | query[1]);
  auto servers = servers_;
  std::rotate(servers.begin(), servers.begin() + static_cast<std::ptrdiff_t>(preferred_ % servers.size()),
              servers.end());
  std::optional<base::Error> last;
  for (int round = 0; round < 2; ++round) {
    for (const auto& server : servers) {
      set_number(query, random_number());
      auto attempt = tcp ? over_tcp(server, query) : over_udp(server, query);
      auto what = fmt::format("no answer from {}", server.to_string());
      auto reply = co_await async::with_deadline(std::move(attempt), options_.patience, std::move(what));
      if (!reply) {
        last = reply.error();
        continue;
      }
      auto at = std::find(servers_.begin(), servers_.end(), server);
      if (at != servers_.end()) preferred_ = static_cast<std::size_t>(at - servers_.begin());
      set_number(*reply, theirs);
      co_return reply;
    }
  }
  co_return *last;
}

}  // namespace trama::agent::dns
