// SPDX-License-Identifier: GPL-2.0-or-later
// What this machine knows about its labs: one directory per lab, /run/trama/labs/<lab>/, with lab.json in it.
// The record is written before anything it names is made, so that whatever a crash leaves behind can be found by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::cli {

// A process beyond its pid: pids are used again, the pair is not.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot, /proc/<pid>/stat field 22
  friend bool operator==(const ProcessId&, const ProcessId&) = default;
};
base::Result<ProcessId> identify(pid_t pid);  // ESRCH when there is none (zombies count as gone)
bool is_alive(const ProcessId& p);

struct LabProcess {
  std::string role;  // "controller", "agent", "links"
  std::string name;  // of the node; "" for the others
  ProcessId id;
  friend bool operator==(const LabProcess&, const LabProcess&) = default;
};

struct LabNode {
  std::string name, address;
  friend bool operator==(const LabNode&, const LabNode&) = default;
};

struct LabRecord {
  std::string name;
  std::string state = "starting";  // "starting", "up", "stopping"
  ProcessId creator;               // the `trama lab up` that made it
  std::vector<LabProcess> processes;
  std::vector<LabNode> nodes;
  std::string switch_address;                 // the controller's, inside the lab: "172.30.0.1"
  std::uint16_t api_port = 0;                 // on 127.0.0.1 of this machine
  std::vector<std::string> made_directories;  // which did not exist before any lab: removed with the last one, if empty
  bool made_netns_mount = false;              // /run/netns was made a mount by us
  std::string file;                           // what it was started from; "" = the built-in hello
  std::int64_t created_at = 0;                // unix seconds
  friend bool operator==(const LabRecord&, const LabRecord&) = default;
};

std::string to_json_text(const LabRecord& r);
base::Result<LabRecord> parse_lab_record(std::string_view text);

// 1 to 30 of a-z, 0-9 and "-", not at the ends: fit for labs and nodes, and for file names.
bool is_lab_name(std::string_view name);

// Names derived from the lab's: all that belongs to it carries one of these.
std::string switch_netns(const std::string& lab);                               // "hello.switch"
std::string node_netns(const std::string& lab, const std::string& node);        // "hello.n1"
std::string pod_netns_prefix(const std::string& lab, const std::string& node);  // "hello.n1."
std::string cgroup_root(const std::string& lab, const std::string& node);       // "trama.slice/hello.n1"

enum class LabState { running, starting, broken };  // broken: its controller is dead, or it was never finished
LabState state_of(const LabRecord& r);

// Where labs live; another root in tests.
class LabRegistry {
 public:
  explicit LabRegistry(std::string root = "/run/trama/labs") : root_(std::move(root)) {}
  const std::string& root() const { return root_; }
  std::string directory(const std::string& lab) const { return root_ + "/" + lab; }
  std::string kubeconfig(const std::string& lab) const { return directory(lab) + "/kubeconfig"; }
  // Every directory with a record; a directory without a readable one is returned as a broken lab of that name.
  std::vector<LabRecord> list() const;
  // ENOENT when there is no such lab; whatever is no lab's name is none, too.
  base::Result<LabRecord> read(const std::string& lab) const;
  base::Result<> write(const LabRecord& r) const;  // makes the directory
  // Exclusive among `lab up`, `down` and `prune` of one lab while the descriptor lives; EWOULDBLOCK when taken.
  base::Result<base::UniqueFd> lock(const std::string& lab) const;

 private:
  std::string root_;
};

}  // namespace trama::cli
