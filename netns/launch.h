// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent hands to `trama pod-init` and `trama pod-exec` besides descriptors.
#pragma once

#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "netns/exec.h"
#include "netns/pod_spec.h"

namespace trama::netns {

struct PodLaunch {
  PodSpec spec;
  std::string directory;                                    // of the pod
  std::string executable;                                   // shown to host-root containers as /run/trama/trama
  std::vector<std::string> init_cgroups;                    // directories to join
  std::vector<std::vector<std::string>> container_cgroups;  // one list per container of the spec
};
std::string to_json(const PodLaunch& launch);
base::Result<PodLaunch> parse_pod_launch(std::string_view json);

// Between the agent and an init whose pod has volumes: the init has made them and starts nothing until they are
// written.
inline constexpr const char* kVolumesReady = "volumes";
inline constexpr const char* kVolumesWritten = "written";

// From outside the pod to its init: spec.json says of containers that were held what they are made of now.
inline constexpr int kReleaseSignal = SIGUSR1;

struct ExecLaunch {
  ContainerSpec container;  // environment, user, working directory
  std::string hostname;
  std::vector<std::string> command;
  std::vector<std::string> cgroups;
  bool terminal = false;
  TerminalSize size;
};
std::string to_json(const ExecLaunch& launch);
base::Result<ExecLaunch> parse_exec_launch(std::string_view json);

}  // namespace trama::netns
