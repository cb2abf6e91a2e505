// SPDX-License-Identifier: GPL-2.0-or-later
// `trama completion bash|zsh|fish`, and the hidden `trama __complete -- WORDS…` behind them.
#include <algorithm>
#include <cstdio>

#include "cli/commands/program.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/kinds.h"
#include "cli/lab/registry.h"
#include "control/api/object.h"

namespace trama::cli {

namespace {

constexpr const char* kBash =
    R"(# bash completion for trama; source it, or put it into /usr/share/bash-completion/completions/trama
_trama() {
  local IFS=$'\n' line cur=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  while read -r line; do
    COMPREPLY+=("${line%%$'\t'*}")
  done < <(trama __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then compopt -o nospace 2>/dev/null; fi
  if [[ ${#COMPREPLY[@]} -eq 0 ]]; then compopt -o default 2>/dev/null; fi
}
complete -F _trama trama
)";

constexpr const char* kZsh = R"(#compdef trama
# zsh completion for trama; put it into a directory of $fpath as _trama
_trama() {
  local -a lines found
  lines=("${(@f)$(trama __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)}")
  local line
  for line in $lines; do
    [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  (( ${#found} )) && _describe 'trama' found || _files
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _trama "$@"; else compdef _trama trama; fi
)";

constexpr const char* kFish = R"(# fish completion for trama; put it into ~/.config/fish/completions/trama.fish
complete -c trama -f -a '(trama __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
complete -c trama -n '__fish_seen_argument -s f -l filename' -F
)";

using Words = std::vector<std::string>;

// Whether `option` takes a value, so that the next word is not a positional one.
const CLI::Option* option_of(const CLI::App* command, const std::string& word) {
  for (const auto* a = command; a; a = a->get_parent())
    for (const auto* o : a->get_options())
      if (o->check_name(word)) return o;
  return nullptr;
}

void add_kinds(Words& out, const std::string& suffix) {
  for (const auto& k : api::kinds())
    if (k.served_as.empty())
      out.push_back(std::string(suffix.empty() ? k.resource : k.singular) + suffix + "\t" + std::string(k.kind));
}

// Names of what exists; silently nothing when nobody answers: completion must never be noisy or slow.
void add_names(const Globals& globals, const Kind& kind, const std::string& prefix, Words& out) {
  auto session = open_session(globals);
  if (!session) return;
  auto items = list_items(*session->api, path_of(kind, globals.all_namespaces ? "" : session->ns));
  if (!items) return;
  for (const auto& i : *items) out.push_back(prefix + api::text_at(i, "metadata.name") + "\t" + std::string(kind.kind));
}

void add_labs(Words& out) {
  for (const auto& r : LabRegistry().list()) out.push_back(r.name + "\tlab");
}

void add_objects(const Globals& globals, const Words& positionals, const std::string& current, Words& out) {
  if (auto slash = current.find('/'); slash != std::string::npos) {
    if (auto kind = find_kind(current.substr(0, slash))) add_names(globals, **kind, current.substr(0, slash + 1), out);
    return;
  }
  if (positionals.empty()) {
    add_kinds(out, "");
    add_kinds(out, "/");
  } else if (positionals[0].find('/') != std::string::npos) {
    add_kinds(out, "/");
  } else if (auto kind = find_kind(positionals[0])) {
    add_names(globals, **kind, "", out);
  }
}

void add_values(const Globals& globals, const CLI::App& command, const CLI::Option& option, Words& out) {
  auto name = option.get_name();
  if (name == "--namespace" || option.check_name("-n")) {
    auto all = globals;
    all.ns.clear();
    add_names(all, *api::kind_of_resource("namespaces"), "", out);
  } else if (option.check_name("--lab")) {
    add_labs(out);
  } else if (option.check_name("--output")) {
    bool objects = command.get_name() == "get";
    for (auto o : objects ? Words{"wide", "json", "yaml", "name"} : Words{"json", "yaml"})
      out.push_back(o + "\toutput");
  } else if (option.check_name("--for") && command.get_name() == "wait") {
    out = {"condition=Ready\tcondition",
           "condition=Available\tcondition",
           "condition=Complete\tcondition",
           "condition=Failed\tcondition",
           "delete\tgone",
           "create\tthere"};
  }
}

}  // namespace

std::vector<std::string> complete(Program& program, const std::vector<std::string>& words) {
  Words out;
  if (words.empty()) return out;
  auto current = words.back();
  CLI::App* command = &program.app;
  Words positionals;
  auto& globals = program.globals;
  const CLI::Option* pending = nullptr;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const auto& w = words[i];
    if (w == "--") return out;  // somebody else's command line begins here
    if (pending) {
      if (pending->check_name("-n")) globals.ns = w;
      if (pending->check_name("--lab")) globals.lab = w;
      if (pending->check_name("--kubeconfig")) globals.kubeconfig = w;
      pending = nullptr;
    } else if (w.starts_with("-")) {
      const auto* o = option_of(command, w);
      if (o && o->get_expected_max() > 0 && o->get_type_size() > 0) pending = o;
      if (w == "-A" || w == "--all-namespaces") globals.all_namespaces = true;
    } else if (auto* sub = positionals.empty() ? subcommand(*command, w) : nullptr) {
      command = sub;
    } else {
      positionals.push_back(w);
    }
  }
  if (pending) {
    add_values(globals, *command, *pending, out);
  } else if (current.starts_with("-")) {
    for (const auto* a = command; a; a = a->get_parent())
      for (const auto* o : a->get_options())
        for (const auto& l : o->get_lnames()) out.push_back("--" + l + "\t" + o->get_description());
  } else if (!command->get_subcommands([](const CLI::App*) { return true; }).empty()) {
    for (const auto* s : command->get_subcommands([](const CLI::App* s) { return !s->get_group().empty(); }))
      out.push_back(s->get_name() + "\t" + s->get_description());
  } else {
    auto name = command->get_name();
    bool in_lab = command->get_parent() && command->get_parent()->get_name() == "lab";
    if (name == "exec" || name == "logs") {
      if (positionals.empty()) add_names(globals, *api::kind_of_resource("pods"), "", out);
    } else if (name == "service") {
      if (positionals.empty()) add_names(globals, *api::kind_of_resource("services"), "", out);
    } else if (name == "doctor") {
      out = {"services\twhat stands between a client and its Service"};
    } else if (name == "overlay") {
      out = {"status\tsummary", "connections\tone line each", "peers\tnodes", "paths\tstate, loss, round trip"};
    } else if (in_lab && name == "down") {
      add_labs(out);
    } else if (name == "completion") {
      out = {"bash\tshell", "zsh\tshell", "fish\tshell"};
    } else if (name == "get" || name == "describe" || name == "delete" || name == "wait" || name == "scale") {
      add_objects(globals, positionals, current, out);
    }
  }
  std::erase_if(out, [&](const std::string& line) { return !line.starts_with(current); });
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void add_completion_commands(Program& p) {
  struct Shell {
    std::string name;
  };
  auto* completion =
      p.app.add_subcommand("completion", "Completion for a shell: source <(trama completion bash)")->group("Other");
  auto shell = p.verb<Shell>(completion, [](const Shell& s) {
    std::fputs(s.name == "bash" ? kBash : s.name == "zsh" ? kZsh : kFish, stdout);
    return code(Exit::ok);
  });
  completion->add_option("shell", shell->name, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember(std::vector<std::string>{"bash", "zsh", "fish"}));
  auto* hidden = p.app.add_subcommand("__complete", "")->group("");
  p.verb<Shell>(hidden, [&p](const Shell&) {
    for (const auto& line : complete(p, p.behind_dashes)) fmt::print("{}\n", line);
    return code(Exit::ok);
  });
}

}  // namespace trama::cli
