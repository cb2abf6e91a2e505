// SPDX-License-Identifier: GPL-2.0-or-later
// Real sockets in a namespace of their own: a brain thread for what is tested, blocking sockets for its clients.
#pragma once

#include <cstring>
#include <future>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/async/task_group.h"
#include "base/ip.h"
#include "base/unique_fd.h"
#include "tests/support/private_netns.h"

namespace trama::agent {

// An executor with a thread in the namespace of whoever makes it.
class Brain {
 public:
  Brain() : guard_(context_.get_executor()), tasks_(context_.get_executor()), thread_([this] { context_.run(); }) {}
  ~Brain() {
    auto stop = tasks_.stop();
    wait(std::move(stop));
    guard_.reset();
    context_.stop();
    thread_.join();
  }
  async::asio::any_io_executor executor() { return context_.get_executor(); }
  async::TaskGroup& tasks() { return tasks_; }
  // Runs it on the brain and waits.
  template <class F>
  auto on(F job) {
    std::packaged_task<decltype(job())()> task(std::move(job));
    auto result = task.get_future();
    async::asio::post(context_, [&task] { task(); });
    return result.get();
  }
  void wait(async::awaitable<void> task) {
    std::promise<void> done;
    async::asio::co_spawn(context_, std::move(task), [&done](std::exception_ptr) { done.set_value(); });
    done.get_future().wait();
  }

 private:
  async::asio::io_context context_{1};
  async::asio::executor_work_guard<async::asio::io_context::executor_type> guard_;
  async::TaskGroup tasks_;
  std::thread thread_;
};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  SocketAddress(const std::string& ip, std::uint16_t port) {
    if (ip.find(':') == ip.npos) {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
      v4->sin_family = AF_INET, v4->sin_port = htons(port), size = sizeof *v4;
      ::inet_pton(AF_INET, ip.c_str(), &v4->sin_addr);
    } else {
      auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
      v6->sin6_family = AF_INET6, v6->sin6_port = htons(port), size = sizeof *v6;
      ::inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr);
    }
  }
};

inline base::UniqueFd new_socket(const std::string& ip, int type, int seconds = 5) {
  base::UniqueFd fd(::socket(ip.find(':') == ip.npos ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
  timeval limit{seconds, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

inline base::UniqueFd listen_on(const std::string& ip, std::uint16_t port, int type = SOCK_STREAM) {
  auto fd = new_socket(ip, type);
  int yes = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  SocketAddress where(ip, port);
  EXPECT_EQ(::bind(fd.get(), where.get(), where.size), 0) << std::strerror(errno);
  bool listening = type != SOCK_STREAM || ::listen(fd.get(), 16) == 0;
  EXPECT_TRUE(listening);
  return fd;
}

// An empty descriptor when nobody answers.
inline base::UniqueFd connect_to(const std::string& ip, std::uint16_t port, int type = SOCK_STREAM) {
  auto fd = new_socket(ip, type);
  SocketAddress where(ip, port);
  if (::connect(fd.get(), where.get(), where.size) != 0) return {};
  return fd;
}

inline void say(int fd, const std::string& text) {
  EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

// One read: what came, "end", "reset" or "silence".
inline std::string hear(int fd) {
  char buffer[4096];
  auto n = ::recv(fd, buffer, sizeof buffer, 0);
  if (n > 0) return std::string(buffer, static_cast<std::size_t>(n));
  if (n == 0) return "end";
  return errno == ECONNRESET ? "reset" : errno == ECONNREFUSED ? "refused" : "silence";
}

// A whole answer to one request.
inline std::string http_get(const std::string& ip, std::uint16_t port, const std::string& path = "/") {
  auto fd = connect_to(ip, port);
  if (!fd) return "no connection";
  say(fd.get(), "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::string out;
  for (auto part = hear(fd.get()); part != "end" && part != "reset" && part != "silence"; part = hear(fd.get()))
    out += part;
  return out;
}

}  // namespace trama::agent
