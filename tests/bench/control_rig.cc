// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/bench/control_rig.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace trama::bench {

namespace asio = boost::asio;
using std::chrono::milliseconds;

void fail(const std::string& why) { throw std::runtime_error(why); }

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double quantile(std::vector<double> v, double q) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<std::size_t>(q * static_cast<double>(v.size())))];
}

namespace {
std::string temporary_directory() {
  const char* root = std::getenv("TMPDIR");
  auto pattern = std::string(root && *root ? root : "/tmp") + "/trama-bench-XXXXXX";
  if (!::mkdtemp(pattern.data())) fail("cannot make " + pattern);
  return pattern;
}
}  // namespace

Scratch::Scratch() : path(temporary_directory()) {}
Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

double durable_appends_per_second(const std::string& directory, milliseconds how_long) {
  auto path = directory + "/floor";
  base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
  std::string page(4096, 'x');
  auto begin = Clock::now();
  std::size_t done = 0;
  for (; Clock::now() - begin < how_long; ++done)
    if (::write(file.get(), page.data(), page.size()) != 4096 || ::fdatasync(file.get()) != 0) fail("write " + path);
  auto rate = static_cast<double>(done) / seconds_since(begin);
  ::unlink(path.c_str());
  return rate;
}

std::uint16_t free_port() {
  asio::io_context context;
  asio::ip::tcp::acceptor a(context, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  return a.local_endpoint().port();
}

std::string trama_program() {
  if (const char* given = std::getenv("TRAMA_BINARY"); given && *given) return given;
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "trama";
}

ControlRig::ControlRig(const std::string& more_arguments)
    : arguments_("--log-level warn " + more_arguments),
      controller_(std::make_unique<test::ControllerProcess>(trama_program(), scratch_.path + "/controller")) {
  if (auto ok = controller_->start(arguments_); !ok) fail(ok.error().to_string());
  connect();
}

ControlRig::~ControlRig() {
  if (simulation_ > 0) end_simulation(SIGKILL);
  api_.reset();
}

void ControlRig::connect() {
  auto options = controller_->kubeconfig().client_options();
  options.idle_connections = 2'000;
  options.request_timeout = milliseconds(120'000);
  auto made = client::ApiClient::make(context_.get_executor(), std::move(options));
  if (!made) fail(made.error().to_string());
  api_ = std::move(*made);
}

double ControlRig::restart() {
  api_.reset();
  int status = controller_->stop();
  if (status != 0) fail(fmt::format("the controller ended with status {}:\n{}", status, controller_->log()));
  auto begin = Clock::now();
  if (auto ok = controller_->start(arguments_); !ok) fail(ok.error().to_string());
  auto took = seconds_since(begin);
  connect();
  return took;
}

void ControlRig::run(awaitable<void> task) {
  std::exception_ptr bad;
  bool done = false;
  asio::co_spawn(context_, std::move(task), [&](std::exception_ptr e) {
    bad = e;
    done = true;
  });
  while (!done) context_.run_one();
  if (bad) std::rethrow_exception(bad);
}

std::size_t ControlRig::many(std::size_t together, std::size_t count, milliseconds until,
                             const std::function<awaitable<void>(std::size_t)>& one) {
  auto begin = Clock::now();
  std::size_t next = 0, living = 0;
  auto more = [&] { return until.count() > 0 ? Clock::now() - begin < until : next < count; };
  auto worker = [&]() -> awaitable<void> {
    while (more()) {
      auto i = next++;
      co_await one(i);
    }
    --living;
  };
  for (std::size_t i = 0; i < together; ++i) {
    ++living;
    asio::co_spawn(context_, worker(), [](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
    });
  }
  while (living > 0) context_.run_one();
  return next;
}

awaitable<void> ControlRig::create(std::string path, std::string body) {
  auto answer = co_await api_->request("POST", path, body);
  if (!answer) fail(answer.error().to_string());
  if (!answer->ok()) fail(answer->message());
}

json::object ControlRig::get(const std::string& path) {
  json::object out;
  auto task = [&]() -> awaitable<void> {
    auto answer = co_await api_->get(path);
    if (!answer) fail(answer.error().to_string());
    out = std::move(*answer);
  };
  run(task());
  return out;
}

double ControlRig::simulate(unsigned nodes, const std::string& more) {
  auto log = scratch_.path + "/sim.log";
  std::filesystem::remove(log);
  std::vector<std::string> command = {trama_program(), "--kubeconfig", controller_->kubeconfig_path(),
                                      "sim",           "nodes",        std::to_string(nodes)};
  std::istringstream words(more);
  for (std::string w; words >> w;) command.push_back(w);
  auto begin = Clock::now();
  simulation_ = test::start_program(command, log);
  while (seconds_since(begin) < 300) {
    std::ifstream in(log);
    std::ostringstream text;
    text << in.rdbuf();
    if (text.str().find("Ready after") != std::string::npos) return seconds_since(begin);
    ::usleep(20'000);
  }
  fail("the simulated nodes did not become Ready within 300 s");
}

void ControlRig::end_simulation(int signal) {
  test::end_program(simulation_, signal);
  simulation_ = -1;
}

}  // namespace trama::bench
