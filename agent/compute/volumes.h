// SPDX-License-Identifier: GPL-2.0-or-later
// A pod's volumes: what is in them, laid out as the kubelet does it. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/compute/downward.h"
#include "agent/compute/environment.h"
#include "agent/compute/sources.h"
#include "netns/volume.h"

namespace trama::agent {

struct VolumesOutcome {
  netns::Volumes volumes;                         // those that can be made
  std::map<std::string, SourceProblem> problems;  // by volume: why it cannot, as yet
};
// configMap, secret, downwardAPI, projected, emptyDir. An error names what will never do.
base::Result<VolumesOutcome> pod_volumes(const api::Object& pod, const PodFacts& facts, const Sources& sources);

// Where a container has them; subPathExpr is expanded. An error: a variable of it is not there.
base::Result<std::vector<netns::VolumeMount>> volume_mounts(const json::object& container,
                                                            const Environment& variables);

// The first thing about volumes and mounts that would have to be ignored, as a sentence; "" = they can be as written.
std::string unsupported_volumes(const api::Object& pod);

}  // namespace trama::agent
