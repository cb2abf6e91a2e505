// SPDX-License-Identifier: GPL-2.0-or-later
// A lab's network in the kernel. Everything happens inside the lab's own namespaces: nothing of the calling namespace's
// links, addresses, routes, rules or switches changes.
#pragma once

#include <map>
#include <string>

#include "base/netlink/client.h"
#include "base/unique_fd.h"
#include "cli/lab/plan.h"
#include "netns/namespace.h"

namespace trama::cli {

class LabNetwork {
 public:
  // `netns_dir` is where namespaces are pinned; made a shared mount when it is none yet.
  static base::Result<LabNetwork> open(const std::string& netns_dir = "/run/netns");

  // Does one step. Steps refer to namespaces that earlier steps of this object made.
  base::Result<> apply(const LabOp& op);
  // A namespace this object made; -1 when it did not.
  int fd(const std::string& netns) const;
  // Runs `job` with the calling thread inside a namespace that this object made.
  base::Result<> inside(const std::string& netns, const std::function<base::Result<>()>& job) const;

 private:
  LabNetwork(std::string dir, netns::Home home) : dir_(std::move(dir)), home_(std::move(home)) {}
  base::Result<> make(const MakeNamespace& op);
  base::Result<> make(const MakeSwitch& op);
  base::Result<> make(const PlugIn& op);
  base::Result<netns::NewNamespace*> find(const std::string& netns);

  std::string dir_;
  netns::Home home_;
  std::map<std::string, netns::NewNamespace> made_;
};

// Takes the names of these namespaces away, and of those whose name begins with one of `prefixes`. Names that do not
// exist are fine. Returns what was removed.
base::Result<std::vector<std::string>> remove_namespaces(const std::string& netns_dir,
                                                         const std::vector<std::string>& names,
                                                         const std::vector<std::string>& prefixes);

// Whether the directory is a mount point of its own.
bool is_mount_point(const std::string& directory);

}  // namespace trama::cli
