// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>

#include "cli/echo/http.h"
#include "cli/echo/probe.h"
#include "cli/echo/server.h"
#include "cli/echo/socket.h"

namespace trama::cli {
namespace {

TEST(Http, RequestsPieceByPiece) {
  std::string whole = "GET /slow?ms=5&n=2&x HTTP/1.1\r\nHost: web\r\nConnection: Close\r\nContent-Length: 3\r\n\r\nabc";
  for (std::size_t i = 0; i + 3 < whole.size(); ++i) {
    auto r = parse_http_request(whole.substr(0, i));
    ASSERT_TRUE(r);
    EXPECT_FALSE(*r);
  }
  auto r = parse_http_request(whole);
  ASSERT_TRUE(r && *r);
  EXPECT_EQ((*r)->request.path, "/slow");
  EXPECT_EQ((*r)->request.query.at("ms"), "5");
  EXPECT_EQ((*r)->request.query.at("n"), "2");
  EXPECT_FALSE((*r)->request.keep_alive);
  EXPECT_EQ((*r)->request.body_bytes, 3u);
  EXPECT_EQ((*r)->bytes, whole.size() - 3);
}

TEST(Http, VersionsDecideAboutKeepAlive) {
  EXPECT_TRUE((*parse_http_request("GET / HTTP/1.1\r\n\r\n"))->request.keep_alive);
  EXPECT_FALSE((*parse_http_request("GET / HTTP/1.0\r\n\r\n"))->request.keep_alive);
  EXPECT_TRUE((*parse_http_request("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"))->request.keep_alive);
}

TEST(Http, WhatIsNotHttpIsRefused) {
  for (auto bad : {"hello\r\n\r\n", "GET /\r\n\r\n", "GET x HTTP/1.1\r\n\r\n", "GET / HTTP/2\r\n\r\n",
                   "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                   "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"})
    EXPECT_FALSE(parse_http_request(bad)) << bad;
  EXPECT_FALSE(parse_http_request(std::string(kLongestHttpHead, 'a')));
}

TEST(Http, Responses) {
  auto text = http_response(200, "ok\n", true);
  auto r = parse_http_response(text);
  ASSERT_TRUE(r && *r);
  EXPECT_EQ((*r)->status, 200);
  EXPECT_EQ((*r)->body_bytes, 3u);
  EXPECT_TRUE((*r)->keep_alive);
  EXPECT_EQ(text.substr((*r)->bytes), "ok\n");
  EXPECT_FALSE(parse_http_response("SSH-2.0-OpenSSH\r\n\r\n"));
}

TEST(Addresses, AsPeopleTypeThem) {
  EXPECT_EQ(parse_host_port(":8080")->port, 8080);
  EXPECT_EQ(parse_host_port("web", 80)->host, "web");
  EXPECT_EQ(parse_host_port("[fd00::1]:7")->host, "fd00::1");
  EXPECT_EQ(parse_host_port("[::1]", 80)->port, 80);
  for (auto bad : {"", "web", "web:", "web:x", "web:70000", "fd00::1", "[::1", "[::1]x:1"})
    EXPECT_FALSE(parse_host_port(bad)) << bad;
}

TEST(Probe, Targets) {
  auto t = parse_probe_target("http://web/slow?ms=1");
  ASSERT_TRUE(t);
  EXPECT_EQ(t->where.host, "web");
  EXPECT_EQ(t->where.port, 80);
  EXPECT_EQ(t->path, "/slow?ms=1");
  EXPECT_EQ(parse_probe_target("web:8080")->where.port, 8080);
  EXPECT_EQ(parse_probe_target("udp://web:7")->protocol, ProbeProtocol::udp);
  EXPECT_EQ(parse_probe_target("tcp:web:7")->protocol, ProbeProtocol::tcp);
  EXPECT_FALSE(parse_probe_target("tcp://web"));
  EXPECT_FALSE(parse_probe_target("https://web"));
}

TEST(Probe, ReportCountsAndPercentiles) {
  ProbeReport r;
  r.answers = 100;
  r.by_pod = {{"a", 50}, {"b", 50}};
  for (unsigned i = 1; i <= 100; ++i) r.microseconds.push_back(i * 1000);
  EXPECT_EQ(r.percentile(50), 51'000u);
  EXPECT_EQ(r.percentile(100), 100'000u);
  EXPECT_THAT(r.to_text(), testing::HasSubstr("50.0 %"));
  EXPECT_EQ(ProbeReport{}.percentile(50), 0u);
}

TEST(Echo, LineAndFields) {
  auto line = echo_line({"web-1", "n2", "default"}, "10.0.0.1:5");
  EXPECT_EQ(line, "pod=web-1 node=n2 namespace=default client=10.0.0.1:5");
  EXPECT_EQ(echo_field(line, "node"), "n2");
  EXPECT_EQ(echo_field(line, "od"), "");
  EXPECT_EQ(echo_field("", "pod"), "");
}

}  // namespace
}  // namespace trama::cli
