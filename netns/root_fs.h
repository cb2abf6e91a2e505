// SPDX-License-Identifier: GPL-2.0-or-later
// The file systems of a pod, in two steps, both in mount namespaces of their own.
//
// enter_base: the init leaves the host's tree for a small one that holds exactly what its containers are made from, so
// that a pod keeps no other mount of the host busy (neither other pods' namespaces nor disks):
//   /host  the host's root (and /usr, /etc, /var, … if those are mounts)    /images/<i>  the dir: or bind: directory
//   /files/{hosts,resolv.conf,trama}    /pod  the pod's directory    /root  where containers are put together
//   /volumes/<name>  in memory: scratch volumes each by itself, volumes of files together; the agent writes the latter
//   by way of /proc/<init>/root, so that nothing of them is ever in the host's tree
//
// enter_container_root: a container's own view.
//   image host        the host's root read-only, without its secrets (kMasked), with empty private writable /tmp, /run,
//                     /var/tmp, /home, /root, /mnt, /media and /var/log (its directories, no files), /var/lib/nginx and
//                     /var/cache/nginx if the host has them; the program itself at /run/trama/trama
//   image dir:/path   that directory under an overlay: writes go to memory and end with the container
//   image bind:/path  that directory itself, read-write
// and in all of them /proc of the pod (parts masked or read-only), read-only /sys of the pod's network namespace, a
// private /dev (null zero full random urandom tty ptmx pts shm), /etc/hosts and /etc/resolv.conf as given; last of all
// its volumes (container_mounts.h).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "netns/launch.h"

namespace trama::netns {

// In a fresh mount namespace; afterwards "/" is the base.
base::Result<> enter_base(const PodLaunch& launch);

// In a fresh mount namespace copied from the base, inside the pod's pid and network namespaces; afterwards "/" is the
// container's root and nothing of the base can be reached. `index` is the container's place in the spec.
base::Result<> enter_container_root(const PodSpec& spec, std::size_t index);

// Where inside the base things are.
inline constexpr const char* kBasePod = "/pod";

// The parts of the operating system that are mounts of their own below `root`: "/usr".
std::vector<std::string> system_mounts_below(const std::string& root);

// Mount points among `candidates` (absolute paths), in the order given. Pure.
std::vector<std::string> mounts_among(std::string_view mountinfo, const std::vector<std::string>& candidates);

}  // namespace trama::netns
