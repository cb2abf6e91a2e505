// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/types.h"

#include <gtest/gtest.h>

namespace trama::api {
namespace {

ObjectPtr object(const char* resource, std::string_view text) {
  auto body = json::parse({text.data(), text.size()}).as_object();
  Key key{resource, text_at(body, "metadata.namespace"), text_at(body, "metadata.name")};
  return make_object(std::move(key), std::move(body), 3);
}

TEST(DecodePod, Whole) {
  auto p = decode_pod(*object(
      "pods",
      R"({"metadata":{"name":"a","namespace":"d","labels":{"x":"y"},"deletionTimestamp":"2026-01-02T03:04:05Z","ownerReferences":[{"kind":"ReplicaSet","name":"r","uid":"u","controller":true}]},
    "spec":{"nodeName":"n1","hostNetwork":true,"securityContext":{"runAsUser":7},"tolerations":[{"key":"k","operator":"Exists","tolerationSeconds":5}],
      "containers":[{"name":"c","image":"host","command":["sh"],"args":["-c","x"],"env":[{"name":"A","value":"1"},{"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},{"name":"S","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}],
        "ports":[{"containerPort":80,"name":"http"}],"resources":{"limits":{"cpu":"250m","memory":"64Mi"}},
        "readinessProbe":{"httpGet":{"path":"/z","port":"http"},"periodSeconds":3}}]},
    "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"conditions":[{"type":"Ready","status":"True"}],
      "containerStatuses":[{"name":"c","ready":true,"restartCount":2,"state":{"terminated":{"exitCode":3,"reason":"Error"}}}]}})"));
  EXPECT_TRUE(p.meta.deleting());
  EXPECT_TRUE(p.ready());
  EXPECT_TRUE(p.host_network);
  EXPECT_EQ(p.meta.revision, 3u);
  EXPECT_EQ(p.meta.owners.at(0).name, "r");
  EXPECT_EQ(p.pod_ips, (std::vector<std::string>{"10.0.0.1", "fd00::1"}));
  ASSERT_EQ(p.containers.size(), 1u);
  const auto& c = p.containers[0];
  EXPECT_EQ(c.limits.cpu_milli, 250);
  EXPECT_EQ(c.limits.memory_bytes, 64 << 20);
  EXPECT_EQ(c.run_as_user, 7) << "the pod's user applies";
  EXPECT_EQ(c.env.at(1).field_path, "status.podIP");
  EXPECT_TRUE(c.env.at(2).unsupported);
  EXPECT_EQ(c.readiness.type, Probe::Type::http);
  EXPECT_EQ(c.readiness.port.name, "http");
  EXPECT_EQ(c.readiness.period_seconds, 3);
  EXPECT_EQ(c.readiness.failure_threshold, 3);
  EXPECT_FALSE(c.liveness);
  EXPECT_EQ(p.tolerations.at(0).seconds, 5);
  EXPECT_EQ(p.container_statuses.at(0).state, "terminated");
  EXPECT_EQ(p.container_statuses.at(0).exit_code, 3);
}

TEST(Decode, WrongTypesReadAsAbsent) {
  auto p = decode_pod(*object(
      "pods", R"({"metadata":{"name":"a","namespace":"d"},"spec":{"containers":"x","nodeName":5},"status":[]})"));
  EXPECT_TRUE(p.containers.empty());
  EXPECT_EQ(p.node_name, "");
  auto n = decode_node(
      *object("nodes", R"({"metadata":{"name":"n"},"spec":null,"status":{"conditions":[1,{"type":"Ready"}]}})"));
  EXPECT_FALSE(n.ready());
}

TEST(DecodeService, TargetPortsAndFamilies) {
  auto s = decode_service(*object(
      "services",
      R"({"metadata":{"name":"s","namespace":"d"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80},{"port":81,"targetPort":"http"},{"port":82,"targetPort":8080}]}})"));
  EXPECT_EQ(s.ports.at(0).target_port.number, 80);
  EXPECT_EQ(s.ports.at(1).target_port.name, "http");
  EXPECT_EQ(s.ports.at(2).target_port.number, 8080);
  EXPECT_EQ(s.cluster_ips, std::vector<std::string>{"10.96.0.1"});
  EXPECT_FALSE(s.headless());
}

TEST(DecodeSlice, ConditionsDefaultToReady) {
  auto s = decode_endpoint_slice(*object(
      "endpointslices",
      R"({"metadata":{"name":"e","namespace":"d","labels":{"kubernetes.io/service-name":"s"}},"addressType":"IPv4",
      "endpoints":[{"addresses":["10.0.0.1"]},{"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}}],"ports":[{"name":"a","port":80},{"name":"b"}]})"));
  EXPECT_EQ(s.service_name, "s");
  EXPECT_TRUE(s.endpoints.at(0).ready && s.endpoints.at(0).serving && !s.endpoints.at(0).terminating);
  EXPECT_TRUE(!s.endpoints.at(1).ready && s.endpoints.at(1).serving && s.endpoints.at(1).terminating);
  EXPECT_EQ(s.ports.at(0).port, 80);
  EXPECT_FALSE(s.ports.at(1).port);
}

}  // namespace
}  // namespace trama::api
