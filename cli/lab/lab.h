// SPDX-License-Identifier: GPL-2.0-or-later
// The lab verbs. They need root: a lab is made of network namespaces and control groups.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/lab/registry.h"

namespace trama::cli {

struct LabUpOptions {
  std::string file;             // "" = the built-in hello, "-" = standard input
  std::string output = "text";  // text, json
  bool timings = false;
  bool dry_run = false;  // print what would be made
  bool wait = true;      // until every pod is ready and every Service programmed
  std::chrono::milliseconds timeout{60'000};
  std::string log_level = "info";  // of the daemons
};
int lab_up(const LabUpOptions& options);

struct LabDownOptions {
  std::string name;  // "" = the only lab
  bool all = false;
};
int lab_down(const LabDownOptions& options);

int lab_list(const std::string& output);
int lab_prune(bool dry_run);

// Ends everything that carries the lab's marks: processes, control groups, namespaces, files. Idempotent; works on what
// a crash has left. Nothing without the marks is touched.
base::Result<> tear_down(const LabRegistry& registry, const LabRecord& record);

// "trama lab up" is for root; says so.
base::Result<> require_root(std::string_view verb);

}  // namespace trama::cli
