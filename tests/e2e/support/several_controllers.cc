// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/e2e/support/several_controllers.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "control/client/kubeconfig.h"
#include "tests/support/private_netns.h"
#include "tests/support/run_coroutine.h"

namespace trama::test {

SeveralControllers::SeveralControllers(const EtcdCluster& etcd, std::size_t count, std::vector<std::string> more)
    : store_(etcd.store()), more_(std::move(more)), all_(count) {
  auto ports = free_ports(count);
  for (std::size_t i = 0; i < count; ++i) {
    all_[i].port = ports[i];
    if (i > 0) {
      std::filesystem::create_directories(data(i) + "/pki");
      for (const char* file : {"ca.crt", "ca.key"})
        std::filesystem::copy_file(data(0) + "/pki/" + file, data(i) + "/pki/" + file);
    }
    start(i);
  }
}

SeveralControllers::~SeveralControllers() {
  for (std::size_t i = 0; i < all_.size(); ++i) kill(i);
}

void SeveralControllers::start(std::size_t n) {
  auto& one = all_[n];
  const char* binary = std::getenv("TRAMA_BINARY");
  if (!binary) throw std::runtime_error("TRAMA_BINARY is not set: run this through ctest");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
  std::vector<std::string> arguments{binary,
                                     "controller",
                                     "--data-dir",
                                     data(n),
                                     "--store",
                                     store_,
                                     "--listen",
                                     fmt::format("127.0.0.1:{}", one.port),
                                     "--scheduler-port",
                                     "0",
                                     "--controllers-port",
                                     "0",
                                     "--ready-fd",
                                     "100"};
  arguments.insert(arguments.end(), more_.begin(), more_.end());
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  auto log = data(n) + ".log";
  one.pid = ::fork();
  if (one.pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, STDOUT_FILENO), ::dup2(out, STDERR_FILENO), ::dup2(ends[1], 100);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  pollfd wait{ends[0], POLLIN, 0};
  char text[6];
  bool ready = ::poll(&wait, 1, 30'000) == 1 && ::read(ends[0], text, sizeof text) == 6;
  ::close(ends[0]);
  if (!ready) throw std::runtime_error(fmt::format("controller {} did not start: {}", n, this->log(n)));
  auto config = client::read_kubeconfig(data(n) + "/admin.kubeconfig");
  if (!config) throw std::runtime_error(config.error().to_string());
  auto options = config->client_options();
  options.connect_timeout = std::chrono::milliseconds(500);
  options.request_timeout = std::chrono::milliseconds(4'000);
  auto made = client::ApiClient::make(context_.get_executor(), options);
  if (!made) throw std::runtime_error(made.error().to_string());
  one.client = std::move(*made);
}

void SeveralControllers::kill(std::size_t n) {
  auto& one = all_[n];
  if (one.pid == 0) return;
  ::kill(one.pid, SIGKILL);
  ::waitpid(one.pid, nullptr, 0);
  one.pid = 0;
  one.paused = false;
  one.client.reset();
}

void SeveralControllers::pause(std::size_t n) {
  ::kill(all_[n].pid, SIGSTOP);
  all_[n].paused = true;
}

void SeveralControllers::resume(std::size_t n) {
  ::kill(all_[n].pid, SIGCONT);
  all_[n].paused = false;
}

int SeveralControllers::stop(std::size_t n) {
  auto& one = all_[n];
  int status = 0;
  ::kill(one.pid, SIGTERM);
  ::waitpid(one.pid, &status, 0);
  one.pid = 0;
  one.client.reset();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::string SeveralControllers::log(std::size_t n) const { return base::read_file(data(n) + ".log").value_or(""); }

base::Result<client::Response> SeveralControllers::ask(std::size_t n, const std::string& method,
                                                       const std::string& path, const std::string& body) {
  if (!all_[n].client) return base::Error::text("it does not run");
  std::string type = method == "PATCH" ? "application/merge-patch+json" : "application/json";
  return run_coroutine(context_, all_[n].client->request(method, path, body, type));
}

base::Result<client::Response> SeveralControllers::ask_any(const std::string& method, const std::string& path,
                                                           const std::string& body) {
  base::Result<client::Response> last = base::Error::text("no controller runs");
  for (std::size_t tried = 0; tried < 3 * all_.size(); ++tried) {
    auto n = next_++ % all_.size();
    if (!runs(n)) continue;
    last = ask(n, method, path, body);
    if (last && last->status < 500) return last;
    ::usleep(50'000);
  }
  return last;
}

std::size_t SeveralControllers::leader() {
  for (std::size_t n = 0; n < all_.size(); ++n) {
    if (!runs(n)) continue;
    auto metrics = ask(n, "GET", "/metrics");
    if (metrics && metrics->text.find("\ntrama_leader 1\n") != std::string::npos) return n;
  }
  return all_.size();
}

}  // namespace trama::test
