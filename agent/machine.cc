// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/machine.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <memory>
#include <span>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/unique_fd.h"

namespace trama::agent {
namespace {

std::string first_line(const std::string& path) {
  auto text = base::read_file(path);
  return text ? text->substr(0, text->find('\n')) : "";
}

// Go's names, which Kubernetes uses.
std::string architecture(const std::string& machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine.starts_with("armv")) return "arm";
  if (machine == "ppc64le" || machine == "s390x" || machine == "riscv64") return machine;
  return machine;
}

// A connected UDP socket has chosen its source address; nothing is sent.
base::Result<base::Ip> source_towards(const sockaddr* to, socklen_t size) {
  base::UniqueFd fd(::socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), to, size) != 0) return base::Error::from_errno(errno, "default route");
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0)
    return base::Error::from_errno(errno, "getsockname");
  char text[INET6_ADDRSTRLEN] = "";
  const void* address = own.ss_family == AF_INET
                            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(&own)->sin_addr)
                            : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(&own)->sin6_addr);
  ::inet_ntop(own.ss_family, address, text, sizeof text);
  return base::Ip::parse(text);
}

}  // namespace

std::string pretty_name(std::string_view os_release) {
  while (!os_release.empty()) {
    auto end = std::min(os_release.find('\n'), os_release.size());
    auto line = os_release.substr(0, end);
    os_release.remove_prefix(std::min(end + 1, os_release.size()));
    if (!line.starts_with("PRETTY_NAME=")) continue;
    line.remove_prefix(12);
    if (line.size() >= 2 && line.front() == '"' && line.back() == '"') line = line.substr(1, line.size() - 2);
    return std::string(line);
  }
  return "Linux";
}

std::uint64_t total_memory(std::string_view meminfo) {
  auto at = meminfo.find("MemTotal:");
  if (at == meminfo.npos) return 0;
  std::uint64_t kib = 0;
  for (char c : meminfo.substr(at + 9, 40)) {
    if (c >= '0' && c <= '9') kib = kib * 10 + static_cast<std::uint64_t>(c - '0');
    if (c == 'k' || c == '\n') break;
  }
  return kib * 1024;
}

MachineFacts read_machine() {
  MachineFacts facts;
  utsname names{};
  if (::uname(&names) == 0) {
    facts.kernel_version = names.release;
    facts.architecture = architecture(names.machine);
  }
  facts.os_image = pretty_name(base::read_file("/etc/os-release").value_or(""));
  facts.machine_id = first_line("/etc/machine-id");
  facts.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  facts.cpus = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  facts.memory_bytes = total_memory(base::read_file("/proc/meminfo").value_or(""));
  return facts;
}

std::string default_node_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  std::string out = name;
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  while (!out.empty() && out.back() == '.') out.pop_back();
  return out;
}

std::vector<base::Ip> default_node_ips() {
  std::vector<base::Ip> out;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(53);
  v4.sin_addr.s_addr = htonl(0xc0000201);  // 192.0.2.1, documentation
  if (auto ip = source_towards(reinterpret_cast<sockaddr*>(&v4), sizeof v4)) out.push_back(*ip);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(53);
  ::inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
  auto ip = source_towards(reinterpret_cast<sockaddr*>(&v6), sizeof v6);
  if (ip && !ip->is_link_local()) out.push_back(*ip);
  return out;
}

std::vector<base::Ip> followed_addresses(const std::vector<base::Ip>& had, const std::vector<base::Ip>& now,
                                         const std::vector<base::Ip>& present) {
  auto out = had;
  for (auto& ip : out) {
    if (std::find(present.begin(), present.end(), ip) != present.end()) continue;
    for (const auto& fresh : now)
      if (fresh.family() == ip.family()) ip = fresh;
  }
  return out;
}

std::vector<base::Ip> local_addresses() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {};
  std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(first, &::freeifaddrs);
  std::vector<base::Ip> out;
  for (auto* at = first; at; at = at->ifa_next) {
    if (!at->ifa_addr || !(at->ifa_flags & IFF_UP)) continue;
    std::span<const std::byte> raw;
    if (at->ifa_addr->sa_family == AF_INET)
      raw = std::as_bytes(std::span(&reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, 1));
    else if (at->ifa_addr->sa_family == AF_INET6)
      raw = std::as_bytes(std::span(&reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr, 1));
    auto ip = base::Ip::from_bytes(raw);
    if (ip && !ip->is_loopback() && !ip->is_link_local()) out.push_back(*ip);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace trama::agent
