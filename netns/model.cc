// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/model.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/digest.h"

namespace trama::netns {
namespace {

constexpr std::size_t kVethDigits = 11;
constexpr std::size_t kLongestAlias = 255;    // IFALIASZ - 1
constexpr std::size_t kLongestAltname = 127;  // ALTIFNAMSIZ - 1
constexpr std::string_view kAliasHead = "trama pod=", kAliasUid = " uid=";

// The uid's own digits when it is made of hex digits (a UUID, a checksum), so that a person sees the kinship.
std::string uid_digits(const Uid& uid) {
  std::string digits;
  for (char c : uid) {
    if (c == '-') continue;
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return base::sha256_hex(uid);
    digits += c;
  }
  return digits.size() >= kVethDigits ? digits : base::sha256_hex(uid);
}

}  // namespace

std::string veth_name(const Uid& uid) { return "tr" + uid_digits(uid).substr(0, kVethDigits); }

std::string veth_alias(const std::string& ns, const std::string& name, const Uid& uid) {
  std::string pod = fmt::format("{}/{}", ns, name);
  std::size_t room = kLongestAlias - std::min(kLongestAlias, kAliasHead.size() + kAliasUid.size() + uid.size());
  return fmt::format("{}{}{}{}", kAliasHead, pod.substr(0, room), kAliasUid, uid);
}

std::optional<PodMark> parse_veth_alias(std::string_view alias) {
  if (!alias.starts_with(kAliasHead)) return std::nullopt;
  alias.remove_prefix(kAliasHead.size());
  auto uid = alias.rfind(kAliasUid);
  auto slash = alias.find('/');
  if (uid == std::string_view::npos || slash == std::string_view::npos || slash > uid) return std::nullopt;
  PodMark mark{std::string(alias.substr(0, slash)), std::string(alias.substr(slash + 1, uid - slash - 1)),
               std::string(alias.substr(uid + kAliasUid.size()))};
  return mark.uid.empty() ? std::nullopt : std::optional(mark);
}

std::string veth_altname(const std::string& ns, const std::string& name) {
  std::string full = fmt::format("pod-{}-{}", ns, name);
  if (full.size() <= kLongestAltname) return full;
  return full.substr(0, kLongestAltname - 9) + "-" + base::sha256_hex(full).substr(0, 8);
}

Mac pod_mac(const Uid& uid) { return Mac::from_seed(uid); }
Mac host_mac() { return Mac{{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}}; }
Ip gateway(base::Family family) { return family == base::Family::v4 ? Ip::v4(169, 254, 1, 1) : *Ip::parse("fe80::1"); }
std::string cgroup_name(const Uid& uid) { return "pod-" + uid; }

std::string digest(const Volume& volume) {
  std::string all = volume.scratch ? "scratch" : "files";
  for (const auto& [path, file] : volume.files)
    all += fmt::format("\n{} {:o} {} {}", path, file.mode, file.content.size(), file.content);
  return base::sha256_hex(all);
}

bool is_file_path(const std::string& path) {
  if (path.empty() || path.size() > 4095 || path.starts_with("..") || path.find('\0') != path.npos) return false;
  for (std::size_t at = 0; at <= path.size();) {
    auto end = std::min(path.find('/', at), path.size());
    auto part = std::string_view(path).substr(at, end - at);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    at = end + 1;
  }
  return true;
}

base::Result<> validate(const Sandbox& s) {
  auto wrong = [&](std::string_view what) {
    return base::Error::text(fmt::format("sandbox {}/{}: {}", s.ns, s.name, what));
  };
  auto plain = [](const std::string& text, std::size_t longest) {
    return !text.empty() && text.size() <= longest && text.front() != '.' && text.front() != '-' &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                    c == '.' || c == '_';
           });
  };
  if (!plain(s.uid, 64)) return wrong("its uid must be 1 to 64 letters, digits or dashes");
  if (!plain(s.network.netns_name, 255))
    return wrong(
        fmt::format("\"{}\" cannot name a network namespace (letters, digits, '-', '.', '_')", s.network.netns_name));
  if (s.network.addresses.empty()) return wrong("it has no address");
  bool seen[2] = {};
  for (const auto& ip : s.network.addresses) {
    if (std::exchange(seen[ip.is_v4() ? 0 : 1], true)) return wrong("it has two addresses of one family");
    if (ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_unspecified())
      return wrong(fmt::format("{} cannot be the address of a pod", ip.to_string()));
  }
  // 1280: below it the kernel switches IPv6 off on the device.
  unsigned lowest = seen[1] ? 1280 : 576;
  if (s.network.mtu < lowest || s.network.mtu > 65535)
    return wrong(fmt::format("mtu {} is outside {} to 65535", s.network.mtu, lowest));
  return {};
}

}  // namespace trama::netns
