// SPDX-License-Identifier: GPL-2.0-or-later
// What the controller passes on to a node's agent: logs and commands.
#include <ctime>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/pki/certificate.h"
#include "tests/e2e/support/controller_in_thread.h"
#include "tests/unit/control/tls_script.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using namespace test;

// Joins n1. The agent's API has the serving certificate that it got for its name; it demands ours.
pki::KeyPair new_agent(Cluster& c) {
  c.add_node("n1");
  auto serving = c.run(client::request_serving_certificate(*c.nodes["n1"], "n1", {"127.0.0.1"}, {}));
  EXPECT_TRUE(serving) << serving.error().to_string();
  return serving ? pki::KeyPair{serving->certificate_pem, serving->key_pem} : pki::KeyPair{};
}

// Says that n1's agent listens there, and waits until pod "a" is on n1.
void serve_pod_from(Cluster& c, std::uint16_t port) {
  auto status = object(fmt::format(R"({{"status":{{"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{}}}}}}}}})", port));
  auto told = c.run(c.nodes["n1"]->patch("/api/v1/nodes/n1/status", status));
  ASSERT_TRUE(told) << told.error().to_string();
  ASSERT_EQ(c.create(kPods, R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})"), "");
  ASSERT_TRUE(c.eventually([&] { return !api::text_at(c.get(std::string(kPods) + "/a"), "spec.nodeName").empty(); }));
}

TEST(Controller, LogsComeFromTheNodesAgent) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  TlsScript agent(
      new_agent(c),
      [](TlsScript::Connection& conn, int) {
        conn.read_request();
        conn.begin_chunks();
        conn.chunk("first\n");
        conn.chunk("second\n");
        conn.end_chunks();
        conn.wait_closed();
      },
      c.kubeconfig.ca_pem);
  ASSERT_NO_FATAL_FAILURE(serve_pod_from(c, agent.port()));
  auto stream = c.run(c.admin->stream(std::string(kPods) + "/a/log?tailLines=5&follow=true"));
  ASSERT_TRUE(stream) << stream.error().to_string();
  std::string text;
  for (;;) {
    auto piece = c.run((*stream)->read(5s));
    ASSERT_TRUE(piece) << piece.error().to_string();
    if (piece->empty()) break;
    text += *piece;
  }
  EXPECT_EQ(text, "first\nsecond\n");
  EXPECT_EQ(agent.requests().front(), "GET /containerLogs/default/a/c?follow=true&tailLines=5 HTTP/1.1");
  auto nobody = c.run(c.admin->request("GET", std::string(kPods) + "/b/log"));
  ASSERT_TRUE(nobody);
  EXPECT_EQ(nobody->status, 404);
}

TEST(Controller, ExecIsATunnel) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  TlsScript agent(
      new_agent(c),
      [](TlsScript::Connection& conn, int) {
        conn.read_request();
        conn.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\nhello ");
        conn.write("client");
        conn.wait_closed();
      },
      c.kubeconfig.ca_pem);
  ASSERT_NO_FATAL_FAILURE(serve_pod_from(c, agent.port()));
  client::Headers headers;
  headers.emplace_back("Upgrade", "raw");
  auto up = c.run(
      c.admin->upgrade("POST", std::string(kPods) + "/a/exec?command=ls&command=-l&stdin=true&stdout=true", headers));
  ASSERT_TRUE(up) << up.error().to_string();
  ASSERT_EQ(up->status, 101);
  std::string text;
  while (text.size() < 12) {
    auto piece = c.run(up->tunnel->read());
    ASSERT_TRUE(piece) << piece.error().to_string();
    ASSERT_FALSE(piece->empty());
    text += *piece;
  }
  EXPECT_EQ(text, "hello client");
  EXPECT_TRUE(c.run(up->tunnel->write("input")));
  EXPECT_TRUE(c.eventually([&] { return agent.received().ends_with("input"); }))
      << "bytes from the client reach the agent";
  EXPECT_EQ(agent.requests().front(), "POST /exec/default/a/c?command=ls&command=-l&input=1&output=1 HTTP/1.1");
  up->tunnel->close();
}

}  // namespace
}  // namespace trama::control
