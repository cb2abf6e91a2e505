// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/conntrack_sysctls.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/file.h"

namespace trama::agent {
namespace {

constexpr std::uint64_t kPerCore = 32'768, kLeast = 131'072, kMost = 1'048'576;
constexpr std::uint64_t kEstablishedSeconds = 86'400, kCloseWaitSeconds = 3'600;

std::optional<std::uint64_t> read_number(const std::string& path) {
  auto text = base::read_file(path, 64);
  std::uint64_t n = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), n).ec != std::errc()) return std::nullopt;
  return n;
}

}  // namespace

std::uint64_t wanted_conntrack_max(unsigned cores) { return std::min(kMost, std::max(kLeast, kPerCore * cores)); }

std::vector<std::string> apply_conntrack_sysctls(unsigned cores, const std::string& dir) {
  struct Setting {
    const char* name;
    std::uint64_t value;
    bool only_raise;
  } settings[] = {{"nf_conntrack_max", wanted_conntrack_max(cores), true},
                  {"nf_conntrack_tcp_timeout_established", kEstablishedSeconds, false},
                  {"nf_conntrack_tcp_timeout_close_wait", kCloseWaitSeconds, false}};
  std::vector<std::string> out;
  for (const auto& s : settings) {
    auto path = dir + "/" + s.name;
    auto now = read_number(path);
    if (!now || *now == s.value || (s.only_raise && *now > s.value)) continue;
    auto written = base::write_knob(path, std::to_string(s.value));
    out.push_back(written ? fmt::format("{}: {} -> {}", s.name, *now, s.value)
                          : fmt::format("{}: left at {}: {}", s.name, *now, written.error().code().message()));
  }
  return out;
}

}  // namespace trama::agent
