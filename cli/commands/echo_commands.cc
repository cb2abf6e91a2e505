// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "cli/commands/program.h"
#include "cli/echo/probe.h"
#include "cli/echo/server.h"
#include "cli/exit.h"
#include "cli/interrupt.h"

namespace trama::cli {

namespace {

constexpr const char* kGroup = "Traffic";

int run_echo(EchoOptions options) {
  if (options.http.empty() && options.tcp.empty() && options.udp.empty()) options.http.emplace_back(":8080");
  catch_interrupts();
  auto server = EchoServer::listen(options);
  if (!server) return fail(server.error());
  std::string ports;
  for (auto port : (*server)->ports()) ports += " " + std::to_string(port);
  fmt::print(stderr, "echo: {} answers on{}\n", options.identity.pod, ports);
  auto ended = (*server)->run(interrupted());
  return ended ? code(Exit::ok) : fail(ended.error());
}

struct ProbeArguments {
  std::string target;
  ProbeOptions options;
  bool json = false;
  unsigned pods = 0;
};

int run_probe_verb(const ProbeArguments& a) {
  auto options = a.options;
  auto target = parse_probe_target(a.target);
  if (!target) return fail(target.error());
  options.target = std::move(*target);
  catch_interrupts();
  auto report = run_probe(options, interrupted());
  std::fputs((a.json ? report.to_json() : report.to_text()).c_str(), stdout);
  if (interrupted()) return code(Exit::interrupted);
  auto named = report.by_pod.size() - report.by_pod.count("");
  if (named < a.pods) return fail(Exit::no, fmt::format("{} pods answered, expected at least {}", named, a.pods));
  return code(report.failures == 0 && report.answers > 0 ? Exit::ok : Exit::no);
}

}  // namespace

void add_echo_commands(Program& p) {
  auto* echo = p.app.add_subcommand("echo", "Answer HTTP, TCP and UDP with who and where we are")->group(kGroup);
  auto options = p.verb<EchoOptions>(echo, [](const EchoOptions& o) { return run_echo(o); });
  echo->add_option("--http", options->http,
                   "[HOST]:PORT for HTTP: /, /healthz, /slow?ms=N, /bytes?n=N (default :8080)");
  echo->add_option("--tcp", options->tcp, "[HOST]:PORT for TCP: a line about us, then every byte comes back");
  echo->add_option("--udp", options->udp, "[HOST]:PORT for UDP: each datagram is answered");
  add_duration(echo, "--drain", options->drain, "Go on answering this long after SIGTERM (500ms)");

  auto* probe =
      p.app.add_subcommand("probe", "Ask a server many times and tell who answered; exit 1 if anything failed")
          ->group(kGroup);
  auto a = p.verb<ProbeArguments>(probe, [](const ProbeArguments& o) { return run_probe_verb(o); });
  probe
      ->add_option("target", a->target,
                   "http://HOST[:PORT]/PATH, tcp://HOST:PORT, udp://HOST:PORT; HOST[:PORT] is HTTP")
      ->required();
  probe->add_option("--count", a->options.count, "Requests in all")
      ->check(CLI::Range(1, 100'000'000))
      ->capture_default_str();
  probe->add_option("--concurrency", a->options.concurrency, "At a time")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  add_duration(probe, "--timeout", a->options.timeout, "Of one request (2s)");
  add_duration(probe, "--interval", a->options.interval, "Pause between two requests of a worker");
  add_duration(probe, "--for", a->options.duration, "Go on this long, instead of --count");
  probe->add_flag("--keep-alive", a->options.keep_alive, "HTTP: a connection per worker, not one per request");
  probe->add_option("--pods", a->pods, "Fail unless at least this many different pods answered");
  probe->add_flag("--json", a->json, "The report as JSON");
}

}  // namespace trama::cli
