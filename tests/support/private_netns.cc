// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/private_netns.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/file.h"

namespace trama::test {

PrivateNetns::PrivateNetns() {
  std::string failure;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) < 0) {
      failure = "unshare(CLONE_NEWNET) failed: kernel tests need root";
      return;
    }
    fd_.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    base::UniqueFd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq lo{};
    lo.ifr_name[0] = 'l', lo.ifr_name[1] = 'o';
    lo.ifr_flags = IFF_UP;
    if (!fd_ || ioctl(s.get(), SIOCSIFFLAGS, &lo) < 0) failure = "cannot bring lo up in a new namespace";
  }).join();
  if (!failure.empty()) throw std::runtime_error(failure);
}

std::string PrivateNetns::path() const { return fmt::format("/proc/{}/fd/{}", getpid(), fd_.get()); }

void PrivateNetns::run(const std::function<void()>& job) const {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      if (setns(fd_.get(), CLONE_NEWNET) < 0) throw std::runtime_error("setns failed");
      job();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

int PrivateNetns::shell(const std::string& command, std::string* output) const {
  return test::shell(fmt::format("nsenter --net={} -- sh -c '{}'", path(),
                                 [&] {
                                   std::string quoted;
                                   for (char c : command)
                                     quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
                                   return quoted;
                                 }()),
                     output);
}

int shell(const std::string& command, std::string* output) {
  FILE* pipe = popen(("exec 2>&1; " + command).c_str(), "r");
  if (!pipe) return -1;
  std::array<char, 4096> chunk{};
  std::string all;
  while (std::size_t n = fread(chunk.data(), 1, chunk.size(), pipe)) all.append(chunk.data(), n);
  int status = pclose(pipe);
  if (output) *output = all;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool eventually(const std::function<bool()>& condition, int milliseconds) {
  auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  for (;;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string read_all(const std::string& path) { return base::read_file(path, 256 << 20).value_or(""); }

}  // namespace trama::test
