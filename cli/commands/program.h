// SPDX-License-Identifier: GPL-2.0-or-later
// The command line as a whole: which words and options there are, and what they run. Only the files in this folder
// know the option parser; the verbs know plain structs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/globals.h"
#include "cli/verbs/verbs.h"

namespace trama::cli {

struct Program {
  CLI::App app{"trama: a pod network you can see through", "trama"};
  Globals globals;
  std::vector<std::string> behind_dashes;  // what followed "--": never looked at as options
  std::function<int()> chosen;             // set by the verb that was named

  Program();
  // A verb with its options in a struct of its own that lives as long as the program.
  template <class Options>
  std::shared_ptr<Options> verb(CLI::App* command, std::function<int(const Options&)> run) {
    auto options = std::make_shared<Options>();
    command->callback([this, options, run] { chosen = [options, run] { return run(*options); }; });
    return options;
  }
};

// An option like "30s": a mistake in it is a usage error. `into` must live as long as the program.
template <class Duration>
void add_duration(CLI::App* command, const std::string& name, Duration& into, const std::string& what) {
  command->add_option_function<std::string>(
      name,
      [&into, name](const std::string& text) {
        auto d = parse_duration(text);
        if (!d) throw CLI::ValidationError(name, d.error().to_string());
        into = std::chrono::duration_cast<Duration>(*d);
      },
      what);
}

// The sub-command of that name; null when there is none.
CLI::App* subcommand(CLI::App& command, const std::string& name);

// Each adds its group of commands.
void add_object_commands(Program& program);
void add_debug_commands(Program& program);
void add_daemon_commands(Program& program);
void add_echo_commands(Program& program);
void add_lab_commands(Program& program);
void add_link_commands(Program& program);
void add_sim_commands(Program& program);
void add_completion_commands(Program& program);

// Parses and runs; the exit code.
int run_program(int argc, char** argv);

// What may stand at the cursor: one "word" or "word<TAB>explanation" per line. `words` are those before the cursor
// without the program's name, the last one being the word under it.
std::vector<std::string> complete(Program& program, const std::vector<std::string>& words);

}  // namespace trama::cli
