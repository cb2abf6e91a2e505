// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent remembers of each sandbox, one file each: <run_dir>/sandboxes/<uid>.json. Written before the first
// lasting effect, removed after the last one is undone, so that a successor finds everything whenever its predecessor
// was killed. It ends with a reboot, as the namespaces do.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "netns/model.h"
#include "netns/namespace.h"

namespace trama::netns {

struct Record {
  Uid uid;
  std::string ns, name;  // of the pod
  std::string netns_name;
  NamespaceId netns;
  std::vector<Ip> addresses;
  unsigned mtu = 0;
  unsigned connection_limit = 0;
  friend bool operator==(const Record&, const Record&) = default;
};

std::string to_json(const Record& record);
base::Result<Record> parse_record(std::string_view json);

// Knows the files and keeps their content in memory: reading is free. Only this process writes them.
class Registry {
 public:
  // Reads what is there. A file that cannot be understood is set aside as <uid>.json.bad and reported in the log.
  static base::Result<Registry> open(const std::string& run_dir);

  const std::map<Uid, Record>& all() const { return records_; }
  const Record* find(const Uid& uid) const;
  base::Result<> put(const Record& record);
  base::Result<> remove(const Uid& uid);

 private:
  explicit Registry(std::string directory) : directory_(std::move(directory)) {}
  std::string path(const Uid& uid) const { return directory_ + "/" + uid + ".json"; }
  std::string directory_;
  std::map<Uid, Record> records_;
};

}  // namespace trama::netns
