// SPDX-License-Identifier: GPL-2.0-or-later
// Objects in files: what `apply -f`, `create -f`, `delete -f` and `lab up` read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/kinds.h"
#include "cli/yaml/load.h"

namespace trama::cli {

struct Manifest {
  const Kind* kind = nullptr;
  std::string ns;  // what the object says; "" = whatever namespace is in force
  std::string name;
  json::object object;
  std::shared_ptr<const YamlDocument> source;
  std::string prefix;  // the object's path in its document: "" or "items[3]"
  // The server's or our own complaint about a field, with file and line.
  base::Error mistake(std::string_view field, std::string_view sentence) const;
};

// Every file of the list; "-" is standard input, a directory stands for its *.yaml, *.yml and *.json in order.
base::Result<std::vector<YamlDocument>> read_documents(const std::vector<std::string>& files);
// One document as manifests; a List gives several. Wrong headers are errors with file, line and field.
base::Result<std::vector<Manifest>> to_manifests(std::shared_ptr<const YamlDocument> document);
base::Result<std::vector<Manifest>> read_manifests(const std::vector<std::string>& files);

}  // namespace trama::cli
