// SPDX-License-Identifier: GPL-2.0-or-later
// What people type with kubectl about objects of any kind: find, change, watch, explain.
#include <algorithm>
#include <cstdlib>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/kubectl.h"

namespace trama::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST_F(Kubectl, DiscoveryAndVersion) {
  EXPECT_THAT(cluster("version"), HasSubstr("trama"));
  EXPECT_THAT(cluster("api-resources"), AllOf(HasSubstr("deploy"), HasSubstr("EndpointSlice"), HasSubstr("csr")));
  EXPECT_THAT(cluster("api-versions"), HasSubstr("apps/v1"));
  EXPECT_THAT(cluster("cluster-info"), HasSubstr("running at"));
  EXPECT_THAT(cluster("get unicorns", "", 1), HasSubstr("the server doesn't have a resource type \"unicorns\""));
}

TEST_F(Kubectl, PatchesLabelsAndSelectors) {
  for (const char* name : {"a", "b"})
    kubectl(
        "create -f -",
        fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"x":"1"}}}})", name));
  EXPECT_THAT(kubectl("label cm a tier=front"), HasSubstr("labeled"));
  EXPECT_THAT(kubectl("annotate cm a note='some words'"), HasSubstr("annotate"));  // 1.27 prints just that
  EXPECT_THAT(kubectl("get cm -l tier=front -o name"), AllOf(HasSubstr("configmap/a"), Not(HasSubstr("configmap/b"))));
  EXPECT_THAT(kubectl("get cm -l 'tier notin (front)' -o name"),
              AllOf(HasSubstr("configmap/b"), Not(HasSubstr("configmap/a"))));
  EXPECT_THAT(kubectl("get cm --field-selector metadata.name=b -o name"),
              AllOf(HasSubstr("configmap/b"), Not(HasSubstr("configmap/a"))));
  EXPECT_THAT(kubectl("get cm --field-selector spec.x=b", "", 1), HasSubstr("field label not supported"));
  kubectl(R"(patch cm a -p '{"data":{"y":"2"}}')");
  kubectl(R"(patch cm a --type merge -p '{"data":{"x":null}}')");
  kubectl(R"(patch cm a --type json -p '[{"op":"add","path":"/data/z","value":"3"}]')");
  EXPECT_EQ(kubectl("get cm a -o 'jsonpath={.data}'"), R"({"y":"2","z":"3"})");
  EXPECT_THAT(kubectl(R"(patch cm a --type json -p '[{"op":"test","path":"/data/z","value":"4"}]')", "", 1),
              HasSubstr("z"));
  EXPECT_THAT(kubectl("label cm a tier-"), HasSubstr("a"));
  EXPECT_THAT(kubectl("get cm a --show-labels"), HasSubstr("<none>"));
}

TEST_F(Kubectl, ReplaceConflicts) {
  kubectl("create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"}})");
  auto stale = kubectl("get cm a -o json");
  kubectl("label cm a x=y");
  EXPECT_THAT(kubectl("replace -f -", stale, 1), HasSubstr("the object has been modified"));
  EXPECT_THAT(kubectl("create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}})", 1),
              HasSubstr("AlreadyExists"));
  kubectl("delete cm a");
  EXPECT_THAT(kubectl("get cm a", "", 1), HasSubstr("configmaps \"a\" not found"));
  EXPECT_THAT(kubectl("delete cm a", "", 1), HasSubstr("NotFound"));
}

TEST_F(Kubectl, WatchAndWait) {
  auto& c = KubectlCluster::instance();
  std::string out;
  std::thread watcher([&] { out = c.kubectl("-n " + ns_ + " get cm -w --request-timeout=6s").out; });
  // Something to see at once and something after the watch has begun; a change each time round.
  for (int i = 0; i < 8; ++i) {
    auto r =
        popen(fmt::format("echo '{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"w{}\"}}}}' | "
                          "HOME={} {} --kubeconfig {}/admin.kubeconfig -n {} create -f - >/dev/null 2>&1",
                          i, c.dir, kubectl_path(), c.dir, ns_)
                  .c_str(),
              "r");
    if (r) pclose(r);
  }
  watcher.join();
  EXPECT_THAT(out, HasSubstr("NAME"));
  EXPECT_THAT(out, HasSubstr("w7")) << "changes after the list are shown by the watch";
  EXPECT_EQ(out.find("NAME"), out.rfind("NAME")) << "one header for list and watch together:\n" << out;
  kubectl("delete cm --all --wait=true");
  kubectl(
      "create -f -",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"nodeName":"nowhere","containers":[{"name":"c","image":"host"}]}})");
  EXPECT_THAT(kubectl("wait --for=condition=Ready pod/p --timeout=1s", "", 1), HasSubstr("timed out"));
  EXPECT_THAT(kubectl("delete pod p --grace-period=0 --force"), HasSubstr("deleted"));
}

TEST_F(Kubectl, NodesCordonAndTaint) {
  auto node = ns_ + "-node";
  cluster("create -f -", fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}}}})", node));
  EXPECT_THAT(cluster("cordon " + node), HasSubstr("cordoned"));
  EXPECT_THAT(cluster("get nodes"), HasSubstr("SchedulingDisabled"));
  EXPECT_THAT(cluster("uncordon " + node), HasSubstr("uncordoned"));
  EXPECT_THAT(cluster(fmt::format("taint node {} k=v:NoSchedule", node)), HasSubstr("tainted"));
  EXPECT_THAT(cluster("describe node " + node), AllOf(HasSubstr("k=v:NoSchedule"), HasSubstr("PodCIDR")));
  cluster("delete node " + node);
}

TEST_F(Kubectl, ManyObjectsInChunks) {
  std::string list;
  for (int i = 0; i < 30; ++i)
    list += fmt::format(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{:02}, labels: {{many: yes-it-is}}}}\n", i);
  kubectl("create -f -", list);
  auto names = kubectl("get cm -l many --chunk-size=7 -o name");
  EXPECT_EQ(std::count(names.begin(), names.end(), '\n'), 30);
  auto sorted = kubectl("get cm -l many --sort-by=.metadata.name --no-headers");
  EXPECT_LT(sorted.find("c00"), sorted.find("c29"));
}

// Generators of kubectl: from 1.32 on their bodies are protobuf.
TEST_F(Kubectl, CreatesWithoutFiles) {
  EXPECT_THAT(kubectl("create deployment web --image=host --replicas=0 --port=80 -- sleep 1000"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create service nodeport web --tcp=80:8080"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create configmap settings --from-literal=a=1"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create secret generic key --from-literal=p=s3cret"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create serviceaccount robot"), HasSubstr("created"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].command[0]}'"),
            "0 sleep");
  EXPECT_EQ(kubectl("get svc web -o 'jsonpath={.spec.type} {.spec.ports[0].targetPort}'"), "NodePort 8080");
  EXPECT_EQ(kubectl("get cm settings -o 'jsonpath={.data.a}'"), "1");
  EXPECT_EQ(kubectl("get secret key -o 'jsonpath={.data.p}'"), "czNjcmV0");
  EXPECT_THAT(cluster("create namespace " + ns_, "", 1), HasSubstr("already exists"));
  EXPECT_THAT(kubectl("create configmap settings --from-literal=a=2", "", 1), HasSubstr("already exists"));
}

TEST_F(Kubectl, ExplainsEveryKind) {
  if (kubectl_minor() < 27) GTEST_SKIP() << "kubectl before 1.27 reads another form of the schemas";
  EXPECT_THAT(cluster("explain pod"), AllOf(HasSubstr("KIND:       Pod"), HasSubstr("VERSION:    v1"),
                                            HasSubstr("A pod is a group of containers"), HasSubstr("<PodSpec>")));
  EXPECT_THAT(cluster("explain pod.spec.containers"),
              AllOf(HasSubstr("FIELD: containers <[]Container>"), HasSubstr("image\t<string>"),
                    HasSubstr("name\t<string> -required-"), HasSubstr("livenessProbe\t<Probe>")));
  EXPECT_THAT(cluster("explain pod.spec.containers.livenessProbe.httpGet.port"), HasSubstr("<IntOrString>"));
  EXPECT_THAT(cluster("explain deployment.spec.strategy.type"),
              AllOf(HasSubstr("GROUP:      apps"), HasSubstr("RollingUpdate or Recreate")));
  EXPECT_THAT(cluster("explain svc --recursive"), AllOf(HasSubstr("clientIP"), HasSubstr("timeoutSeconds")));
  EXPECT_THAT(cluster("explain events --api-version=events.k8s.io/v1"), HasSubstr("regarding"));
  for (const char* resource : {"ns", "no", "svc", "ev", "cm", "secret", "sa", "rs", "endpointslice", "lease", "csr"})
    EXPECT_THAT(cluster(std::string("explain ") + resource),
                AllOf(HasSubstr("KIND:"), HasSubstr("metadata\t<ObjectMeta>")))
        << resource;
  for (const char* resource : {"endpoints", "controllerrevisions"})
    EXPECT_THAT(cluster(std::string("explain ") + resource), HasSubstr("metadata\t<ObjectMeta>")) << resource;
  EXPECT_THAT(cluster("explain selfsubjectaccessreview.spec"), HasSubstr("resourceAttributes"));
  EXPECT_THAT(cluster("explain pod.spec.nonsense", "", 1), HasSubstr("nonsense"));
}

TEST_F(Kubectl, UnknownFieldsAreRefusedByTheServer) {
  if (kubectl_minor() < 27) GTEST_SKIP() << "kubectl before 1.27 checks fields itself or not at all";
  EXPECT_THAT(
      kubectl("create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"daata":{"x":"1"}})", 1),
      HasSubstr("unknown field \"daata\""));
}

TEST_F(Kubectl, NamespacesGoWithTheirContent) {
  auto victim = ns_ + "-gone";
  cluster("create -f -", fmt::format(R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}})", victim));
  cluster("-n " + victim + " create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}})");
  cluster("-n " + victim + " apply -f -", kJob);
  for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       cluster("-n " + victim + " get pods -o name").empty() && std::chrono::steady_clock::now() < end;) {
  }
  EXPECT_THAT(cluster("-n " + victim + " get pods -o 'jsonpath={.items[*].metadata.finalizers}'"),
              HasSubstr("batch.kubernetes.io/job-tracking"));
  EXPECT_THAT(cluster("delete ns " + victim), HasSubstr("deleted"));
  EXPECT_THAT(cluster("get ns " + victim, "", 1), HasSubstr("not found"));
  EXPECT_THAT(cluster("-n " + victim + " get cm a", "", 1), HasSubstr("not found"));
  for (const char* kept : {"default", "kube-system", "kube-public"})
    EXPECT_THAT(cluster(std::string("delete ns ") + kept, "", 1),
                HasSubstr(fmt::format("namespaces \"{}\" is forbidden: this namespace may not be deleted", kept)));
  EXPECT_THAT(cluster("get svc kubernetes -n default"), HasSubstr("443/TCP"));
}

// As upstream: what every namespace has, and what a pod gets by it.
TEST_F(Kubectl, EveryNamespaceHasItsAccountAndTheClustersCa) {
  eventually("get serviceaccount default -o name", "serviceaccount/default");
  eventually("get cm kube-root-ca.crt -o yaml", "BEGIN CERTIFICATE");
  EXPECT_THAT(kubectl("delete cm kube-root-ca.crt"), HasSubstr("deleted"));
  eventually("get cm kube-root-ca.crt -o yaml", "BEGIN CERTIFICATE");
  kubectl("apply -f -", kDeployment);
  auto volumes = eventually("get pods -l app=web -o 'jsonpath={.items[0].spec.volumes[0]}'", "kube-api-access-");
  EXPECT_THAT(volumes, AllOf(HasSubstr("\"expirationSeconds\":3607"), HasSubstr("kube-root-ca.crt")));
  EXPECT_THAT(kubectl("get deploy web -o 'jsonpath={.spec.template.spec.volumes}'"), testing::Not(HasSubstr("kube")));
  EXPECT_THAT(
      kubectl("run lost --image=host --overrides='{\"spec\":{\"serviceAccountName\":\"nobody\"}}' -- sleep 1", "", 1),
      HasSubstr("error looking up service account " + ns_ + "/nobody: serviceaccount \"nobody\" not found"));
  kubectl("create -f -", R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"mute"},"spec":{
    "automountServiceAccountToken":false,"containers":[{"name":"c","image":"host","command":["sleep"]}]}})");
  EXPECT_EQ(kubectl("get pod mute -o 'jsonpath={.spec.serviceAccountName}{.spec.volumes}'"), "default");
}

TEST_F(Kubectl, ConfigMapsAndSecretsAreChecked) {
  kubectl("create configmap fixed --from-literal=a=1");
  kubectl(R"(patch cm fixed -p '{"immutable":true}')");
  EXPECT_THAT(kubectl(R"(patch cm fixed -p '{"data":{"a":"2"}}')", "", 1),
              HasSubstr("data: Forbidden: field is immutable when `immutable` is set"));
  EXPECT_EQ(kubectl("get cm fixed -o 'jsonpath={.data.a}'"), "1");
  auto tls =
      R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"t"},"type":"kubernetes.io/tls","stringData":{"tls.crt":"c"%s}})";
  std::string half = tls, whole = tls;
  half.replace(half.find("%s"), 2, "");
  whole.replace(whole.find("%s"), 2, R"(,"tls.key":"k")");
  EXPECT_THAT(kubectl("create -f -", half, 1), HasSubstr("data[tls.key]: Required value"));
  kubectl("create -f -", whole);
  EXPECT_EQ(kubectl("get secret t -o 'jsonpath={.data.tls\\.key} {.stringData}'"), "aw== ")
      << "stringData is never shown";
  EXPECT_THAT(kubectl("create secret docker-registry r --docker-server=example.com --docker-username=u "
                      "--docker-password=p"),
              HasSubstr("created"));
}

// What kubectl makes of our refusals depends on their details.
TEST_F(Kubectl, RefusalsReadAsUpstreams) {
  EXPECT_THAT(
      kubectl("create -f -",
              R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"Bad"},"spec":{"ports":[{"port":80}]}})", 1),
      HasSubstr("The Service \"Bad\" is invalid: "));
  EXPECT_THAT(kubectl("create deployment Bad --image=host", "", 1), HasSubstr("Deployment.apps \"Bad\" is invalid: "));
  EXPECT_THAT(kubectl("get deployment nosuch", "", 1),
              HasSubstr("Error from server (NotFound): deployments.apps \"nosuch\" not found"));
  kubectl("run idle --image=host -- sleep 1000");
  EXPECT_THAT(kubectl("autoscale deployment nosuch --max=3", "", 1), HasSubstr("(NotFound)"));
  // It looks into the details of a 404 without asking whether there are any.
  if (kubectl_minor() >= 30) {
    EXPECT_THAT(kubectl("debug idle --image=host", "", 1),
                HasSubstr("ephemeral containers are disabled for this cluster"));
  }
  EXPECT_THAT(kubectl("logs idle", "", 1), HasSubstr("(BadRequest): pod idle does not have a host assigned"));
}

}  // namespace
}  // namespace trama::test
