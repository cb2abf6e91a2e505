// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/api/routes.h"

#include <charconv>

#include <boost/json.hpp>

namespace trama::agent {
namespace {

namespace json = boost::json;

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> out;
  while (path.starts_with('/')) path.remove_prefix(1);
  while (!path.empty()) {
    auto end = std::min(path.find('/'), path.size());
    out.push_back(percent_decode(path.substr(0, end)));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return out;
}

// Names become file names: what no pod or container can be called is not looked for.
bool plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 253 && name.front() != '.' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos;
}

base::Error wrong(const std::string& sentence) { return base::Error::text(sentence, std::errc::invalid_argument); }
base::Error no_such_page(const std::string& path) {
  return base::Error::text(fmt::format("no such page: {}", path.substr(0, 200)), std::errc::no_such_file_or_directory);
}

base::Result<std::optional<std::uint64_t>> number(const HttpRequest& request, const std::string& name) {
  auto text = request.parameter(name);
  if (text.empty()) return std::optional<std::uint64_t>();
  std::uint64_t value = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size())
    return wrong(fmt::format("{}: \"{}\" is not a number of at least 0", name, text));
  return std::optional<std::uint64_t>(value);
}

base::Result<Ask> parse_logs(const HttpRequest& request, PodContainer where) {
  AskLogs ask;
  ask.where = std::move(where);
  auto tail = number(request, "tailLines");
  if (!tail) return tail.error();
  auto since = number(request, "sinceSeconds");
  if (!since) return since.error();
  auto limit = number(request, "limitBytes");
  if (!limit) return limit.error();
  ask.tail_lines = *tail;
  ask.since_seconds = *since;
  ask.limit_bytes = *limit;
  ask.since_time = request.parameter("sinceTime");
  ask.follow = request.flag("follow");
  ask.timestamps = request.flag("timestamps");
  ask.previous = request.flag("previous");
  return Ask(std::move(ask));
}

base::Result<Ask> parse_exec(const HttpRequest& request, PodContainer where) {
  AskExec ask;
  ask.where = std::move(where);
  if (auto it = request.query.find("command"); it != request.query.end()) ask.command = it->second;
  if (ask.command.empty()) return wrong("exec: no command given");
  ask.stdin_open = request.flag("input") || request.flag("stdin");
  ask.terminal = request.flag("tty");
  return Ask(std::move(ask));
}

base::Result<Ask> parse_service(const HttpRequest& request, bool as_nft) {
  AskService ask;
  ask.as_nft = as_nft;
  ask.key.ns = request.parameter("namespace");
  ask.key.name = request.parameter("name");
  if (as_nft) {
    auto both = request.parameter("svc");
    auto slash = both.find('/');
    if (slash == std::string::npos) return wrong("svc: expected NAMESPACE/NAME of a Service");
    ask.key.ns = both.substr(0, slash);
    ask.key.name = both.substr(slash + 1);
  }
  for (const auto* name : {&ask.key.ns, &ask.key.name})
    if (!plain_name(*name)) return wrong(fmt::format("\"{}\" is not a name", name->substr(0, 64)));
  return Ask(std::move(ask));
}

}  // namespace

base::Result<Ask> parse_route(const HttpRequest& request) {
  auto parts = split(request.path);
  bool get = request.method == "GET" || request.method == "HEAD";
  if (parts.empty()) return no_such_page(request.path);
  bool is_exec = parts[0] == "exec";
  if (!get && !(is_exec && request.method == "POST"))
    return wrong(fmt::format("method {} is not allowed", request.method));
  if (parts.size() == 4 && (is_exec || parts[0] == "containerLogs")) {
    for (std::size_t i = 1; i < 4; ++i)
      if (!plain_name(parts[i])) return wrong(fmt::format("\"{}\" is not a name", parts[i].substr(0, 64)));
    PodContainer where{parts[1], parts[2], parts[3]};
    return is_exec ? parse_exec(request, std::move(where)) : parse_logs(request, std::move(where));
  }
  if (parts.size() == 1 && parts[0] == "healthz") return Ask(AskHealth{});
  if (parts.size() == 1 && parts[0] == "pods") return Ask(AskPods{});
  if (parts.size() == 1 && parts[0] == "status") return Ask(AskStatus{});
  if (parts.size() == 2 && parts[0] == "overlay" && plain_name(parts[1])) return Ask(AskOverlay{parts[1]});
  if (parts.size() == 2 && parts[0] == "debug" && parts[1] == "desired") return Ask(AskDesired{});
  if (parts.size() == 2 && parts[0] == "debug" && parts[1] == "plan") return Ask(AskPlan{});
  if (parts.size() == 2 && parts[0] == "debug" && parts[1] == "service") return parse_service(request, false);
  if (parts.size() == 2 && parts[0] == "debug" && parts[1] == "nft") return parse_service(request, true);
  return no_such_page(request.path);
}

std::string exec_status(int exit_code) {
  json::object status;
  status["kind"] = "Status";
  status["apiVersion"] = "v1";
  status["metadata"] = json::object();
  if (exit_code == 0) {
    status["status"] = "Success";
    return json::serialize(status);
  }
  status["status"] = "Failure";
  status["message"] = fmt::format("command terminated with non-zero exit code: exit status {}", exit_code);
  status["reason"] = "NonZeroExitCode";
  json::object cause;
  cause["reason"] = "ExitCode";
  cause["message"] = std::to_string(exit_code);
  json::array causes;
  causes.push_back(std::move(cause));
  json::object details;
  details["causes"] = std::move(causes);
  status["details"] = std::move(details);
  return json::serialize(status);
}

std::string exec_failure(const std::string& message) {
  json::object status;
  status["kind"] = "Status";
  status["apiVersion"] = "v1";
  status["metadata"] = json::object();
  status["status"] = "Failure";
  status["reason"] = "InternalError";
  status["code"] = 500;
  status["message"] = message;
  return json::serialize(status);
}

}  // namespace trama::agent
