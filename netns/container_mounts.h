// SPDX-License-Identifier: GPL-2.0-or-later
// The volumes of a container, from the pod's base into the container's own root.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "netns/pod_spec.h"

namespace trama::netns {

// A mount that is attached nowhere yet.
struct VolumeTree {
  base::UniqueFd tree;
  std::string path;
  bool directory = true;
};

// In the base, before the container's root is entered. A sub_path is looked up inside its volume: no link leads out of
// it. In a scratch volume one that is missing is made.
base::Result<std::vector<VolumeTree>> gather_volumes(const PodSpec& spec, const ContainerSpec& container);

// Inside the container's root. Missing mount points are made; where the file system is read-only, by way of an overlay
// in memory over the nearest directory that is there. Shallow ones first, whatever their order in the spec.
base::Result<> attach_volumes(std::vector<VolumeTree> volumes);

// In the base: the volumes whose mount points begin with a name that `root` does not have ("/data" of "/data/web").
std::vector<const VolumeTree*> missing_at_top(const std::string& root, const std::vector<VolumeTree>& volumes);
// Makes the mount point of a volume below `root`, which can be written there.
base::Result<> make_mount_point(const std::string& root, const VolumeTree& volume);

// Covers `place` with an overlay over `lower` whose changes are kept in memory.
base::Result<> mount_overlay(const std::string& lower, const std::string& place);

}  // namespace trama::netns
