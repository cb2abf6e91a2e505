// SPDX-License-Identifier: GPL-2.0-or-later
// The process that makes a lab's links do what they shall (`trama link serve`, started when the first rule is set, gone
// with the last one), and how other commands speak to it: one line of JSON there and one back, over a Unix socket in
// the lab's directory.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/lab/registry.h"
#include "cli/links/backend.h"

namespace trama::cli {

struct LinkServiceOptions {
  std::string lab;
  std::string backend = "auto";  // auto: netem where the kernel has it, else relay
  int ready_fd = -1;
};
// Lives in the namespace of the lab's switch. Returns the exit code.
int serve_links(const LinkServiceOptions& options);

// Where links are, from what the registry knows.
LinkPlace link_place(const LabRecord& record, const std::string& netns_dir);
std::string links_socket(const LabRegistry& registry, const std::string& lab);
std::string links_file(const LabRegistry& registry, const std::string& lab);
// CLOCK_BOOTTIME.
Nanoseconds link_clock();

// One request, one answer. ECONNREFUSED when no service is there; what the service refuses is an error with its words.
base::Result<json::object> ask_links(const LabRegistry& registry, const std::string& lab, const json::object& request);
// The change, by the service; started if need be, with the record told of it. The caller holds the lab's lock.
base::Result<> change_links(const LabRegistry& registry, LabRecord& record, const LinkChange& change);
// Brings back a service that was lost, if anything is to be kept up. False: there was nothing to do.
base::Result<bool> restore_links(const LabRegistry& registry, LabRecord& record);

// What is known of the lab's links without their service: rules that are written down, and whether it lives.
struct LinksSeen {
  LinkState state;
  bool served = false;
  // Rules without a service: in a word, what a person must know. "" when all is well.
  std::string warning(const std::string& lab) const;
};
LinksSeen look_at_links(const LabRegistry& registry, const std::string& lab);

}  // namespace trama::cli
