// SPDX-License-Identifier: GPL-2.0-or-later
// Several real `trama controller` processes on one etcd, on loopback, and a client that asks whichever answers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <sys/types.h>

#include "control/client/api_client.h"
#include "tests/contract/store/log_model.h"
#include "tests/support/etcd_cluster.h"

namespace trama::test {

class SeveralControllers {
 public:
  // The first one makes the CA; the others are given a copy of it, as an administrator would.
  SeveralControllers(const EtcdCluster& etcd, std::size_t count, std::vector<std::string> more_arguments = {});
  ~SeveralControllers();
  SeveralControllers(const SeveralControllers&) = delete;
  SeveralControllers& operator=(const SeveralControllers&) = delete;

  std::size_t size() const { return all_.size(); }
  void start(std::size_t n);  // and waits until it serves
  void kill(std::size_t n);   // SIGKILL
  void pause(std::size_t n);
  void resume(std::size_t n);
  // SIGTERM; returns the exit status.
  int stop(std::size_t n);
  bool runs(std::size_t n) const { return all_[n].pid != 0 && !all_[n].paused; }
  std::string data(std::size_t n) const { return directory_.path + "/c" + std::to_string(n); }
  std::string log(std::size_t n) const;

  // Asks one controller, or (any) each that runs until one answers; 4xx are answers.
  base::Result<client::Response> ask(std::size_t n, const std::string& method, const std::string& path,
                                     const std::string& body = "");
  base::Result<client::Response> ask_any(const std::string& method, const std::string& path,
                                         const std::string& body = "");
  // The controller whose /metrics say trama_leader 1, asked one by one; size() = none.
  std::size_t leader();

 private:
  struct One {
    pid_t pid = 0;
    bool paused = false;
    std::unique_ptr<client::ApiClient> client;
    std::uint16_t port = 0;
  };
  ScratchDirectory directory_;
  std::string store_;
  std::vector<std::string> more_;
  std::vector<One> all_;
  std::size_t next_ = 0;
  async::asio::io_context context_;
};

}  // namespace trama::test
