// SPDX-License-Identifier: GPL-2.0-or-later
// `trama echo` and `trama probe` against each other over the loopback of a private namespace.
#include <atomic>
#include <csignal>
#include <thread>

#include <gmock/gmock.h>
#include <unistd.h>

#include "cli/echo/probe.h"
#include "cli/echo/server.h"
#include "tests/support/private_netns.h"

namespace trama::cli {
namespace {

using std::chrono::milliseconds;

// A server on its own thread, inside the namespace.
class Running {
 public:
  Running(const test::PrivateNetns& ns, EchoOptions options) {
    options.drain = milliseconds(0);
    ns.run([&] {
      auto made = EchoServer::listen(options);
      if (!made) throw std::runtime_error(made.error().to_string());
      server_ = std::move(*made);
    });
    thread_ = std::thread([this] { ended_ = bool(server_->run(stop_)); });
  }
  ~Running() {
    stop_ = true;
    thread_.join();
    EXPECT_TRUE(ended_);
  }
  std::uint16_t port(std::size_t i = 0) const { return server_->ports()[i]; }

 private:
  std::unique_ptr<EchoServer> server_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  bool ended_ = false;
};

EchoOptions options_named(const std::string& pod) {
  EchoOptions o;
  o.identity = {pod, "n1", "default"};
  return o;
}

ProbeReport probe(const test::PrivateNetns& ns, const std::string& target, unsigned count = 1, unsigned concurrency = 1,
                  bool keep_alive = false, milliseconds timeout = milliseconds(5000)) {
  ProbeReport report;
  ns.run([&] {
    ProbeOptions o;
    o.target = *parse_probe_target(target);
    o.count = count;
    o.concurrency = concurrency;
    o.keep_alive = keep_alive;
    o.timeout = timeout;
    std::atomic<bool> stop{false};
    report = run_probe(o, stop);
  });
  return report;
}

TEST(Echo, AnswersOverAllThreeProtocols) {
  test::PrivateNetns ns;
  auto o = options_named("web-1");
  o.http = {":0"};
  o.tcp = {"127.0.0.1:0"};
  o.udp = {":0"};
  Running server(ns, o);
  auto http = probe(ns, fmt::format("http://127.0.0.1:{}/where", server.port(0)));
  EXPECT_THAT(http.last_answer,
              testing::MatchesRegex("pod=web-1 node=n1 namespace=default client=127.0.0.1:[0-9]+ path=/where"));
  auto tcp = probe(ns, fmt::format("tcp://127.0.0.1:{}", server.port(1)));
  EXPECT_THAT(tcp.last_answer, testing::StartsWith("pod=web-1 node=n1"));
  auto udp = probe(ns, fmt::format("udp://127.0.0.1:{}", server.port(2)));
  EXPECT_THAT(udp.last_answer, testing::EndsWith("data=probe"));
  EXPECT_EQ(http.failures + tcp.failures + udp.failures, 0u);
}

TEST(Echo, HundredsOfConnectionsAtATime) {
  test::PrivateNetns ns;
  auto o = options_named("web-1");
  o.http = {":0"};
  Running server(ns, o);
  auto slow = probe(ns, fmt::format("http://127.0.0.1:{}/slow?ms=50", server.port()), 600, 300);
  EXPECT_EQ(slow.answers, 600u) << slow.to_text();
  EXPECT_LT(slow.elapsed.count(), 20'000);  // one after the other it would take 30 s
  auto kept = probe(ns, fmt::format("http://127.0.0.1:{}/", server.port()), 5000, 8, true);
  EXPECT_EQ(kept.answers, 5000u) << kept.to_text();
  auto big = probe(ns, fmt::format("http://127.0.0.1:{}/bytes?n=8000000", server.port()), 4, 4);
  EXPECT_EQ(big.answers, 4u) << big.to_text();
}

TEST(Echo, PipelinedHeadAndBadRequests) {
  test::PrivateNetns ns;
  auto o = options_named("web-1");
  o.http = {"127.0.0.1:0"};
  Running server(ns, o);
  // Raw bytes need bash's /dev/tcp.
  auto raw = [&](const std::string& bytes) {
    std::string answer;
    ns.shell(
        fmt::format("bash -c \"exec 3<>/dev/tcp/127.0.0.1/{} && printf '{}' >&3 && cat <&3\"", server.port(), bytes),
        &answer);
    return answer;
  };
  auto two = raw("GET /healthz HTTP/1.1\\r\\n\\r\\nGET /healthz HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n");
  EXPECT_EQ(two.find("ok\n") != std::string::npos && two.rfind("ok\n") != two.find("ok\n"), true) << two;
  EXPECT_THAT(raw("HEAD / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n"), testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(raw("nonsense\\r\\n\\r\\n"), testing::HasSubstr("400 Bad Request"));
}

TEST(Probe, NobodyThereIsAFailureNotAHang) {
  test::PrivateNetns ns;
  auto refused = probe(ns, "http://127.0.0.1:9/", 3);
  EXPECT_EQ(refused.answers, 0u);
  EXPECT_EQ(refused.failures, 3u);
  EXPECT_THAT(refused.to_text(), testing::HasSubstr("Connection refused"));
  auto silent = probe(ns, "udp://127.0.0.1:9", 1, 1, false, milliseconds(200));
  EXPECT_EQ(silent.failures, 1u);
  auto unknown = probe(ns, "http://no-such-name.invalid/", 1);
  EXPECT_EQ(unknown.failures, 1u);
  EXPECT_THAT(unknown.to_text(), testing::HasSubstr("cannot resolve"));
}

TEST(Probe, CountsWhoAnsweredAndTimeouts) {
  test::PrivateNetns ns;
  auto a = options_named("a");
  a.http = {"127.0.0.2:8080"};
  Running one(ns, a);
  auto late = probe(ns, "http://127.0.0.2:8080/slow?ms=2000", 1, 1, false, milliseconds(100));
  EXPECT_EQ(late.failures, 1u);
  auto missing = probe(ns, "http://127.0.0.2:8080/", 5, 2);
  EXPECT_EQ(missing.by_pod.at("a"), 5u);
}

}  // namespace
}  // namespace trama::cli
