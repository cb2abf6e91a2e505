// SPDX-License-Identifier: GPL-2.0-or-later
// ConfigMaps and Secrets from `kubectl create` into variables and files of a running pod, and their changes.
#include <gtest/gtest.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

const char* const kPod = R"yaml(
apiVersion: v1
kind: Pod
metadata: {name: all, labels: {app: all, tier: back}, annotations: {note: "a \"b\""}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: host
      command: [sh, -c, "echo $(GREETING); sleep 1000"]
      resources: {limits: {cpu: 1500m, memory: 64Mi}}
      envFrom:
        - {prefix: LOGIN_, secretRef: {name: login}}
        - {configMapRef: {name: nowhere, optional: true}}
      env:
        - {name: GREETING, valueFrom: {configMapKeyRef: {name: web, key: greeting}}}
        - {name: BOTH, value: "$(GREETING), $(LOGIN_user)"}
        - {name: LATER, valueFrom: {secretKeyRef: {name: login, key: absent, optional: true}}}
        - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
      volumeMounts:
        - {name: config, mountPath: /etc/web}
        - {name: config, mountPath: /etc/frozen.conf, subPath: app.conf}
        - {name: login, mountPath: /secrets}
        - {name: info, mountPath: /etc/podinfo}
        - {name: all, mountPath: /srv/all}
        - {name: work, mountPath: /work}
    - name: side
      image: host
      command: [sh, -c, "echo from-side > /shared/hello; sleep 1000"]
      volumeMounts: [{name: work, mountPath: /shared}]
  volumes:
    - {name: config, configMap: {name: web}}
    - {name: login, secret: {secretName: login, defaultMode: 0400, items: [{key: password, path: deep/pw}]}}
    - name: info
      downwardAPI:
        items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}
          - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
    - name: all
      projected:
        sources:
          - {configMap: {name: web, items: [{key: greeting, path: hi}]}}
          - {secret: {name: login, items: [{key: user, path: who, mode: 0440}]}}
          - {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
          - {secret: {name: never, optional: true}}
    - {name: work, emptyDir: {sizeLimit: 1Mi}}
)yaml";

class VolumesE2e : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    ASSERT_TRUE(cluster.ok());
    cluster.add_node("n1");
    ASSERT_TRUE(cluster.ok());
    ASSERT_TRUE(cluster.wait_node_ready("n1"));
  }
  std::string in(const std::string& script, const std::string& pod = "all") {
    std::string output;
    cluster.trama("exec " + pod + " -c main -- sh -c '" + script + "'", &output);
    return output;
  }
  void kubectl(const std::string& arguments) { (void)cluster.kubectl(arguments); }
  std::string events(const std::string& reason) {
    std::string output;
    cluster.trama("get events -o json", &output);
    std::string out;
    boost::system::error_code ec;
    auto list = json::parse(output, ec);
    if (ec || !list.is_object()) return out;
    for (const auto& item : api::array_at(list.get_object(), "items"))
      if (api::text_at(item.get_object(), "reason") == reason) out += api::text_at(item.get_object(), "message") + "\n";
    return out;
  }
  std::string waiting(const std::string& pod, const std::string& field) {
    auto got = cluster.get("pod " + pod);
    if (!got.is_object()) return "";
    const auto& statuses = api::array_at(got.get_object(), "status.containerStatuses");
    return statuses.empty() ? "" : api::text_at(statuses[0].get_object(), "state.waiting." + field);
  }
  Cluster cluster;
};

TEST_F(VolumesE2e, EveryKindIsThereAndFilesFollowTheirObjects) {
  up();
  kubectl("create configmap web --from-literal=greeting=hello --from-literal=app.conf='port = 8080'");
  kubectl("create secret generic login --from-literal=user=ana --from-literal=password=s3cret");
  ASSERT_TRUE(cluster.apply(kPod));
  ASSERT_TRUE(cluster.wait_pod_ready("all"));
  EXPECT_EQ(in("echo $GREETING/$BOTH/$LOGIN_password/${LATER-unset}/$CPU/$MEM/$NODE"),
            "hello/hello, ana/s3cret/unset/2/64/n1\n");
  std::string log;
  EXPECT_TRUE(eventually([&] { return cluster.trama("logs all -c main", &log) == 0 && log == "hello\n"; })) << log;
  EXPECT_EQ(in("cat /etc/web/app.conf /etc/frozen.conf; ls /etc/web"), "port = 8080port = 8080app.conf\ngreeting\n");
  EXPECT_EQ(in("cat /secrets/deep/pw; stat -L -c \" %a\" /secrets/deep/pw; ls /secrets"), "s3cret 400\ndeep\n");
  EXPECT_EQ(in("cat /etc/podinfo/labels; echo; cat /etc/podinfo/note; echo; cat /etc/podinfo/cpu"),
            "app=\"all\"\ntier=\"back\"\na \"b\"\n1500");
  EXPECT_EQ(in("cd /srv/all; cat hi who name; stat -L -c \" %a\" who; ls"), "helloanaall 440\nhi\nname\nwho\n");
  EXPECT_EQ(in("cat /work/hello; (head -c 2000000 /dev/zero > /work/big) 2>/dev/null || echo full"),
            "from-side\nfull\n");

  // Files follow within moments, a subPath and variables do not; the container goes on.
  auto restarts = [&] {
    return json::serialize(api::array_at(cluster.get("pod all").get_object(), "status.containerStatuses"));
  };
  auto before = restarts();
  kubectl(R"(patch configmap web -p '{"data":{"greeting":"salve","app.conf":"port = 9","new":"x"}}')");
  EXPECT_TRUE(eventually([&] { return in("cat /etc/web/app.conf") == "port = 9"; })) << cluster.log("n1");
  EXPECT_EQ(in("cat /etc/frozen.conf; ls /etc/web; cat /srv/all/hi; echo; echo $GREETING"),
            "port = 8080app.conf\ngreeting\nnew\nsalve\nhello\n");
  kubectl("label pod all tier=front --overwrite");
  EXPECT_TRUE(eventually([&] { return in("cat /etc/podinfo/labels") == "app=\"all\"\ntier=\"front\""; }));
  EXPECT_TRUE(cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: never}\nstringData: {extra: now}\n"));
  EXPECT_TRUE(eventually([&] { return in("cat /srv/all/extra") == "now"; })) << "an optional source that comes later";

  // A killed agent finds everything as it is, and what changed meanwhile is made good.
  cluster.stop_agent("n1", 9);
  kubectl(R"(patch configmap web -p '{"data":{"greeting":"oi"}}')");
  cluster.start_agent("n1");
  EXPECT_TRUE(eventually([&] { return in("cat /etc/web/greeting") == "oi"; }, 20000)) << cluster.log("n1");
  EXPECT_EQ(restarts(), before);
  // What goes while a pod runs stays in its files.
  kubectl("delete secret login");
  EXPECT_TRUE(eventually([&] {
    return events("FailedMount").find("\"login\" : secret \"login\" not found") != std::string::npos;
  })) << events("FailedMount");
  EXPECT_EQ(in("cat /secrets/deep/pw"), "s3cret");
  // A Secret is in no file of the node.
  std::string found;
  shell("grep -rls s3cret " + cluster.directory() + "/n1/data; true", &found);
  EXPECT_EQ(found, "");
}

TEST_F(VolumesE2e, APodWaitsForWhatItNamesAndStartsWhenItIsThere) {
  up();
  ASSERT_TRUE(cluster.apply(R"(
apiVersion: v1
kind: Pod
metadata: {name: env}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: host
      command: [sleep, infinity]
      env: [{name: A, valueFrom: {configMapKeyRef: {name: late, key: a}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: vol}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [sleep, infinity], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, secret: {secretName: late, items: [{key: k, path: k}]}}]
)"));
  ASSERT_TRUE(eventually([&] { return waiting("env", "reason") == "CreateContainerConfigError"; }))
      << cluster.log("n1");
  EXPECT_EQ(waiting("env", "message"), "configmap \"late\" not found");
  EXPECT_TRUE(
      eventually([&] { return events("Failed").find("Error: configmap \"late\" not found") != std::string::npos; }));
  EXPECT_TRUE(eventually([&] {
    return events("FailedMount") == "MountVolume.SetUp failed for volume \"v\" : secret \"late\" not found\n";
  })) << events("FailedMount");
  EXPECT_EQ(waiting("vol", "reason"), "ContainerCreating");

  ASSERT_TRUE(cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\ndata: {b: '1'}\n"));
  ASSERT_TRUE(cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: late}\nstringData: {other: '1'}\n"));
  EXPECT_TRUE(eventually([&] { return waiting("env", "message") == "couldn't find key a in ConfigMap default/late"; }))
      << waiting("env", "message");
  EXPECT_TRUE(eventually([&] {
    return events("FailedMount").find("references non-existent secret key: k") != std::string::npos;
  })) << events("FailedMount");
  kubectl(R"(patch configmap late -p '{"data":{"a":"2"}}')");
  kubectl(R"(patch secret late -p '{"stringData":{"k":"3"}}')");
  EXPECT_TRUE(cluster.wait_pod_ready("env"));
  EXPECT_TRUE(cluster.wait_pod_ready("vol"));
  EXPECT_EQ(in("echo $A", "env") + in("cat /v/k", "vol"), "2\n3");
  // Nobody asks again and again: the waiting cost one watch each.
  EXPECT_LT(cluster.metric("n1", "trama_api_requests_total"), 200);
}

}  // namespace
}  // namespace trama::test
