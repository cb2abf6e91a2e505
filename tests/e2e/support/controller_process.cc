// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/e2e/support/controller_process.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace trama::test {

using base::Error;
using base::Result;
using base::UniqueFd;

pid_t start_program(const std::vector<std::string>& command, const std::string& log, int pass_fd) {
  std::vector<char*> words;
  for (const auto& w : command) words.push_back(const_cast<char*>(w.c_str()));
  words.push_back(nullptr);
  pid_t pid = ::fork();
  if (pid != 0) return pid;
  int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(out, 1);
  ::dup2(out, 2);
  if (pass_fd >= 0) ::fcntl(pass_fd, F_SETFD, 0);
  ::execv(words[0], words.data());
  ::_exit(127);
}

int end_program(pid_t pid, int signal) {
  ::kill(pid, signal);
  int status = 0;
  for (int i = 0; i < 2000; ++i) {
    if (::waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ::usleep(10'000);
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, &status, 0);
  return -1;
}

ControllerProcess::ControllerProcess(std::string binary, std::string directory)
    : binary_(std::move(binary)), directory_(std::move(directory)) {
  std::filesystem::create_directories(directory_);
}

ControllerProcess::~ControllerProcess() {
  if (pid_ > 0) stop();
}

Result<> ControllerProcess::start(const std::string& more) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  UniqueFd ready(ends[0]), theirs(ends[1]);
  std::vector<std::string> command = {binary_, "controller", "--data-dir", directory_, "--listen", "127.0.0.1:0"};
  for (const char* port : {"--scheduler-port", "--controllers-port"})
    if (more.find(port) == std::string::npos) command.insert(command.end(), {port, "0"});
  command.insert(command.end(), {"--ready-fd", std::to_string(theirs.get())});
  std::istringstream words(more);
  for (std::string word; words >> word;) command.push_back(word);
  pid_ = start_program(command, directory_ + "/log", theirs.get());
  theirs.reset();
  char text[6] = {};
  pollfd p{ready.get(), POLLIN, 0};
  if (::poll(&p, 1, 120'000) == 1 && ::read(ready.get(), text, sizeof text) == 6) return {};
  return Error::text("the controller did not become ready:\n" + log());
}

int ControllerProcess::stop(int signal) {
  int status = end_program(pid_, signal);
  pid_ = -1;
  return status;
}

client::Kubeconfig ControllerProcess::kubeconfig() const {
  auto config = client::read_kubeconfig(kubeconfig_path());
  return config ? *config : client::Kubeconfig();
}

std::string ControllerProcess::log() const {
  std::ifstream in(directory_ + "/log");
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

double cpu_seconds(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(in, text);
  auto at = text.rfind(')');
  if (at == std::string::npos) return 0;
  std::istringstream rest(text.substr(at + 1));
  std::string word;
  double ticks = 0;
  for (int i = 3; rest >> word; ++i)
    if (i == 14 || i == 15) ticks += std::stod(word);  // utime, stime: proc(5)
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::uint64_t resident_bytes(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/statm", pid));
  std::uint64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace trama::test
