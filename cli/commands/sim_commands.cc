// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands/program.h"

#ifdef TRAMA_WITH_CLI_SIM
#include "cli/sim/sim.h"
#endif

namespace trama::cli {

#ifndef TRAMA_WITH_CLI_SIM
void add_sim_commands(Program&) {}
#else
void add_sim_commands(Program& p) {
  auto* sim = p.app.add_subcommand("sim", "Things that only pretend: a big cluster on a small machine")
                  ->group("Labs")
                  ->fallthrough();
  sim->require_subcommand(0, 1);
  auto* nodes = sim->add_subcommand("nodes", "Simulate nodes until Ctrl-C: pods bound to them become Ready at once");
  auto o = p.verb<SimNodesOptions>(
      nodes, [globals = &p.globals](const SimNodesOptions& given) { return sim_nodes(*globals, given); });
  nodes->add_option("N", o->nodes.nodes, "How many")->required();
  nodes->add_option("--pods-per-node", o->nodes.pods_per_node, "How many pods a node takes")->capture_default_str();
  nodes->add_option("--cpus", o->nodes.cpus, "Processors of a node")->capture_default_str();
  nodes->add_option("--memory-gib", o->nodes.memory_gib, "Memory of a node, GiB")->capture_default_str();
  nodes->add_option("--prefix", o->nodes.prefix, "Nodes are called PREFIX-0001 and so on")->capture_default_str();
  nodes->add_option("--label", o->labels, "KEY=VALUE label of every node (several times)");
  nodes->add_flag("--taint,!--no-taint", o->nodes.taint,
                  "Keep pods away that do not tolerate trama.dev/simulated (default)");
  nodes->add_flag("--keep", o->keep, "Leave nodes and pods behind at the end, instead of removing them");
  add_duration(nodes, "--lease-period", o->lease_period, "How often each node says that it lives (lab: 1s, else 10s)");
  nodes->add_option("--parallel", o->nodes.parallel, "Requests at a time")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
}
#endif

}  // namespace trama::cli
