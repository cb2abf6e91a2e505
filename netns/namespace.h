// SPDX-License-Identifier: GPL-2.0-or-later
// Network namespaces: made, entered, pinned below a directory as `ip netns` does, unpinned.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/netlink/client.h"
#include "base/unique_fd.h"

namespace trama::netns {

// Which namespace a descriptor leads to; equal for the same namespace however it was opened.
struct NamespaceId {
  std::uint64_t inode = 0;  // 0: none
  friend bool operator==(const NamespaceId&, const NamespaceId&) = default;
};
// EINVAL when the descriptor is not a network namespace.
base::Result<NamespaceId> namespace_id(int fd);
// Opens and identifies; ENOENT when there is no such file, EINVAL when it is something else (an interrupted pin).
base::Result<std::pair<base::UniqueFd, NamespaceId>> open_namespace(const std::string& path);

struct NewNamespace {
  base::UniqueFd fd;
  NamespaceId id;
  netlink::Client inside;  // works in the new namespace, whoever uses it
};

// The namespace in which its thread lives, and the only place that leaves it. One object per thread; the thread is back
// home whenever a call returns. A thread that cannot return would configure somebody else's network: it aborts the
// process instead.
class Home {
 public:
  // The calling thread's present namespace.
  static base::Result<Home> open();

  int fd() const { return fd_.get(); }
  NamespaceId id() const { return id_; }

  // A new namespace; `switches` are written into it: path below /proc/sys and value. A switch that the kernel does not
  // have is passed over.
  base::Result<NewNamespace> make(const std::vector<std::pair<std::string, std::string>>& switches) const;
  // Runs `job` inside. It must not start threads or keep anything that depends on where it runs.
  base::Result<> inside(int fd, const std::function<base::Result<>()>& job) const;
  base::Result<netlink::Client> client_inside(int fd) const;

 private:
  Home() = default;
  void go_back() const;
  base::UniqueFd fd_;
  NamespaceId id_;
};

// Makes `directory` a shared mount of its own, as `ip netns add` does, so that pins are seen in other mount namespaces
// and can be removed from there. Safe against others doing the same at the same time.
base::Result<> prepare_pin_directory(const std::string& directory);
// Gives the namespace a name. EEXIST when another namespace has it; a half-made pin is completed.
base::Result<> pin(int fd, NamespaceId id, const std::string& path);
// Takes the name away if it leads to that namespace (any left-over plain file too). Somebody else's is not touched.
base::Result<> unpin(NamespaceId id, const std::string& path);

}  // namespace trama::netns
