// SPDX-License-Identifier: GPL-2.0-or-later
// The verbs that work on objects of the API. Each takes what the command line said and returns the exit code; what
// people asked for goes to stdout, everything else to stderr.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/globals.h"

namespace trama::cli {

struct GetOptions {
  std::vector<std::string> what;  // "pods", "pods,svc", "pod/web-1"
  std::string output = "table";   // table, wide, json, yaml, name
  std::string selector, field_selector;
  bool watch = false;
  bool no_headers = false;
};
int get(const Globals& globals, const GetOptions& options);

struct DescribeOptions {
  std::vector<std::string> what;
  std::string selector;
};
int describe(const Globals& globals, const DescribeOptions& options);

enum class DryRun { none, client, server };
struct ApplyOptions {
  std::vector<std::string> files;
  DryRun dry_run = DryRun::none;
};
int apply(const Globals& globals, const ApplyOptions& options);
int create(const Globals& globals, const ApplyOptions& options);

struct DeleteOptions {
  std::vector<std::string> what, files;
  std::string selector;
  bool all = false;
  bool now = false;  // no grace: SIGKILL at once
  bool wait = true;  // return when the objects are gone
  std::chrono::seconds timeout{60};
};
int remove(const Globals& globals, const DeleteOptions& options);

struct ScaleOptions {
  std::vector<std::string> what;
  int replicas = -1;
};
int scale(const Globals& globals, const ScaleOptions& options);

struct WaitOptions {
  std::vector<std::string> what;
  std::string condition;  // "condition=Ready", "condition=Ready=False", "jsonpath={.status.phase}=Running", "delete",
                          // "create"
  std::string selector;
  bool all = false;
  std::chrono::milliseconds timeout{30'000};
};
int wait(const Globals& globals, const WaitOptions& options);

struct EventsOptions {
  std::string about;  // "pod/web-1"
  bool watch = false;
};
int events(const Globals& globals, const EventsOptions& options);

int status(const Globals& globals, const std::string& output);
int version(const Globals& globals, bool client_only, const std::string& output);

struct ServiceOptions {
  std::string name;             // "web", "svc/web"
  std::string node;             // "" = the first one that is Ready
  std::string output = "text";  // text, json, nft
};
// What a node has programmed for a Service.
int service(const Globals& globals, const ServiceOptions& options);

struct OverlayOptions {
  std::string page = "status";  // status, connections, peers, paths
  std::string node;             // "" = every node
  std::string output = "text";  // text, json: the node's whole report
};
// What nodes know of each other and of the paths between them.
int overlay(const Globals& globals, const OverlayOptions& options);

struct DoctorOptions {
  std::string what;             // "services", or "": everything there is
  std::string output = "text";  // text, json
};
// Exit 1 when something is wrong; every line says what to do.
int doctor(const Globals& globals, const DoctorOptions& options);

struct ExecVerbOptions {
  std::string pod;
  std::string container;
  bool use_stdin = false, terminal = false;
  std::vector<std::string> command;
};
int exec(const Globals& globals, const ExecVerbOptions& options);

struct LogsOptions {
  std::string pod;
  std::string container;
  bool follow = false, timestamps = false, previous = false;
  std::optional<unsigned> tail;
  std::string since;  // "5m", "10s"
};
int logs(const Globals& globals, const LogsOptions& options);

// "90", "90s", "5m", "2h", "1m30s", "250ms"; an error says so.
base::Result<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace trama::cli
