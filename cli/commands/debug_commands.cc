// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands/program.h"

namespace trama::cli {

void add_debug_commands(Program& p) {
  constexpr const char* kDebug = "Debugging";
  auto& globals = p.globals;
  auto* service_command =
      p.app.add_subcommand("service", "What a node has programmed for a Service, and how to see it by hand")
          ->group(kDebug)
          ->fallthrough();
  auto service_options =
      p.verb<ServiceOptions>(service_command, [&globals](const ServiceOptions& o) { return service(globals, o); });
  service_command->add_option("name", service_options->name, "NAME or svc/NAME")->required();
  service_command->add_option("--node", service_options->node, "On this node (default: the first that is Ready)");
  service_command->add_option("-o,--output", service_options->output, "text, json, nft: its elements")
      ->check(CLI::IsMember(std::vector<std::string>{"text", "json", "nft"}));

  auto* overlay_command =
      p.app.add_subcommand("overlay", "What nodes know of each other and of the paths between them")
          ->group(kDebug)
          ->fallthrough();
  auto overlay_options =
      p.verb<OverlayOptions>(overlay_command, [&globals](const OverlayOptions& o) { return overlay(globals, o); });
  overlay_command->add_option("what", overlay_options->page, "status (default), connections, peers, paths")
      ->check(CLI::IsMember(std::vector<std::string>{"status", "connections", "peers", "paths"}));
  overlay_command->add_option("--node", overlay_options->node, "As this node sees it (default: every node)");
  overlay_command->add_option("-o,--output", overlay_options->output, "text, json: the whole report")
      ->check(CLI::IsMember(std::vector<std::string>{"text", "json"}));

  auto* doctor_command =
      p.app.add_subcommand("doctor", "Checks every node and says what to do; exit 1 when something is wrong")
          ->group(kDebug)
          ->fallthrough();
  auto doctor_options =
      p.verb<DoctorOptions>(doctor_command, [&globals](const DoctorOptions& o) { return doctor(globals, o); });
  doctor_command->add_option("what", doctor_options->what, "services (default: everything)")
      ->check(CLI::IsMember(std::vector<std::string>{"services"}));
  doctor_command->add_option("-o,--output", doctor_options->output, "text, json")
      ->check(CLI::IsMember(std::vector<std::string>{"text", "json"}));
}

}  // namespace trama::cli
