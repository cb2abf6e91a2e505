// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands/program.h"

#include <cstdio>

#include "cli/exit.h"

namespace trama::cli {

Program::Program() {
  app.name("trama");
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.set_help_all_flag("--help-all", "Every command with every option");
  app.footer(
      "Exit codes: 0 ok, 1 negative answer, 2 usage or invalid file, 3 not found, 4 conflict, 5 unreachable,\n"
      "6 timeout, 7 permission, 8 kernel feature missing, 70 internal, 78 bad configuration, 130 interrupted.");
  app.add_option("--server", globals.server, "Address of the API server, instead of the kubeconfig's")
      ->group("Which cluster");
  app.add_option("--kubeconfig", globals.kubeconfig, "Kubeconfig file to use")->group("Which cluster");
  app.add_option("--lab", globals.lab, "Running lab to talk to (or TRAMA_LAB)")->group("Which cluster");
  app.add_option("-n,--namespace", globals.ns, "Namespace")->group("Which cluster");
  app.add_flag("-A,--all-namespaces", globals.all_namespaces, "All namespaces")->group("Which cluster");
  add_lab_commands(*this);
  add_link_commands(*this);
  add_sim_commands(*this);
  add_object_commands(*this);
  add_debug_commands(*this);
  add_daemon_commands(*this);
  add_echo_commands(*this);
  add_completion_commands(*this);
}

CLI::App* subcommand(CLI::App& command, const std::string& name) {
  auto found = command.get_subcommands([&](CLI::App* s) { return s->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

namespace {

// Its usage line has the whole command: "Usage: trama sim nodes …".
std::string help_of(const CLI::App& command) {
  std::string above;
  for (const auto* at = command.get_parent(); at; at = at->get_parent())
    above = at->get_name() + (above.empty() ? "" : " ") + above;
  return command.help(above);
}

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const auto* sub : app.get_subcommands([](const CLI::App* s) { return !s->get_group().empty(); }))
    names.push_back(sub->get_name());
  return names;
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const auto* a = &app; a; a = a->get_parent())
    for (const auto* o : a->get_options())
      for (const auto& l : o->get_lnames()) flags.push_back("--" + l);
  return flags;
}

// The deepest command that the words name.
CLI::App* command_of(CLI::App& app, const std::vector<std::string>& words, std::size_t& used) {
  auto* at = &app;
  used = 0;
  for (const auto& w : words) {
    auto* next = subcommand(*at, w);
    if (!next) break;
    at = next;
    ++used;
  }
  return at;
}

// CLI11 says "The following arguments were not expected: gte"; people want to know what was meant.
int usage_error(Program& program, const CLI::ParseError& e, const std::vector<std::string>& words) {
  std::size_t used = 0;
  auto* command = command_of(program.app, words, used);
  auto shown = command == &program.app ? std::string("trama") : "trama " + [&] {
    std::string text;
    for (std::size_t i = 0; i < used; ++i) text += (i ? " " : "") + words[i];
    return text;
  }();
  std::string sentence = e.what();
  std::string next = shown + " --help";
  if (auto cut = sentence.find("\nRun with"); cut != std::string::npos) sentence.resize(cut);
  if (used < words.size() && dynamic_cast<const CLI::ExtrasError*>(&e) &&
      command->get_subcommands([](const CLI::App*) { return true; }).size() > 0) {
    const auto& word = words[used];
    if (!word.starts_with("-")) {
      auto near = did_you_mean(word, names_of(*command));
      sentence = fmt::format("\"{}\" is not a command of {}{}", word, shown,
                             near.empty() ? "" : fmt::format("; did you mean \"{} {}\"?", shown, near));
    }
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&e))
    for (const auto& word : words)
      if (word.starts_with("--")) {
        auto name = word.substr(0, word.find('='));
        auto flags = flags_of(*command);
        if (std::find(flags.begin(), flags.end(), name) != flags.end()) continue;
        auto near = did_you_mean(name, flags);
        sentence = fmt::format("{} has no option {}{}", shown, name,
                               near.empty() ? "" : fmt::format("; did you mean {}?", near));
        break;
      }
  return fail(Exit::usage, sentence, next);
}

}  // namespace

int run_program(int argc, char** argv) {
  Program program;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--") {
      for (int j = i + 1; j < argc; ++j) program.behind_dashes.emplace_back(argv[j]);
      break;
    }
    words.emplace_back(argv[i]);
  }
  try {
    auto reversed = words;
    std::reverse(reversed.begin(), reversed.end());
    program.app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    std::size_t used = 0;
    std::fputs(help_of(*command_of(program.app, words, used)).c_str(), stdout);
    return code(Exit::ok);
  } catch (const CLI::CallForAllHelp&) {
    std::fputs(program.app.help("", CLI::AppFormatMode::All).c_str(), stdout);
    return code(Exit::ok);
  } catch (const CLI::ParseError& e) {
    return usage_error(program, e, words);
  }
  if (program.chosen) return program.chosen();
  // No verb, or a group of verbs without one of them: say what there is.
  std::size_t used = 0;
  std::fputs(help_of(*command_of(program.app, words, used)).c_str(), words.empty() ? stdout : stderr);
  return words.empty() ? code(Exit::ok) : code(Exit::usage);
}

}  // namespace trama::cli
