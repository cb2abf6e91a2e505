// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands/program.h"
#include "cli/token.h"
#include "cli/verbs/auth.h"
#include "cli/verbs/verbs.h"

namespace trama::cli {

namespace {

constexpr const char* kGroup = "Objects";
constexpr const char* kRun = "Pods";

const CLI::IsMember kObjectOutput(std::vector<std::string>{"table", "wide", "json", "yaml", "name"});
const CLI::IsMember kReportOutput(std::vector<std::string>{"text", "json", "yaml"});

CLI::App* command(Program& p, const std::string& name, const std::string& what, const char* group) {
  return p.app.add_subcommand(name, what)->group(group)->fallthrough();
}

void add_dry_run(CLI::App* c, DryRun& into) {
  c->add_option_function<std::string>(
       "--dry-run",
       [&into](const std::string& text) {
         if (text != "client" && text != "server" && !text.empty())
           throw CLI::ValidationError("--dry-run", "expected client or server");
         into = text == "client" ? DryRun::client : DryRun::server;
       },
       "Store nothing: \"server\" (default) has the server check everything, \"client\" only reads the files")
      ->expected(0, 1)
      ->default_str("server");
}

void add_reading(Program& p) {
  auto& globals = p.globals;
  auto* get_command = command(p, "get", "List objects: pods, svc, nodes, pod/web-1, all …", kGroup);
  auto get_options = p.verb<GetOptions>(get_command, [&globals](const GetOptions& o) { return get(globals, o); });
  get_command->add_option("what", get_options->what, "KIND[,KIND…] [NAME…] or KIND/NAME…")->required();
  get_command->add_option("-o,--output", get_options->output, "table, wide, json, yaml, name")->check(kObjectOutput);
  get_command->add_option("-l,--selector", get_options->selector, "Label selector: app=web,tier!=db");
  get_command->add_option("--field-selector", get_options->field_selector, "Field selector: spec.nodeName=n1");
  get_command->add_flag("-w,--watch", get_options->watch, "Then print every change as it happens");
  get_command->add_flag("--no-headers", get_options->no_headers, "Rows only");

  auto* describe_command = command(p, "describe", "Everything about objects, with their events", kGroup);
  auto describe_options =
      p.verb<DescribeOptions>(describe_command, [&globals](const DescribeOptions& o) { return describe(globals, o); });
  describe_command->add_option("what", describe_options->what, "KIND/NAME…, KIND NAME… or KIND")->required();
  describe_command->add_option("-l,--selector", describe_options->selector, "Label selector");

  auto* events_command = command(p, "events", "What happened, oldest first", kGroup);
  auto events_options =
      p.verb<EventsOptions>(events_command, [&globals](const EventsOptions& o) { return events(globals, o); });
  events_command->add_option("--for", events_options->about, "Only about KIND/NAME");
  events_command->add_flag("-w,--watch", events_options->watch, "Then print every new one");

  auto* wait_command = command(p, "wait", "Wait until something holds", kGroup);
  auto wait_options = p.verb<WaitOptions>(wait_command, [&globals](const WaitOptions& o) { return wait(globals, o); });
  wait_command->add_option("what", wait_options->what, "KIND/NAME…, KIND NAME…, or KIND with -l or --all")->required();
  wait_command
      ->add_option("--for", wait_options->condition,
                   "condition=Ready[=False], jsonpath={.status.phase}=Running, delete, create")
      ->required();
  wait_command->add_option("-l,--selector", wait_options->selector, "Label selector");
  wait_command->add_flag("--all", wait_options->all, "All objects of the kind");
  add_duration(wait_command, "--timeout", wait_options->timeout, "How long to wait (30s)");

  struct StatusOptions {
    std::string output = "text";
    bool client = false;
  };
  auto* status_command =
      command(p, "status", "Controller, nodes and agents at a glance; exit 1 when something is wrong", kGroup);
  auto status_options =
      p.verb<StatusOptions>(status_command, [&globals](const StatusOptions& o) { return status(globals, o.output); });
  status_command->add_option("-o,--output", status_options->output, "text, json, yaml")->check(kReportOutput);

  auto* version_command = command(p, "version", "Versions of this program and of the server", "Other");
  auto version_options = p.verb<StatusOptions>(
      version_command, [&globals](const StatusOptions& o) { return version(globals, o.client, o.output); });
  version_command->add_flag("--client", version_options->client, "Only this program's");
  version_command->add_option("-o,--output", version_options->output, "text, json, yaml")->check(kReportOutput);
}

void add_writing(Program& p) {
  auto& globals = p.globals;
  auto* apply_command = command(p, "apply", "Make the cluster what files say", kGroup);
  auto apply_options =
      p.verb<ApplyOptions>(apply_command, [&globals](const ApplyOptions& o) { return apply(globals, o); });
  apply_command->add_option("-f,--filename", apply_options->files, "File, directory, or - for standard input")
      ->required();
  add_dry_run(apply_command, apply_options->dry_run);

  auto* create_command = command(p, "create", "Create the objects in files; existing ones are a conflict", kGroup);
  auto create_options =
      p.verb<ApplyOptions>(create_command, [&globals](const ApplyOptions& o) { return create(globals, o); });
  create_command->add_option("-f,--filename", create_options->files, "File, directory, or - for standard input")
      ->required();
  add_dry_run(create_command, create_options->dry_run);

  auto* delete_command = command(p, "delete", "Delete objects and wait until they are gone", kGroup);
  auto delete_options =
      p.verb<DeleteOptions>(delete_command, [&globals](const DeleteOptions& o) { return remove(globals, o); });
  delete_command->add_option("what", delete_options->what, "KIND/NAME…, KIND NAME…, or KIND with -l or --all");
  delete_command->add_option("-f,--filename", delete_options->files, "What these files describe");
  delete_command->add_option("-l,--selector", delete_options->selector, "Label selector");
  delete_command->add_flag("--all", delete_options->all, "All objects of the kind in the namespace");
  delete_command->add_flag("--now", delete_options->now, "No grace: processes are killed at once");
  delete_command->add_flag("--wait,!--no-wait", delete_options->wait, "Return when they are gone (default)");
  add_duration(delete_command, "--timeout", delete_options->timeout, "How long to wait (60s)");

  auto* scale_command = command(p, "scale", "Change the number of replicas", kGroup);
  auto scale_options =
      p.verb<ScaleOptions>(scale_command, [&globals](const ScaleOptions& o) { return scale(globals, o); });
  scale_command->add_option("what", scale_options->what, "deployment/web")->required();
  scale_command->add_option("--replicas", scale_options->replicas, "How many")
      ->required()
      ->check(CLI::Range(0, 100000));
}

void add_running(Program& p) {
  auto& globals = p.globals;
  auto* exec_command = command(p, "exec", "Run a command in a pod: trama exec [-it] POD -- COMMAND…", kRun);
  auto exec_options = p.verb<ExecVerbOptions>(exec_command, [&globals, &p](const ExecVerbOptions& given) {
    auto o = given;
    o.command = p.behind_dashes;
    return exec(globals, o);
  });
  exec_command->add_option("pod", exec_options->pod, "POD or pod/POD")->required();
  exec_command->add_option("-c,--container", exec_options->container, "Container (default: the first)");
  exec_command->add_flag("-i,--stdin", exec_options->use_stdin, "Pass standard input on");
  exec_command->add_flag("-t,--tty", exec_options->terminal, "With a terminal of its own");

  auto* logs_command = command(p, "logs", "What a pod has printed", kRun);
  auto logs_options = p.verb<LogsOptions>(logs_command, [&globals](const LogsOptions& o) { return logs(globals, o); });
  logs_command->add_option("pod", logs_options->pod, "POD or pod/POD")->required();
  logs_command->add_option("-c,--container", logs_options->container, "Container (default: the first)");
  logs_command->add_flag("-f,--follow", logs_options->follow, "Go on as it prints");
  logs_command->add_flag("--timestamps", logs_options->timestamps, "With the time of each line");
  logs_command->add_flag("-p,--previous", logs_options->previous, "Of the run before the last restart");
  logs_command->add_option("--tail", logs_options->tail, "Only the last N lines");
  logs_command->add_option("--since", logs_options->since, "Only the last 10s, 5m, …");
}

void add_tokens(Program& p) {
  auto& globals = p.globals;
  auto* tokens = command(p, "token", "Tokens by which nodes join", "Daemons");
  auto* create_command = tokens->add_subcommand("create", "Make a token and print its join string")->fallthrough();
  auto create_options =
      p.verb<TokenOptions>(create_command, [&globals](const TokenOptions& o) { return token_create(globals, o); });
  add_duration(create_command, "--ttl", create_options->lifetime, "How long it is good for (24h)");
  create_command->add_option("--uses", create_options->uses, "How many nodes may join with it")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  create_command->add_option("--node", create_options->node, "Only the node of this name may join with it");
  create_command->add_option("--description", create_options->description, "What it is for");
  create_command->add_option("-o,--output", create_options->output, "string, or command: a whole `trama agent` line")
      ->check(CLI::IsMember(std::vector<std::string>{"string", "command"}));
  auto* list_command = tokens->add_subcommand("list", "List the tokens, without their secrets")->fallthrough();
  p.verb<Globals>(list_command, [&globals](const Globals&) { return token_list(globals); });
  auto* delete_command = tokens->add_subcommand("delete", "Delete tokens by id")->fallthrough();
  struct Ids {
    std::vector<std::string> ids;
  };
  auto delete_options = p.verb<Ids>(delete_command, [&globals](const Ids& o) { return token_delete(globals, o.ids); });
  delete_command->add_option("id", delete_options->ids, "Ids or whole join strings")->required();
}

void add_roles(Program& p) {
  auto& globals = p.globals;
  auto* auth = command(p, "auth", "Roles: who may do what", "Daemons");
  auto* matrix = auth->add_subcommand("matrix", "Print what each role may do with each resource")->fallthrough();
  p.verb<Globals>(matrix, [](const Globals&) { return auth_matrix(); });
  auto* config = command(p, "kubeconfig", "Print a kubeconfig for a role, with a fresh certificate", "Daemons");
  auto options =
      p.verb<KubeconfigOptions>(config, [&globals](const KubeconfigOptions& o) { return make_kubeconfig(globals, o); });
  config->add_option("--role", options->role, "admin, edit, view, proxy or metrics (see `trama auth matrix`)")
      ->capture_default_str();
  config->add_option("--user", options->user, "Name that the certificate speaks for (default: trama:ROLE)");
  add_duration(config, "--ttl", options->lifetime, "How long the certificate is good for (24h)");
  config->add_option("-o,--output", options->file, "Write it to this file (0600) instead of standard output");
}

}  // namespace

void add_object_commands(Program& p) {
  add_reading(p);
  add_writing(p);
  add_running(p);
  add_tokens(p);
  add_roles(p);
}

}  // namespace trama::cli
