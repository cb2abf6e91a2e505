// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/cgroup.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <functional>
#include <set>
#include <thread>

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/c_ptr.h"
#include "base/file.h"

namespace trama::netns {
using base::Error;
using base::Result;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {
using Dir = base::CPtr<DIR, closedir>;

std::vector<std::string> subdirectories(const std::string& path) {
  std::vector<std::string> out;
  Dir dir(::opendir(path.c_str()));
  if (!dir) return out;
  while (const dirent* e = ::readdir(dir.get())) {
    std::string_view name = e->d_name;
    if (e->d_type == DT_DIR && name != "." && name != "..") out.emplace_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool is_directory(const std::string& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

// The directory and all below it, deepest first.
void walk(const std::string& path, const std::function<void(const std::string&)>& visit) {
  for (const std::string& child : subdirectories(path)) walk(path + "/" + child, visit);
  visit(path);
}

// Doubles the pause from 0.5 ms to 20 ms until `done` or the deadline.
bool wait_until(const std::function<bool()>& done, milliseconds limit) {
  auto end = Clock::now() + limit;
  std::chrono::microseconds pause{500};
  while (!done()) {
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(20'000));
  }
  return true;
}

std::vector<pid_t> pids_below(const std::string& path) {
  std::vector<pid_t> out;
  walk(path, [&](const std::string& directory) {
    auto text = base::read_file(directory + "/cgroup.procs");
    if (!text) return;
    const char* at = text->c_str();
    for (char* end = nullptr; long pid = std::strtol(at, &end, 10); at = end)
      if (pid > 0) out.push_back(static_cast<pid_t>(pid));
  });
  return out;
}

// "key value" lines.
std::uint64_t field(const std::string& text, std::string_view key) {
  std::string word = std::string(key) + " ";
  std::size_t at = text.starts_with(word) ? 0 : text.find("\n" + word);
  if (at == std::string::npos) return 0;
  at = text.find(' ', at);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at, nullptr, 10);
}

std::uint64_t number(const std::string& path) {
  auto text = base::read_file(path);
  return text ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}

bool on_cgroup_fs(const std::string& path, bool unified) {
  struct statfs s {};
  return ::statfs(path.c_str(), &s) == 0 &&
         static_cast<unsigned long>(s.f_type) == (unified ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC);
}
}  // namespace

Result<CgroupRoot> CgroupRoot::open(std::string root) {
  while (root.ends_with('/')) root.pop_back();
  if (root.empty() || root.front() == '/' || ("/" + root + "/").find("/../") != std::string::npos)
    return Error::text(fmt::format("cgroup root \"{}\": expected a relative path such as trama.slice", root));
  auto mountinfo = base::read_file("/proc/self/mountinfo", 16 << 20);
  if (!mountinfo) return std::move(mountinfo).error().in("find cgroups");
  std::string unified = unified_mount(*mountinfo), controllers;
  if (!unified.empty()) controllers = base::read_file(unified + "/cgroup.controllers").value_or(std::string());
  auto mounts = parse_cgroup_mounts(*mountinfo, controllers);
  if (!mounts) return std::move(mounts).error();
  // A mount that something else was mounted over is not there for us.
  std::erase_if(mounts->controllers,
                [](const auto& e) { return !on_cgroup_fs(e.second.mount, e.second.version == 2); });
  if (!mounts->unified.empty() && !on_cgroup_fs(mounts->unified, true)) mounts->unified.clear();
  return CgroupRoot(std::move(root), std::move(*mounts));
}

std::vector<std::string> CgroupRoot::trees() const {
  std::set<std::string> out;
  if (!mounts_.unified.empty()) out.insert(mounts_.unified);
  for (const auto& [name, place] : mounts_.controllers)
    if (name != "freezer" || mounts_.unified.empty()) out.insert(place.mount);  // cgroup.kill replaces the freezer
  return {out.begin(), out.end()};
}

std::vector<std::string> CgroupRoot::directories(const std::string& name) const {
  auto out = trees();
  for (std::string& tree : out) tree += "/" + root_ + "/" + name;
  return out;
}

bool CgroupRoot::exists(const std::string& name) const {
  auto all = directories(name);
  return std::any_of(all.begin(), all.end(), is_directory);
}

// mkdir -p below `mount`; in a v2 tree every level but the last passes its controllers on.
Result<> CgroupRoot::make(const std::string& mount, const std::string& path) const {
  std::vector<std::string> passed_on;
  for (const auto& [name, place] : mounts_.controllers)
    if (place.version == 2 && place.mount == mount) passed_on.push_back("+" + name);
  std::string here = mount;
  for (std::size_t from = 0; from < path.size();) {
    std::size_t slash = std::min(path.find('/', from), path.size());
    for (const std::string& controller : passed_on)
      if (auto r = base::write_knob(here + "/cgroup.subtree_control", controller); !r)
        return std::move(r).error().in(r.error().is(std::errc::device_or_resource_busy)
                                           ? "processes stand in a cgroup that should have children"
                                           : "delegate cgroup controllers");
    here += "/" + path.substr(from, slash - from);
    if (::mkdir(here.c_str(), 0755) < 0 && errno != EEXIST) return Error::from_errno(errno, "mkdir " + here);
    from = slash + 1;
  }
  return {};
}

Result<> CgroupRoot::write(const std::string& name, const std::vector<Knob>& knobs) const {
  for (std::size_t i = 0; i < knobs.size(); ++i) {
    auto path = [&](const Knob& k) { return fmt::format("{}/{}/{}/{}", k.mount, root_, name, k.file); };
    auto r = base::write_knob(path(knobs[i]), knobs[i].value);
    // v1 insists on memory <= memory + swap at every moment: to grow, the second one must go first.
    if (!r && r.error().is(std::errc::invalid_argument) && knobs[i].file == "memory.limit_in_bytes" &&
        i + 1 < knobs.size() && base::write_knob(path(knobs[i + 1]), knobs[i + 1].value))
      r = base::write_knob(path(knobs[i]), knobs[i].value);
    if (!r && knobs[i].optional && (r.error().is(std::errc::no_such_file_or_directory))) continue;
    if (!r) return std::move(r).error().in(fmt::format("set {} of cgroup {}", knobs[i].file, name));
  }
  return {};
}

Result<> CgroupRoot::create(const std::string& name, const Limits& limits, const KnobOptions& options) const {
  auto knobs = cgroup_knobs(mounts_, limits, options);
  if (!knobs) return std::move(knobs).error();
  for (const std::string& tree : trees())
    if (auto r = make(tree, root_ + "/" + name); !r) return std::move(r).error().in("create cgroup " + name);
  return write(name, *knobs);
}

Result<> CgroupRoot::update(const std::string& name, const Limits& limits, const KnobOptions& options) const {
  auto knobs = cgroup_knobs(mounts_, limits, options);
  if (!knobs) return std::move(knobs).error();
  return write(name, *knobs);
}

std::vector<std::string> CgroupRoot::list() const {
  std::set<std::string> out;
  for (const std::string& tree : trees())
    for (std::string& child : subdirectories(tree + "/" + root_)) out.insert(std::move(child));
  return {out.begin(), out.end()};
}

Result<CgroupUsage> CgroupRoot::usage(const std::string& name) const {
  if (!exists(name)) return Error::from_errno(ENOENT, "cgroup " + name);
  CgroupUsage u;
  auto at = [&](const char* controller) -> std::pair<std::string, int> {
    auto p = mounts_.controllers.find(controller);
    if (p == mounts_.controllers.end()) return {"", 0};
    return {fmt::format("{}/{}/{}", p->second.mount, root_, name), p->second.version};
  };
  if (auto [path, version] = at("memory"); version == 2) {
    u.memory_bytes = number(path + "/memory.current");
    u.oom_kills = field(base::read_file(path + "/memory.events").value_or(std::string()), "oom_kill");
  } else if (version == 1) {
    u.memory_bytes = number(path + "/memory.usage_in_bytes");
    walk(path, [&](const std::string& directory) {  // counted in the group of the victim only
      u.oom_kills += field(base::read_file(directory + "/memory.oom_control").value_or(std::string()), "oom_kill");
    });
  }
  if (auto [path, version] = at("pids"); version) u.pids = number(path + "/pids.current");
  if (auto [path, version] = at("cpuacct"); version == 1)
    u.cpu_usec = number(path + "/cpuacct.usage") / 1000;
  else if (!mounts_.unified.empty())
    u.cpu_usec =
        field(base::read_file(fmt::format("{}/{}/{}/cpu.stat", mounts_.unified, root_, name)).value_or(std::string()),
              "usage_usec");
  return u;
}

Result<> CgroupRoot::kill_all(const std::string& name) const {
  std::vector<std::string> all;
  for (const std::string& d : directories(name))
    if (is_directory(d)) all.push_back(d);
  if (all.empty()) return {};
  auto empty = [&] { return std::all_of(all.begin(), all.end(), [](const auto& d) { return pids_below(d).empty(); }); };
  if (empty()) return {};

  std::string unified = fmt::format("{}/{}/{}", mounts_.unified, root_, name);
  if (!mounts_.unified.empty()) (void)base::write_knob(unified + "/cgroup.kill", "1");
  auto freezer = mounts_.controllers.find("freezer");
  std::string frozen;
  if (mounts_.unified.empty() && freezer != mounts_.controllers.end())
    frozen = fmt::format("{}/{}/{}/freezer.state", freezer->second.mount, root_, name);
  bool gone = wait_until(
      [&] {
        if (empty()) return true;
        if (!frozen.empty()) (void)base::write_knob(frozen, "FROZEN");  // nobody forks while we count
        for (const std::string& d : all)
          for (pid_t pid : pids_below(d)) (void)::kill(pid, SIGKILL);
        if (!frozen.empty()) (void)base::write_knob(frozen, "THAWED");
        return empty();
      },
      milliseconds(5000));
  if (!gone) return Error::from_errno(ETIMEDOUT, fmt::format("processes of cgroup {} do not die", name));
  return {};
}

Result<> CgroupRoot::remove(const std::string& name) const {
  if (name.empty()) return Error::from_errno(EINVAL, "remove cgroup without a name");
  Result<> out;
  for (const std::string& directory : directories(name)) {
    if (!is_directory(directory)) continue;
    int err = 0;
    bool gone = wait_until(
        [&] {
          err = 0;
          walk(directory, [&](const std::string& d) {
            if (::rmdir(d.c_str()) < 0 && errno != ENOENT) err = errno;
          });
          return err != EBUSY;
        },
        milliseconds(2000));
    if ((!gone || err) && out) out = Error::from_errno(err, "remove " + directory);
  }
  return out;
}

Result<> CgroupRoot::remove_root() const {
  Result<> out;
  for (const std::string& tree : trees()) {
    for (std::string path = root_; !path.empty();
         path = path.substr(0, std::max<std::size_t>(path.rfind('/') + 1, 1) - 1)) {
      std::string directory = tree + "/" + path;
      // A group whose last child has just gone stays busy until the kernel has put that child off line.
      int err = 0;
      bool settled = wait_until(
          [&] {
            err = ::rmdir(directory.c_str()) == 0 || errno == ENOENT ? 0 : errno;
            return err != EBUSY || !subdirectories(directory).empty() || !pids_below(directory).empty();
          },
          milliseconds(2000));
      if (err == 0) continue;
      if (((err != EBUSY && err != ENOTEMPTY) || !settled) && out) out = Error::from_errno(err, "remove " + directory);
      break;
    }
  }
  return out;
}

}  // namespace trama::netns
