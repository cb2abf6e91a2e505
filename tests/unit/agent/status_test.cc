// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>

#include "agent/compute/node_status.h"
#include "agent/compute/pod_status.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

using netns::ContainerPhase;
using netns::ContainerStatus;

api::ObjectPtr pod(const std::string& status = "{}", const std::string& restart = "Always") {
  return object_from("pods",
                     R"({"metadata":{"name":"web","namespace":"default","uid":"7f3a"},"spec":{"nodeName":"n1",
    "restartPolicy":")" + restart +
                         R"(","containers":[{"name":"web","image":"host"},{"name":"side","image":"host"}]},"status":)" +
                         status + "}");
}

ContainerStatus container(const std::string& name, ContainerPhase phase, int exit_code = 0) {
  ContainerStatus s;
  s.state.name = name;
  s.state.phase = phase;
  s.state.exit_code = exit_code;
  s.state.started_at = "2026-01-01T00:00:01.123456789Z";
  if (phase == ContainerPhase::terminated) s.state.finished_at = "2026-01-01T00:00:02.5Z";
  return s;
}

PodFindings running() {
  PodFindings f;
  f.pod_ips = {base::Ip::v4(10, 244, 1, 2)};
  f.host_ips = {base::Ip::v4(192, 0, 2, 1)};
  f.containers = {container("web", ContainerPhase::running), container("side", ContainerPhase::running)};
  f.now = "2026-01-01T00:00:03Z";
  return f;
}

std::string condition(const json::object& status, const std::string& type, const std::string& field = "status") {
  for (const auto& value : api::array_at(status, "conditions"))
    if (api::text_at(value.get_object(), "type") == type) return api::text_at(value.get_object(), field);
  return "absent";
}

TEST(PodStatus, RunningAndReady) {
  auto p = pod(R"({"phase":"Pending","qosClass":"BestEffort","conditions":[{"type":"PodScheduled","status":"True",
    "lastTransitionTime":"2026-01-01T00:00:00Z"}]})");
  auto status = compute_pod_status(*p, running());
  EXPECT_EQ(
      json::serialize(status),
      R"({"phase":"Running","qosClass":"BestEffort","conditions":[{"type":"PodScheduled","status":"True",)"
      R"("lastTransitionTime":"2026-01-01T00:00:00Z"},)"
      R"({"type":"PodReadyToStartContainers","status":"True","lastTransitionTime":"2026-01-01T00:00:03Z","lastProbeTime":null},)"
      R"({"type":"Initialized","status":"True","lastTransitionTime":"2026-01-01T00:00:03Z","lastProbeTime":null},)"
      R"({"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:03Z","lastProbeTime":null},)"
      R"({"type":"ContainersReady","status":"True","lastTransitionTime":"2026-01-01T00:00:03Z","lastProbeTime":null}],)"
      R"("hostIP":"192.0.2.1","hostIPs":[{"ip":"192.0.2.1"}],"podIP":"10.244.1.2","podIPs":[{"ip":"10.244.1.2"}],)"
      R"("startTime":"2026-01-01T00:00:03Z","containerStatuses":[)"
      R"({"name":"web","state":{"running":{"startedAt":"2026-01-01T00:00:01Z"}},"lastState":{},"ready":true,"started":true,)"
      R"("restartCount":0,"image":"host","imageID":"","containerID":"trama://7f3a/web"},)"
      R"({"name":"side","state":{"running":{"startedAt":"2026-01-01T00:00:01Z"}},"lastState":{},"ready":true,"started":true,)"
      R"("restartCount":0,"image":"host","imageID":"","containerID":"trama://7f3a/side"}]})");
  EXPECT_TRUE(is_pod_ready(status));
}

TEST(PodStatus, EqualFindingsLaterGiveAnEqualStatus) {
  auto first = compute_pod_status(*pod(), running());
  auto again = running();
  again.now = "2026-01-01T09:00:00Z";
  EXPECT_EQ(compute_pod_status(*pod(json::serialize(first)), again), first);
  again.ready["web"] = false;  // and the control: something that did change
  auto changed = compute_pod_status(*pod(json::serialize(first)), again);
  EXPECT_NE(changed, first);
  EXPECT_EQ(condition(changed, "Ready"), "False");
  EXPECT_EQ(condition(changed, "Ready", "lastTransitionTime"), "2026-01-01T09:00:00Z");
  EXPECT_EQ(condition(changed, "Ready", "message"), "containers with unready status: [web]");
  EXPECT_EQ(condition(changed, "Initialized", "lastTransitionTime"), "2026-01-01T00:00:03Z");
}

TEST(PodStatus, TroubleIsNamedInTheStatus) {
  PodFindings f;
  f.host_ips = {base::Ip::v4(192, 0, 2, 1)};
  f.trouble = PodTrouble{"UnsupportedField", "spec.hostNetwork is not supported", true};
  f.now = "2026-01-01T00:00:03Z";
  auto status = compute_pod_status(*pod(), f);
  EXPECT_EQ(api::text_at(status, "phase"), "Pending");
  EXPECT_EQ(api::text_at(status, "reason"), "UnsupportedField");
  const auto& first = api::array_at(status, "containerStatuses").at(0).get_object();
  EXPECT_EQ(api::text_at(first, "state.waiting.reason"), "UnsupportedField");
  EXPECT_EQ(api::text_at(first, "state.waiting.message"), "spec.hostNetwork is not supported");
  f.trouble.reset();  // and it goes when the trouble does
  EXPECT_EQ(api::text_at(compute_pod_status(*pod(json::serialize(status)), f), "reason"), "");
}

TEST(PodStatus, PhasesAreUpstreams) {
  using P = ContainerPhase;
  auto two = [](ContainerStatus a, ContainerStatus b) {
    return std::vector<ContainerStatus>{std::move(a), std::move(b)};
  };
  EXPECT_EQ(pod_phase("Always", 2, {}), "Pending");
  EXPECT_EQ(pod_phase("Always", 2, {container("a", P::running)}), "Pending");
  EXPECT_EQ(pod_phase("Always", 2, two(container("a", P::running), container("b", P::terminated, 1))), "Running");
  EXPECT_EQ(pod_phase("Never", 2, two(container("a", P::terminated), container("b", P::terminated))), "Succeeded");
  EXPECT_EQ(pod_phase("Never", 2, two(container("a", P::terminated), container("b", P::terminated, 1))), "Failed");
  EXPECT_EQ(pod_phase("OnFailure", 2, two(container("a", P::terminated), container("b", P::terminated))), "Succeeded");
  EXPECT_EQ(pod_phase("OnFailure", 2, two(container("a", P::terminated), container("b", P::terminated, 1))), "Running");
  EXPECT_EQ(pod_phase("Always", 2, two(container("a", P::terminated), container("b", P::terminated))), "Running");
  auto crashing = container("a", P::waiting);
  EXPECT_EQ(pod_phase("Always", 1, {crashing}), "Pending");
  crashing.last = container("a", P::terminated, 1).state;
  EXPECT_EQ(pod_phase("Always", 1, {crashing}), "Running");
}

TEST(PodStatus, CrashLoopAndCompletion) {
  auto f = running();
  f.containers[1] = container("side", ContainerPhase::waiting);
  f.containers[1].state.reason = "CrashLoopBackOff";
  f.containers[1].state.message = "back-off 10s restarting failed container";
  f.containers[1].state.restarts = 3;
  f.containers[1].last = container("side", ContainerPhase::terminated, 2).state;
  auto status = compute_pod_status(*pod(), f);
  EXPECT_EQ(api::text_at(status, "phase"), "Running");
  const auto& side = api::array_at(status, "containerStatuses").at(1).get_object();
  EXPECT_EQ(api::text_at(side, "state.waiting.reason"), "CrashLoopBackOff");
  EXPECT_EQ(api::int_at(side, "lastState.terminated.exitCode"), 2);
  EXPECT_EQ(api::text_at(side, "lastState.terminated.reason"), "Error");
  EXPECT_EQ(api::int_at(side, "restartCount"), 3);

  f.containers = {container("web", ContainerPhase::terminated), container("side", ContainerPhase::terminated)};
  status = compute_pod_status(*pod("{}", "Never"), f);
  EXPECT_EQ(api::text_at(status, "phase"), "Succeeded");
  EXPECT_EQ(condition(status, "Ready", "reason"), "PodCompleted");
  // An agent that restarts and finds nothing of an ended pod leaves it ended.
  f.containers.clear();
  EXPECT_EQ(api::text_at(compute_pod_status(*pod(json::serialize(status), "Never"), f), "phase"), "Succeeded");
}

TEST(PodStatus, WholeSeconds) {
  EXPECT_EQ(whole_seconds("2026-01-01T00:00:02.5Z"), "2026-01-01T00:00:02Z");
  EXPECT_EQ(whole_seconds("2026-01-01T00:00:02.5+01:00"), "2026-01-01T00:00:02+01:00");
  EXPECT_EQ(whole_seconds("2026-01-01T00:00:02Z"), "2026-01-01T00:00:02Z");
  EXPECT_EQ(whole_seconds(""), "");
}

NodeFindings node_findings() {
  NodeFindings f;
  f.node_name = "n1";
  f.node_ips = {base::Ip::v4(192, 0, 2, 1)};
  f.labels = {{"zone", "a"}};
  f.machine = {"6.1.0", "Debian GNU/Linux 12", "amd64", "mid", "bid", 2, 4ull << 30};
  f.api_port = 10250;
  f.ready = true;
  f.reason = "AgentReady";
  f.message = "3 services, 2 peers and 1 sandbox are programmed";
  f.network_ready = true;
  f.now = "2026-01-01T00:00:03Z";
  return f;
}

TEST(NodeStatus, NewNodeAndLabels) {
  auto node = new_node(node_findings());
  EXPECT_EQ(json::serialize(node),
            R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","labels":{"kubernetes.io/arch":"amd64",)"
            R"("kubernetes.io/hostname":"n1","kubernetes.io/os":"linux","zone":"a"}},"spec":{}})");
  auto present = object_from("nodes", json::serialize(node));
  EXPECT_TRUE(missing_labels(*present, node_findings()).empty());
  auto other = node_findings();
  other.labels["zone"] = "b";
  EXPECT_EQ(missing_labels(*present, other), (std::map<std::string, std::string>{{"zone", "b"}}));
}

TEST(NodeStatus, ForeignChainsAreACondition) {
  auto findings = node_findings();
  EXPECT_EQ(condition(compute_node_status({}, findings), "ServicesUnobstructed"), "absent") << "nobody has looked";
  findings.obstacles.emplace();
  auto status = compute_node_status({}, findings);
  EXPECT_EQ(condition(status, "ServicesUnobstructed"), "True");
  EXPECT_EQ(condition(status, "ServicesUnobstructed", "reason"), "NoForeignDrops");
  findings.obstacles->push_back({"ip filter", "FORWARD", "forward", "drops pods", "iptables -P FORWARD ACCEPT"});
  status = compute_node_status(status, findings);
  EXPECT_EQ(condition(status, "ServicesUnobstructed"), "False");
  EXPECT_EQ(condition(status, "ServicesUnobstructed", "reason"), "ForeignChainDrops");
  EXPECT_NE(condition(status, "ServicesUnobstructed", "message").find("ip filter FORWARD"), std::string::npos);
  EXPECT_EQ(condition(status, "Ready"), "True") << "a warning, not a verdict about the node";
}
TEST(NodeStatus, WordsAloneAreTold) {
  auto status = [](const char* text) { return boost::json::parse(text).as_object(); };
  auto one = status(R"({"conditions":[{"type":"Ready","status":"True","reason":"R","message":"3 peers"}],"x":1})");
  EXPECT_FALSE(differ_in_words(one, one));
  EXPECT_TRUE(differ_in_words(one, status(R"({"conditions":[{"type":"Ready","status":"True","reason":"R",
      "message":"4 peers","lastHeartbeatTime":"2026-01-01T00:00:00Z"}],"x":1})")));
  for (auto other : {R"({"conditions":[{"type":"Ready","status":"False","reason":"R","message":"4 peers"}],"x":1})",
                     R"({"conditions":[{"type":"Ready","status":"True","reason":"Q","message":"4 peers"}],"x":1})",
                     R"({"conditions":[{"type":"Ready","status":"True","reason":"R","message":"4 peers"}],"x":2})",
                     R"({"conditions":[],"x":1})", R"({"x":1})"})
    EXPECT_FALSE(differ_in_words(one, status(other))) << other;
}

TEST(NodeStatus, ReadyMessageAndStability) {
  auto status = compute_node_status({}, node_findings());
  EXPECT_EQ(condition(status, "Ready"), "True");
  EXPECT_EQ(condition(status, "NetworkUnavailable"), "False");
  EXPECT_EQ(api::text_at(status, "nodeInfo.kubeletVersion"), "v" TRAMA_VERSION "+trama");
  EXPECT_EQ(api::text_at(status, "capacity.memory"), "4194304Ki");
  EXPECT_EQ(api::int_at(status, "daemonEndpoints.kubeletEndpoint.Port"), 10250);
  auto later = node_findings();
  later.now = "2026-01-01T01:00:00Z";
  EXPECT_EQ(compute_node_status(status, later), status);
  later.ready = false;
  later.reason = "OverlayNotProgrammed";
  later.message = "trama0: no such device";
  auto changed = compute_node_status(status, later);
  EXPECT_EQ(condition(changed, "Ready"), "False");
  EXPECT_EQ(condition(changed, "Ready", "message"), "trama0: no such device");
  EXPECT_EQ(condition(changed, "Ready", "lastTransitionTime"), "2026-01-01T01:00:00Z");
}

}  // namespace
}  // namespace trama::agent
