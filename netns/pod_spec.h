// SPDX-License-Identifier: GPL-2.0-or-later
// What the pod's init is told: the process half of a sandbox, as a value and as JSON (spec.json in the pod's
// directory).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "netns/model.h"

namespace trama::netns {

struct ContainerSpec {
  std::string name;            // DNS label; also the name of the log file and of the cgroup leaf
  std::string image = "host";  // "host", "dir:/path" (writes go to memory and are lost), "bind:/path" (writes stay)
  std::vector<std::string> command;  // command and args are joined; together never empty
  std::vector<std::string> args;
  std::map<std::string, std::string> env;  // on top of PATH, HOME and HOSTNAME
  std::string working_dir;                 // "" = /
  std::string user;                        // "" = root, "1000", "1000:1000" or a name from the container's /etc/passwd
  std::vector<VolumeMount> mounts;
  bool held = false;        // not started before a later spec.json says otherwise
  Limits limits;            // on top of the pod's
  int oom_score_adj = 500;  // 0..1000: the kernel prefers containers to their init
  friend bool operator==(const ContainerSpec&, const ContainerSpec&) = default;
};

// A volume without what is in it: that is never written to a file of the host.
struct VolumeShape {
  bool scratch = false;
  std::uint64_t size_bytes = 0;
  friend bool operator==(const VolumeShape&, const VolumeShape&) = default;
};

struct RestartTiming {
  std::chrono::milliseconds base{10'000};      // before the second restart; the first one is immediate, as upstream
  std::chrono::milliseconds highest{300'000};  // the delay doubles up to this
  std::chrono::milliseconds healthy{600'000};  // a run as long as this forgets earlier failures
  friend bool operator==(const RestartTiming&, const RestartTiming&) = default;
};

struct LogBounds {
  std::uint64_t file_bytes = 1 << 20;
  unsigned files = 2;  // the current one included; disk use never exceeds file_bytes * files per container
  friend bool operator==(const LogBounds&, const LogBounds&) = default;
};

struct PodSpec {
  Uid uid;
  std::string ns, name;    // of the pod
  std::string hostname;    // "" = name
  std::string netns_path;  // "/run/netns/default.web-1"; must exist when the pod is started
  std::string hosts_path;  // bind-mounted read-only at /etc/hosts; "" = the root's own file
  std::string resolv_conf_path;
  std::vector<ContainerSpec> containers;
  std::map<std::string, VolumeShape> volumes;
  Limits limits;
  RestartPolicy restart = RestartPolicy::always;
  std::chrono::milliseconds grace{30'000};
  RestartTiming timing;
  LogBounds log;
  friend bool operator==(const PodSpec&, const PodSpec&) = default;
};

// A sentence naming the first thing that is wrong; checked before anything is started.
base::Result<> validate(const PodSpec& spec);
std::string to_json(const PodSpec& spec);
base::Result<PodSpec> parse_pod_spec(std::string_view json);

}  // namespace trama::netns
