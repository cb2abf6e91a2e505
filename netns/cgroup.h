// SPDX-License-Identifier: GPL-2.0-or-later
// Control groups as one tree, whatever the machine mounts: v2, v1, or v1 with a v2 tree beside it (hybrid).
// A group "pod-7f3a" is the directory <root>/pod-7f3a in every hierarchy that carries a controller we use, plus in the
// v2 tree of a hybrid machine, which has no controllers there but can kill and report emptiness.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "netns/model.h"

namespace trama::netns {

enum class CgroupLayout { v1, hybrid, v2 };

// Where each controller lives. Pure: made from texts, so every layout can be tested anywhere.
struct CgroupMounts {
  struct Place {
    std::string mount;  // "/sys/fs/cgroup/cpu,cpuacct"; the same string for co-mounted controllers
    int version = 1;
    friend bool operator==(const Place&, const Place&) = default;
  };
  CgroupLayout layout = CgroupLayout::v2;
  std::map<std::string, Place>
      controllers;      // "cpu", "cpuacct", "memory", "pids", "freezer"; absent = not on this machine
  std::string unified;  // mount point of the v2 tree, "" = none
};

// `mountinfo` is the text of /proc/self/mountinfo; `unified_controllers` that of cgroup.controllers in the v2 tree.
// A controller that is mounted as v1 is used there, as the kernel does. Fails when there is no cgroup mount at all.
base::Result<CgroupMounts> parse_cgroup_mounts(std::string_view mountinfo, std::string_view unified_controllers);
// Only the mount point of the v2 tree ("" = none): what is needed to read unified_controllers.
std::string unified_mount(std::string_view mountinfo);

// One write into a control file. `relative` files live in <mount>/<root>/<name>/.
struct Knob {
  std::string mount, file, value;
  bool optional = false;  // a kernel without this file is fine (no swap accounting, no oom.group)
  friend bool operator==(const Knob&, const Knob&) = default;
};
struct KnobOptions {
  bool kill_as_one = false;  // memory.oom.group: an out-of-memory kill takes the whole group (containers, never pods)
  unsigned default_pids = 4096;
};
// The writes that put `limits` into force, in the order in which they must happen when limits grow from nothing.
// Limits that this machine has no controller for are an error that names the controller.
base::Result<std::vector<Knob>> cgroup_knobs(const CgroupMounts& mounts, const Limits& limits,
                                             const KnobOptions& options);
// Upstream's arithmetic: millicores -> cpu.shares (2..262144), shares -> cpu.weight (1..10000).
std::uint64_t cpu_shares(unsigned millis);
std::uint64_t cpu_weight(std::uint64_t shares);

struct CgroupUsage {
  std::uint64_t memory_bytes = 0;
  std::uint64_t cpu_usec = 0;
  std::uint64_t pids = 0;
  std::uint64_t oom_kills = 0;  // processes of this group and the groups below it killed by the kernel for memory
};

// The groups below one root directory ("trama.slice", in a lab "trama.slice/hello.n1"). Everything below the root is
// ours, nothing outside is touched. All calls block; any thread may call, but not two at once for the same group.
class CgroupRoot {
 public:
  // Finds out what is mounted (mountinfo, statfs). Creates nothing.
  static base::Result<CgroupRoot> open(std::string root = "trama.slice");
  CgroupRoot(std::string root, CgroupMounts mounts) : root_(std::move(root)), mounts_(std::move(mounts)) {}

  const std::string& root() const { return root_; }
  const CgroupMounts& mounts() const { return mounts_; }

  // Makes the group (parents too) and applies the limits; an existing group gets the limits. A name may have several
  // levels ("pod-7f3a/web"). On failure the group may exist in part: remove() is the cure.
  base::Result<> create(const std::string& name, const Limits& limits, const KnobOptions& options) const;
  base::Result<> create(const std::string& name, const Limits& limits) const {
    return create(name, limits, KnobOptions{});
  }
  // Changes the limits of an existing group.
  base::Result<> update(const std::string& name, const Limits& limits, const KnobOptions& options) const;
  // The directories whose cgroup.procs a process must be written to, to be in the group; one per hierarchy.
  std::vector<std::string> directories(const std::string& name) const;
  bool exists(const std::string& name) const;
  // Direct children of the root, in any hierarchy, sorted.
  std::vector<std::string> list() const;
  base::Result<CgroupUsage> usage(const std::string& name) const;
  // SIGKILLs every process in the group and below, including ones being forked, and waits until it is empty
  // (ETIMEDOUT after 5 s). A group that does not exist is empty.
  base::Result<> kill_all(const std::string& name) const;
  // Removes the empty group and the groups below it; waits out EBUSY for up to 2 s. A missing group is fine.
  base::Result<> remove(const std::string& name) const;
  // Removes the root directory and its parents up to the first one that is not empty. For `lab down` and uninstall.
  base::Result<> remove_root() const;

 private:
  std::vector<std::string> trees() const;  // distinct mount points in use
  base::Result<> write(const std::string& name, const std::vector<Knob>& knobs) const;
  base::Result<> make(const std::string& mount, const std::string& path) const;

  std::string root_;
  CgroupMounts mounts_;
};

}  // namespace trama::netns
