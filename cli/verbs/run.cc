// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include <unistd.h>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/terminal.h"
#include "cli/verbs/verbs.h"

namespace trama::cli {

namespace {

// "web-1", "pod/web-1"
base::Result<std::string> pod_name(const std::string& text) {
  auto slash = text.find('/');
  if (slash == std::string::npos) return text;
  auto kind = find_kind(text.substr(0, slash));
  if (!kind) return std::move(kind).error();
  if ((*kind)->resource != "pods")
    return base::Error::text(fmt::format("\"{}\": expected a pod, not a {}", text, (*kind)->singular));
  return text.substr(slash + 1);
}

std::string pod_path(const std::string& ns, const std::string& pod, std::string_view subresource) {
  return fmt::format("/api/v1/namespaces/{}/pods/{}/{}", ns, pod, subresource);
}

}  // namespace

int exec(const Globals& globals, const ExecVerbOptions& options) {
  if (options.command.empty())
    return fail(Exit::usage, "exec: which command?", fmt::format("trama exec {} -- COMMAND [ARGUMENT…]", options.pod));
  auto pod = pod_name(options.pod);
  if (!pod) return fail(pod.error());
  if (options.terminal && !is_terminal(STDIN_FILENO))
    return fail(Exit::usage, "exec -t needs a terminal as standard input",
                "leave -t away, or use: script -qc 'trama exec …'");
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  std::vector<std::string> query;
  for (const auto& word : options.command) query.push_back("command=" + encode(word));
  if (!options.container.empty()) query.push_back("container=" + encode(options.container));
  query.push_back(fmt::format("stdin={}", options.use_stdin));
  query.emplace_back("stdout=true");
  query.push_back(fmt::format("stderr={}", !options.terminal));  // a terminal has one output
  query.push_back(fmt::format("tty={}", options.terminal));
  ExecOptions e;
  e.path = pod_path(session->ns, *pod, "exec") + joined_query(query);
  e.use_stdin = options.use_stdin;
  e.terminal = options.terminal;
  auto exit_code = session->api->exec(std::move(e));
  if (!exit_code)
    return fail(exit_code.error(), exit_of(exit_code.error()) == Exit::not_found
                                       ? "trama get pods"
                                       : fmt::format("trama describe pod/{}", *pod));
  return *exit_code;
}

int logs(const Globals& globals, const LogsOptions& options) {
  auto pod = pod_name(options.pod);
  if (!pod) return fail(pod.error());
  std::vector<std::string> query;
  if (!options.container.empty()) query.push_back("container=" + encode(options.container));
  if (options.follow) query.emplace_back("follow=true");
  if (options.timestamps) query.emplace_back("timestamps=true");
  if (options.previous) query.emplace_back("previous=true");
  if (options.tail) query.push_back(fmt::format("tailLines={}", *options.tail));
  if (!options.since.empty()) {
    auto since = parse_duration(options.since);
    if (!since) return fail(since.error());
    query.push_back(fmt::format("sinceSeconds={}", std::max<std::int64_t>(1, since->count() / 1000)));
  }
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto stream = session->api->lines(pod_path(session->ns, *pod, "log") + joined_query(query));
  if (!stream) return fail(stream.error());
  for (;;) {
    auto bytes = (*stream)->some(std::chrono::hours(24 * 365));
    if (!bytes) return fail(bytes.error());
    if (bytes->empty()) return code(Exit::ok);
    std::fwrite(bytes->data(), 1, bytes->size(), stdout);
    std::fflush(stdout);
  }
}

}  // namespace trama::cli
