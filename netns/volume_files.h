// SPDX-License-Identifier: GPL-2.0-or-later
// Volumes of files on a file system, laid out and replaced as the kubelet does it: a reader that opens its files below
// `..data` once sees all of one version.
//
//   <volume>/ca.crt -> ..data/ca.crt      ..data -> ..2026_01_02_15_04_05.000000001      ..2026…/ca.crt
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "netns/volume.h"

namespace trama::netns {

// Inside a pod's base (root_fs.h): one directory for each volume; and beside them what was written last, which no
// container sees.
inline constexpr const char* kBaseVolumes = "/volumes";
inline constexpr const char* kDigests = ".digests";

// Makes `directory` hold exactly the files of `volume`. Nobody but the caller may be able to write there. One that was
// interrupted is made good by the next.
base::Result<> write_volume_files(const std::string& directory, const Volume& volume);

// The same for the volume `name` below `volumes`, which exists; its digest is recorded when all is written.
base::Result<> write_volume(const std::string& volumes, const std::string& name, const Volume& volume);
// What was recorded; "" = nothing yet.
std::string written_digest(const std::string& volumes, const std::string& name);

}  // namespace trama::netns
