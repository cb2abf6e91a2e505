// SPDX-License-Identifier: GPL-2.0-or-later
#include <thread>

#include <arpa/inet.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "agent/api/http_server.h"
#include "agent/api/routes.h"
#include "base/unique_fd.h"

namespace trama::agent {
namespace {

HttpRequest get(const std::string& target, const std::string& method = "GET") {
  HttpRequest r;
  r.method = method;
  auto question = target.find('?');
  r.path = target.substr(0, question);
  if (question != std::string::npos) r.query = parse_query(target.substr(question + 1));
  return r;
}

TEST(Routes, Pages) {
  EXPECT_TRUE(std::holds_alternative<AskHealth>(*parse_route(get("/healthz"))));
  EXPECT_TRUE(std::holds_alternative<AskStatus>(*parse_route(get("/status"))));
  EXPECT_TRUE(std::holds_alternative<AskPods>(*parse_route(get("/pods"))));
  EXPECT_TRUE(std::holds_alternative<AskPlan>(*parse_route(get("/debug/plan"))));
  EXPECT_TRUE(std::holds_alternative<AskDesired>(*parse_route(get("/debug/desired"))));
  for (auto target : {"/", "", "/nope", "/debug", "/containerLogs/a/b", "/containerLogs/a/b/c/d"})
    EXPECT_TRUE(parse_route(get(target)).error().is(std::errc::no_such_file_or_directory)) << target;
  EXPECT_TRUE(parse_route(get("/status", "DELETE")).error().is(std::errc::invalid_argument));
}

TEST(Routes, LogsAndTheirParameters) {
  auto ask = parse_route(
      get("/containerLogs/default/web-1/web?follow=true&tailLines=10&sinceSeconds=5&limitBytes=7&timestamps=1"));
  ASSERT_TRUE(ask);
  const auto& logs = std::get<AskLogs>(*ask);
  EXPECT_EQ(logs.where.pod, "web-1");
  EXPECT_TRUE(logs.follow);
  EXPECT_TRUE(logs.timestamps);
  EXPECT_EQ(logs.tail_lines, 10u);
  EXPECT_EQ(logs.since_seconds, 5u);
  EXPECT_EQ(logs.limit_bytes, 7u);
  EXPECT_FALSE(parse_route(get("/containerLogs/default/web-1/web?tailLines=-1")));
  EXPECT_FALSE(parse_route(get("/containerLogs/default/web-1/web?tailLines=x")));
}

TEST(Routes, NamesThatWouldBePathsAreRefused) {
  for (auto target : {"/containerLogs/default/web-1/..", "/containerLogs/default/%2e%2e/web",
                      "/containerLogs/a%2fb/c/d", "/containerLogs/default/web-1/%00", "/containerLogs/default/Web/web"})
    EXPECT_FALSE(parse_route(get(target))) << target;
}

TEST(Routes, Exec) {
  auto ask = parse_route(
      get("/exec/default/web-1/web?command=sh&command=-c&command=echo+a%20b&input=1&tty=true&output=1", "POST"));
  ASSERT_TRUE(ask);
  const auto& exec = std::get<AskExec>(*ask);
  EXPECT_EQ(exec.command, (std::vector<std::string>{"sh", "-c", "echo a b"}));
  EXPECT_TRUE(exec.stdin_open);
  EXPECT_TRUE(exec.terminal);
  EXPECT_FALSE(parse_route(get("/exec/default/web-1/web")));
  EXPECT_NE(exec_status(3).find(R"("causes":[{"reason":"ExitCode","message":"3"}])"), std::string::npos);
  EXPECT_NE(exec_status(0).find(R"("status":"Success")"), std::string::npos);
}

// A server on a thread of its own, asked with plain sockets.
class HttpServerTest : public ::testing::Test {
 protected:
  void start(HttpServerOptions options, HttpHandler handler) {
    options.name = "test";
    options.listen = {{base::Ip::v4(127, 0, 0, 1), 0}};
    auto server = HttpServer::start(context_.get_executor(), std::move(options), std::move(handler));
    ASSERT_TRUE(server) << server.error().to_string();
    server_ = std::move(*server);
    thread_ = std::thread([this] { context_.run(); });
  }
  void TearDown() override {
    if (!server_) return;
    auto stop = server_->stop();
    boost::asio::co_spawn(context_, std::move(stop), [](std::exception_ptr) {});
    thread_.join();
    server_.reset();
  }
  std::string talk(const std::string& request) {
    base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server_->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return "no connection";
    timeval limit{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::string out;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
      out.append(buffer, static_cast<std::size_t>(n));
    return out;
  }
  boost::asio::io_context context_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

TEST_F(HttpServerTest, AnswersStreamsAndKeepsTheConnection) {
  HttpHandler handler = [](HttpRequest request, HttpExchange& exchange) -> awaitable<void> {
    if (request.path == "/stream") {
      std::string type = "text/plain", one = "one ", two = "two";
      co_await exchange.begin(200, type);
      co_await exchange.chunk(one);
      co_await exchange.chunk(two);
      co_await exchange.finish();
      co_return;
    }
    HttpReply reply;
    reply.body = request.path + "|" + request.parameter("q");
    co_await exchange.reply(reply);
  };
  start({}, handler);
  auto both =
      talk("GET /a?q=b%20c HTTP/1.1\r\nHost: x\r\n\r\nGET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(both.find("\r\n\r\n/a|b c"), std::string::npos) << both;
  EXPECT_NE(both.find("4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"), std::string::npos) << both;
}

TEST_F(HttpServerTest, RefusedSourcesGetNothing) {
  HttpServerOptions options;
  options.refused_sources = {*base::Cidr::parse("127.0.0.0/8")};
  HttpHandler handler = [](HttpRequest, HttpExchange& exchange) -> awaitable<void> {
    HttpReply reply;
    co_await exchange.reply(reply);
  };
  start(options, handler);
  EXPECT_EQ(talk("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "");
}

TEST_F(HttpServerTest, AClientThatLeavesEndsASilentAnswer) {
  std::atomic<bool> noticed{false};
  HttpHandler handler = [&noticed](HttpRequest, HttpExchange& exchange) -> awaitable<void> {
    std::string type = "text/plain";
    co_await exchange.begin(200, type);
    co_await exchange.gone();
    noticed = true;
  };
  start({}, handler);
  {
    base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server_->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    char byte;
    ASSERT_EQ(::recv(fd.get(), &byte, 1, 0), 1);
    EXPECT_FALSE(noticed);
  }
  for (int i = 0; i < 500 && !noticed; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(noticed);
}

TEST_F(HttpServerTest, GarbageIsNoRequest) {
  HttpHandler handler = [](HttpRequest, HttpExchange& exchange) -> awaitable<void> {
    HttpReply reply;
    co_await exchange.reply(reply);
  };
  start({}, handler);
  EXPECT_EQ(talk("\x16\x03\x01 nonsense\r\n\r\n"), "");
  EXPECT_NE(talk("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").find("200 OK"), std::string::npos);
}

}  // namespace
}  // namespace trama::agent
