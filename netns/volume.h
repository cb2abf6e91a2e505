// SPDX-License-Identifier: GPL-2.0-or-later
// Volumes of a pod as values.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace trama::netns {

struct VolumeFile {
  std::string content;
  unsigned mode = 0644;
  friend bool operator==(const VolumeFile&, const VolumeFile&) = default;
};

// Either an empty directory in memory that containers write to, or files that they only read and that may be replaced
// while they run. Both live in the pod's own mount namespace and end with it.
struct Volume {
  bool scratch = false;
  std::uint64_t size_bytes = 0;             // of a scratch volume: the most it may hold; 0 = half of the memory
  std::map<std::string, VolumeFile> files;  // by path below the volume: "ca.crt", "deeper/down"
  friend bool operator==(const Volume&, const Volume&) = default;
};
using Volumes = std::map<std::string, Volume>;  // by name, a DNS label

// Where a container sees a volume.
struct VolumeMount {
  std::string volume;
  std::string path;       // absolute: "/etc/web"
  std::string sub_path;   // of the volume, relative; "" = all of it. Bound when the container starts: never updated
  bool read_only = true;  // volumes of files always are
  friend bool operator==(const VolumeMount&, const VolumeMount&) = default;
};

// Paths, modes and contents in one SHA-256, hex: what was written last is compared by it.
std::string digest(const Volume& volume);

// Relative, without "", "." or ".." as a part, not beginning with "..", at most 4095 bytes: what a volume's file may be
// called (names that begin with ".." are the writer's own).
bool is_file_path(const std::string& path);

}  // namespace trama::netns
