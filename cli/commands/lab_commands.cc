// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands/program.h"
#include "cli/lab/lab.h"

namespace trama::cli {

#ifndef TRAMA_WITH_CLI_LAB
void add_lab_commands(Program&) {}
#else
void add_lab_commands(Program& p) {
  auto* lab = p.app.add_subcommand("lab", "A whole cluster on this machine, nodes as network namespaces")
                  ->group("Labs")
                  ->fallthrough();
  lab->require_subcommand(0, 1);

  auto* up = lab->add_subcommand("up", "Bring a lab up, or make a running one what its file says");
  auto up_options = p.verb<LabUpOptions>(up, [](const LabUpOptions& o) { return lab_up(o); });
  up->add_option("file", up_options->file,
                 "Lab document and manifests; - is standard input (default: the built-in lab hello)");
  up->add_option("-o,--output", up_options->output, "text or json (stages and their times)")
      ->check(CLI::IsMember(std::vector<std::string>{"text", "json"}));
  up->add_flag("--timings", up_options->timings, "Show how long each stage took");
  up->add_flag("--dry-run", up_options->dry_run, "Print what would be made, make nothing (needs no root)");
  up->add_flag("--wait,!--no-wait", up_options->wait,
               "Return when every pod is ready and every Service programmed (default)");
  up->add_option("--log-level", up_options->log_level, "Of the lab's controller and agents")->capture_default_str();
  add_duration(up, "--timeout", up_options->timeout, "How long it may take (60s)");

  auto* down = lab->add_subcommand("down", "Take a lab down: nothing of it is left");
  auto down_options = p.verb<LabDownOptions>(down, [](const LabDownOptions& o) { return lab_down(o); });
  down->add_option("name", down_options->name, "Which lab (default: the only one)");
  down->add_flag("--all", down_options->all, "All labs of this machine");

  struct ListOptions {
    std::string output = "table";
    bool dry_run = false;
  };
  auto* list = lab->add_subcommand("ls", "List the labs of this machine");
  auto list_options = p.verb<ListOptions>(list, [](const ListOptions& o) { return lab_list(o.output); });
  list->add_option("-o,--output", list_options->output, "table, json, yaml")
      ->check(CLI::IsMember(std::vector<std::string>{"table", "json", "yaml"}));

  auto* prune = lab->add_subcommand("prune", "Remove what labs left behind whose controller is dead");
  auto prune_options = p.verb<ListOptions>(prune, [](const ListOptions& o) { return lab_prune(o.dry_run); });
  prune->add_flag("--dry-run", prune_options->dry_run, "Only say what would be removed");
}
#endif

}  // namespace trama::cli
