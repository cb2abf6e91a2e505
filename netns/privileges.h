// SPDX-License-Identifier: GPL-2.0-or-later
// What a container's processes may do: user, capabilities, system calls, resource limits. The same for the container's
// main process and for commands executed in it later.
//
// Capabilities: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT; all
// others leave the bounding set. No new privileges. System calls that mount, enter or create (user) namespaces, load
// kernel code, or reach other kernel attack surface that no network service needs fail with EPERM.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/result.h"

namespace trama::netns {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::string home = "/root";
};
// `user` as in ContainerSpec::user; the texts are those of /etc/passwd and /etc/group inside the container ("" =
// absent). A name that is not there is an error, a number never is.
base::Result<Identity> resolve_user(std::string_view user, std::string_view passwd, std::string_view group);
// The same with the files of the calling process's root.
base::Result<Identity> resolve_user(std::string_view user);

// Irrevocably for the calling process, which must be single-threaded and privileged. exec follows.
base::Result<> drop_privileges(const Identity& identity);

// PATH, HOME, HOSTNAME, then `env` on top, as "KEY=value".
std::vector<std::string> container_environment(const std::map<std::string, std::string>& env, const Identity& identity,
                                               const std::string& hostname, bool host_root);

// execve of words[0], looked up in the PATH of `environment`. Returns only on failure: ENOENT, EACCES, …
base::Error execute(const std::vector<std::string>& words, const std::vector<std::string>& environment);

}  // namespace trama::netns
