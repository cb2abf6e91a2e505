// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/route.h"

namespace trama::server {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] == '%') {
      if (i + 2 >= text.size() || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return std::nullopt;
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
    if (out.back() == '\0') return std::nullopt;
  }
  return out;
}

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    if (path.front() == '/') {
      path.remove_prefix(1);
      continue;
    }
    auto slash = path.find('/');
    out.push_back(path.substr(0, slash));
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash);
  }
  return out;
}

}  // namespace

std::optional<Target> parse_target(std::string_view target) {
  if (target.empty() || target.front() != '/' || target.size() > 16'384) return std::nullopt;
  auto question = target.find('?');
  // An encoded slash would change which object a path means.
  auto raw = target.substr(0, question);
  if (raw.find("%2F") != std::string_view::npos || raw.find("%2f") != std::string_view::npos) return std::nullopt;
  auto path = decode(raw, false);
  if (!path) return std::nullopt;
  Target out;
  out.path = std::move(*path);
  auto rest = question == std::string_view::npos ? std::string_view{} : target.substr(question + 1);
  for (int n = 0; !rest.empty(); ++n) {
    if (n == 1000) return std::nullopt;  // dropping the rest could drop a dryRun
    auto amp = rest.find('&');
    auto item = rest.substr(0, amp);
    rest = amp == std::string_view::npos ? std::string_view{} : rest.substr(amp + 1);
    if (item.empty()) continue;
    auto eq = item.find('=');
    auto name = decode(item.substr(0, eq), true);
    auto value = decode(eq == std::string_view::npos ? std::string_view{} : item.substr(eq + 1), true);
    if (!name || !value) return std::nullopt;
    out.query[*name].push_back(std::move(*value));
  }
  return out;
}

std::optional<ResourcePath> parse_resource(std::string_view path) {
  auto parts = segments(path);
  std::string_view group, version;
  std::size_t i = 0;
  if (parts.size() >= 3 && parts[0] == "api") {
    version = parts[1], i = 2;
  } else if (parts.size() >= 4 && parts[0] == "apis") {
    group = parts[1], version = parts[2], i = 3;
  } else {
    return std::nullopt;
  }
  for (auto part : parts)
    if (part == "." || part == "..") return std::nullopt;
  ResourcePath out;
  if (parts[i] == "watch" && i + 1 < parts.size()) out.watch = true, ++i;
  // /namespaces/NS/RESOURCE…; /namespaces and /namespaces/NAME[/status|/finalize] are the resource itself.
  if (parts[i] == "namespaces" && i + 2 < parts.size() &&
      !(group.empty() && (parts[i + 2] == "status" || parts[i + 2] == "finalize"))) {
    out.ns = std::string(parts[i + 1]);
    i += 2;
  }
  out.kind = api::find_kind(group, version, parts[i]);
  if (!out.kind || (!out.ns.empty() && !out.kind->namespaced)) return std::nullopt;
  if (i + 1 < parts.size()) out.name = std::string(parts[i + 1]);
  if (i + 2 < parts.size()) out.subresource = std::string(parts[i + 2]);
  if (i + 3 < parts.size()) {
    auto from = static_cast<std::size_t>(parts[i + 3].data() - path.data()) - 1;
    out.rest = std::string(path.substr(from));
  }
  return out;
}

}  // namespace trama::server
