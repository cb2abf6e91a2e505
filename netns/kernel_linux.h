// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/netlink/client.h"
#include "base/netlink/rtnl.h"
#include "netns/guard.h"
#include "netns/kernel.h"
#include "netns/namespace.h"
#include "netns/process_port.h"
#include "netns/reaper.h"
#include "netns/registry.h"

namespace trama::netns {

// The machine. Holds one descriptor per sandbox (its namespace), a thread that deletes links, and what it last read.
// Whatever it knows can be found again by a fresh one: registry, names and marks are the memory, not this object.
class KernelLinux final : public Kernel, public Hints {
 public:
  struct Options {
    Paths paths;
    // For tests: called with a name after each lasting step of making and removing a sandbox.
    std::function<void(const char* step)> at_step;
  };
  // In the network namespace of the node, which is that of the calling thread; observe() and apply() may then be called
  // on another thread of that namespace. `session` and `processes` are used on the same thread and must live longer.
  static base::Result<std::unique_ptr<KernelLinux>> open(Options options, nft::Session& session,
                                                         ProcessPort& processes);

  base::Result<Observed> observe() override;
  base::Result<> apply(const Op& op) override;

  bool inside_changed(std::optional<std::int32_t> nsid) override;
  bool is_ours(std::uint32_t link) override;
  base::Result<bool> guard_touched() override { return guard_.touched(); }
  void on_change(std::function<void()> changed) override { processes_.on_change(std::move(changed)); }
  int ended_fd() const override { return processes_.ended_fd(); }
  void drain() override { processes_.drain(); }

 private:
  KernelLinux(Options options, Home home, netlink::Client client, Registry registry, std::unique_ptr<Reaper> reaper,
              nft::Session& session, ProcessPort& processes);

  struct Outside;  // links, routes and neighbours of the node, read once per observe()
  base::Result<Outside> read_outside();
  base::Result<bool> forwarding() const;
  void observe_network(const Record& record, const Outside& outside, ObservedSandbox& s);
  void observe_inside(const Record& record, const netlink::Link& link, ObservedSandbox& s);
  std::string cached_file(const std::string& path);

  std::string pin_path(const std::string& name) const { return options_.paths.netns_dir + "/" + name; }
  std::string etc_path(const std::string& name) const { return options_.paths.etc_netns_dir + "/" + name; }
  // A descriptor of the sandbox's namespace as long as that is alive; -1 = it is not.
  int namespace_fd(const Record& record);
  // For a sandbox whose record was lost: the pinned namespace that holds its MAC address.
  std::optional<std::pair<std::string, NamespaceId>> find_pin(const Uid& uid);
  std::map<Uid, GuardEntry> guard_entries() const;
  void step(const char* name) const;

  base::Result<> create(const Sandbox& s);
  base::Result<> wire(const Sandbox& s, int netns_fd);
  base::Result<> enable_forwarding();
  base::Result<> withdraw(const Uid& uid);
  base::Result<> destroy(const Uid& uid);
  base::Result<> forget(const Uid& uid);
  base::Result<> repair_pin(const Sandbox& s);
  base::Result<> repair_guard(const Sandbox& s);
  base::Result<> repair_link(const Sandbox& s);
  base::Result<> repair_inside(const Sandbox& s);
  base::Result<> write_files(const Sandbox& s);
  base::Result<> start_processes(const Sandbox& s);
  base::Result<> write_volumes(const WriteVolumes& o);
  base::Result<> release(const Sandbox& s);
  Surroundings surroundings(const Sandbox& s) const;
  // The host end, when it is there and ours.
  base::Result<std::optional<netlink::Link>> own_link(const Uid& uid);
  base::Result<base::IfIndex> need_link(const Uid& uid);

  Options options_;
  Home home_;
  netlink::Client client_;
  Registry registry_;
  std::unique_ptr<Reaper> reaper_;
  Guard guard_;
  ProcessPort& processes_;
  bool pins_ready_ = false;
  struct Held {
    base::UniqueFd fd;
    NamespaceId id;
  };
  std::map<Uid, Held> held_;
  std::set<Uid> withdrawn_;    // no guard entry, although still registered
  std::set<Uid> well_inside_;  // looked into, and nothing happened since
  struct FileSeen {
    std::int64_t seconds = 0, nanoseconds = 0, size = -1;
    std::uint64_t inode = 0;
    std::string content;
  };
  std::map<std::string, FileSeen> files_;

  std::mutex events_;  // guards what follows
  std::set<std::int32_t> touched_;
  bool all_touched_ = true;
  std::set<std::int32_t> our_nsids_;  // as of the last observe()
  std::set<std::uint32_t> our_links_;
};

}  // namespace trama::netns
