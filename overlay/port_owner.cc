// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/port_owner.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <linux/netlink.h>

#include "base/file.h"
#include "base/netlink/client.h"
#include "base/netlink/rtnl.h"
#include "overlay/model.h"

namespace trama::overlay {
namespace {

namespace fs = std::filesystem;

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at < line.size();) {
    auto start = line.find_first_not_of(' ', at);
    if (start == std::string_view::npos) break;
    auto stop = std::min(line.find(' ', start), line.size());
    out.push_back(line.substr(start, stop - start));
    at = stop;
  }
  return out;
}

template <class Number>
bool number(std::string_view text, int base, Number& out) {
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return ec == std::errc{} && end == text.data() + text.size();
}

// The first process that has one of the sockets open.
std::string process_with(const std::set<std::string>& sockets) {
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    auto pid = process.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    fs::directory_iterator fds(process.path() / "fd", ignored), end;
    for (; !ignored && fds != end; fds.increment(ignored)) {
      std::error_code gone;
      if (!sockets.count(fs::read_symlink(fds->path(), gone).string())) continue;
      auto name = base::read_file((process.path() / "comm").string()).value_or(std::string());
      while (!name.empty() && name.back() == '\n') name.pop_back();
      return fmt::format("pid {} ({})", pid, name);
    }
    ignored.clear();
  }
  return "";
}

std::string vxlan_with(std::uint16_t port) {
  auto client = netlink::Client::open(NETLINK_ROUTE);
  if (!client) return "";
  auto request = netlink::list_links();
  auto reply = client->dump(request);
  if (!reply) return "";
  for (const auto& part : *reply) {
    auto link = netlink::decode_link(part);
    if (link && link->vxlan && link->vxlan->port == port && link->up && link->name != kDevice)
      return "the VXLAN device " + link->name;
  }
  return "";
}

}  // namespace

std::vector<std::uint64_t> udp_inodes(std::string_view table, std::uint16_t port) {
  //   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode …
  // 1234: 0100007F:1A80 00000000:0000 07 …
  std::vector<std::uint64_t> out;
  while (!table.empty()) {
    auto stop = std::min(table.find('\n'), table.size());
    auto fields = words(table.substr(0, stop));
    table.remove_prefix(std::min(stop + 1, table.size()));
    if (fields.size() < 10) continue;
    auto colon = fields[1].rfind(':');
    if (colon == std::string_view::npos) continue;
    std::uint16_t local = 0;
    std::uint64_t inode = 0;
    if (!number(fields[1].substr(colon + 1), 16, local) || local != port) continue;
    if (number(fields[9], 10, inode)) out.push_back(inode);
  }
  return out;
}

std::string udp_port_owner(std::uint16_t port) {
  std::set<std::string> sockets;
  // thread-self: the table of this thread's namespace, not of the process's.
  for (const char* path : {"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"}) {
    auto table = base::read_file(path, 16 << 20);
    if (!table) continue;
    for (auto inode : udp_inodes(*table, port))
      if (inode) sockets.insert(fmt::format("socket:[{}]", inode));
  }
  if (auto who = sockets.empty() ? "" : process_with(sockets); !who.empty()) return who;
  if (auto who = vxlan_with(port); !who.empty()) return who;
  return "a socket that no visible process holds";
}

}  // namespace trama::overlay
