// SPDX-License-Identifier: GPL-2.0-or-later
// The pure half of cgroup.h: what a machine mounts and which files carry which limit.
#include <algorithm>
#include <charconv>

#include "netns/cgroup.h"

namespace trama::netns {
using base::Error;
using base::Result;

namespace {
constexpr std::string_view kWanted[] = {"cpu", "cpuacct", "memory", "pids", "freezer"};
constexpr std::uint64_t kPeriodUsec = 100'000;

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    std::size_t end = std::min(text.find_first_of(separators), text.size());
    if (end > 0) out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// mountinfo writes blanks and backslashes as \ooo.
std::string unescape(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    unsigned value = 0;
    if (s[i] == '\\' && i + 3 < s.size() &&
        std::from_chars(s.data() + i + 1, s.data() + i + 4, value, 8).ptr == s.data() + i + 4 && value < 256) {
      out.push_back(static_cast<char>(value));
      i += 3;
    } else {
      out.push_back(s[i]);
    }
  }
  return out;
}

struct CgroupMount {
  std::string point;
  bool unified = false;
  std::vector<std::string_view> options;
};

std::vector<CgroupMount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> out;
  for (std::string_view line : split(mountinfo, "\n")) {
    std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    auto left = split(line.substr(0, dash), " ");
    auto right = split(line.substr(dash + 3), " ");  // type, source, super block options
    if (left.size() < 6 || right.size() < 3 || (right[0] != "cgroup" && right[0] != "cgroup2")) continue;
    out.push_back({unescape(left[4]), right[0] == "cgroup2", split(right[2], ",")});
  }
  return out;
}
}  // namespace

std::string unified_mount(std::string_view mountinfo) {
  for (const CgroupMount& m : cgroup_mounts(mountinfo))
    if (m.unified) return m.point;
  return "";
}

Result<CgroupMounts> parse_cgroup_mounts(std::string_view mountinfo, std::string_view unified_controllers) {
  CgroupMounts out;
  bool v1 = false;
  for (const CgroupMount& m : cgroup_mounts(mountinfo)) {
    if (m.unified) {
      if (out.unified.empty()) out.unified = m.point;
      continue;
    }
    for (std::string_view controller : kWanted)
      if (std::find(m.options.begin(), m.options.end(), controller) != m.options.end()) {
        out.controllers.try_emplace(std::string(controller), CgroupMounts::Place{m.point, 1});
        v1 = true;
      }
  }
  if (!out.unified.empty())
    for (std::string_view controller : split(unified_controllers, " \n"))
      if (std::find(std::begin(kWanted), std::end(kWanted), controller) != std::end(kWanted))
        out.controllers.try_emplace(std::string(controller), CgroupMounts::Place{out.unified, 2});
  if (!v1 && out.unified.empty())
    return Error::text("no cgroup file system is mounted; mount one, e.g. mount -t cgroup2 none /sys/fs/cgroup",
                       std::errc::no_such_file_or_directory);
  out.layout = out.unified.empty() ? CgroupLayout::v1 : v1 ? CgroupLayout::hybrid : CgroupLayout::v2;
  return out;
}

std::uint64_t cpu_shares(unsigned millis) {
  return std::clamp<std::uint64_t>(std::uint64_t{millis} * 1024 / 1000, 2, 262'144);
}

std::uint64_t cpu_weight(std::uint64_t shares) {
  return 1 + (std::clamp<std::uint64_t>(shares, 2, 262'144) - 2) * 9999 / 262'142;
}

Result<std::vector<Knob>> cgroup_knobs(const CgroupMounts& mounts, const Limits& limits, const KnobOptions& options) {
  std::vector<Knob> knobs;
  auto place = [&](const char* controller) -> const CgroupMounts::Place* {
    auto found = mounts.controllers.find(controller);
    return found == mounts.controllers.end() ? nullptr : &found->second;
  };
  auto missing = [](const char* controller, const char* limit) {
    return Error::text(fmt::format("this machine has no \"{}\" cgroup controller, so a {} cannot be kept; enable the "
                                   "controller or remove the limit",
                                   controller, limit),
                       std::errc::not_supported);
  };
  auto add = [&](const CgroupMounts::Place* p, const char* file, std::string value, bool optional) {
    knobs.push_back({p->mount, file, std::move(value), optional});
  };

  if (const auto* cpu = place("cpu")) {
    std::uint64_t quota = std::max<std::uint64_t>(std::uint64_t{limits.cpu_millis} * kPeriodUsec / 1000, 1000);
    std::uint64_t shares = limits.cpu_request_millis ? cpu_shares(limits.cpu_request_millis) : 1024;
    bool optional = limits.cpu_millis == 0;  // kernels without CFS bandwidth control
    if (cpu->version == 2) {
      std::string value =
          limits.cpu_millis ? fmt::format("{} {}", quota, kPeriodUsec) : fmt::format("max {}", kPeriodUsec);
      add(cpu, "cpu.max", std::move(value), optional);
      add(cpu, "cpu.weight", fmt::format("{}", limits.cpu_request_millis ? cpu_weight(shares) : 100), false);
    } else {
      add(cpu, "cpu.cfs_period_us", fmt::format("{}", kPeriodUsec), optional);
      add(cpu, "cpu.cfs_quota_us", limits.cpu_millis ? fmt::format("{}", quota) : "-1", optional);
      add(cpu, "cpu.shares", fmt::format("{}", shares), false);
    }
  } else if (limits.cpu_millis || limits.cpu_request_millis) {
    return missing("cpu", "CPU limit");
  }

  if (const auto* memory = place("memory")) {
    if (memory->version == 2) {
      std::string value = limits.memory_bytes ? fmt::format("{}", limits.memory_bytes) : "max";
      add(memory, "memory.max", value, false);
      add(memory, "memory.swap.max", limits.memory_bytes ? "0" : "max", true);
      add(memory, "memory.oom.group", options.kill_as_one ? "1" : "0", true);
    } else {
      std::string value = limits.memory_bytes ? fmt::format("{}", limits.memory_bytes) : "-1";
      add(memory, "memory.limit_in_bytes", value, false);
      add(memory, "memory.memsw.limit_in_bytes", value, true);  // memory + swap: the same number is no swap
    }
  } else if (limits.memory_bytes) {
    return missing("memory", "memory limit");
  }

  if (const auto* pids = place("pids")) {
    unsigned most = limits.pids ? limits.pids : options.default_pids;
    add(pids, "pids.max", most ? fmt::format("{}", most) : "max", false);
  } else if (limits.pids) {
    return missing("pids", "limit of processes");
  }
  return knobs;
}

}  // namespace trama::netns
