// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/probe.h"

#include <gtest/gtest.h>

using namespace std::chrono_literals;

namespace trama::agent {
namespace {

ProbeState::Time at(milliseconds t) { return ProbeState::Time(t); }

json::object container(const std::string& probes) {
  return json::parse(R"({"name":"web","ports":[{"name":"http","containerPort":8080}],)" + probes + "}").as_object();
}

TEST(Probe, ParsesWithUpstreamsDefaults) {
  std::vector<std::string> refused;
  auto web =
      container(R"("readinessProbe":{"httpGet":{"port":"http","path":"ok","httpHeaders":[{"name":"A","value":"b"}]}},
    "livenessProbe":{"tcpSocket":{"port":81},"periodSeconds":0,"timeoutSeconds":5,"failureThreshold":2,"initialDelaySeconds":3})");
  auto probes = parse_probes(web, refused);
  ASSERT_EQ(probes.size(), 2u);
  EXPECT_TRUE(refused.empty());
  EXPECT_EQ(probes[0].kind, ProbeKind::readiness);
  EXPECT_EQ(probes[0].action.port, 8080);
  EXPECT_EQ(probes[0].action.path, "/ok");
  EXPECT_EQ(probes[0].period, 10s);
  EXPECT_EQ(probes[0].timeout, 1s);
  EXPECT_EQ(probes[0].failure_threshold, 3);
  EXPECT_EQ(probes[1].period, 1s);
  EXPECT_EQ(probes[1].initial_delay, 3s);
  EXPECT_EQ(probes[1].failure_threshold, 2);
}

TEST(Probe, WhatCannotBeAskedIsNamed) {
  std::vector<std::string> refused;
  auto probes =
      parse_probes(container(R"("readinessProbe":{"grpc":{"port":1}},"livenessProbe":{"tcpSocket":{"port":"nope"}},
    "startupProbe":{"httpGet":{"port":1,"scheme":"HTTPS"}})"),
                   refused);
  EXPECT_TRUE(probes.empty());
  ASSERT_EQ(refused.size(), 3u);
  EXPECT_EQ(refused[0], "container web: startupProbe: httpGet with scheme HTTPS is not supported");
}

TEST(Probe, ANewContainerIsAskedOftenUntilItIsReady) {
  ProbeSpec spec;
  spec.period = 10s;
  ProbeState probe(spec, at(100s));
  EXPECT_EQ(probe.next(), at(100s));
  EXPECT_FALSE(probe.passing());
  probe.answered(false, at(100s));
  EXPECT_EQ(probe.next(), at(100s + ProbeState::kEager));
  probe.answered(true, at(100s + 50ms));
  EXPECT_TRUE(probe.passing());
  EXPECT_EQ(probe.next(), at(110s + 50ms)) << "ready: its own period from now on";
}

TEST(Probe, EagernessEnds) {
  ProbeState probe(ProbeSpec{}, at(0s));
  probe.answered(false, at(ProbeState::kEagerFor));
  EXPECT_EQ(probe.next(), at(ProbeState::kEagerFor + 10s));
}

TEST(Probe, ThresholdsDecide) {
  ProbeSpec spec;
  spec.success_threshold = 2;
  spec.failure_threshold = 3;
  ProbeState probe(spec, at(0s));
  probe.answered(true, at(0s));
  EXPECT_FALSE(probe.passing());
  probe.answered(true, at(1s));
  EXPECT_TRUE(probe.passing());
  probe.answered(false, at(11s));
  probe.answered(false, at(21s));
  EXPECT_TRUE(probe.passing());
  probe.answered(true, at(31s));
  probe.answered(false, at(41s));
  probe.answered(false, at(51s));
  EXPECT_TRUE(probe.passing()) << "the count starts anew after a success";
  probe.answered(false, at(61s));
  EXPECT_FALSE(probe.passing());
}

TEST(Probe, EagerFailuresNeverKillAStartingContainer) {
  ProbeSpec spec;
  spec.kind = ProbeKind::startup;
  spec.failure_threshold = 3;
  ProbeState probe(spec, at(0s));
  for (auto t = 0ms; t < ProbeState::kEagerFor; t += ProbeState::kEager)
    EXPECT_EQ(probe.answered(false, at(t)), ProbeState::Verdict::unknown);
  EXPECT_EQ(probe.answered(false, at(10s)), ProbeState::Verdict::unknown);
  EXPECT_EQ(probe.answered(false, at(20s)), ProbeState::Verdict::unknown);
  EXPECT_EQ(probe.answered(false, at(30s)), ProbeState::Verdict::failure);
}

TEST(Probe, LivenessStartsAliveAndKeepsItsPeriod) {
  ProbeSpec spec;
  spec.kind = ProbeKind::liveness;
  spec.initial_delay = 5s;
  spec.failure_threshold = 1;
  ProbeState probe(spec, at(0s));
  EXPECT_EQ(probe.next(), at(5s));
  EXPECT_TRUE(probe.passing());
  EXPECT_EQ(probe.answered(false, at(5s)), ProbeState::Verdict::failure);
  EXPECT_EQ(probe.next(), at(15s));
}

}  // namespace
}  // namespace trama::agent
