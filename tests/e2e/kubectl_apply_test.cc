// SPDX-License-Identifier: GPL-2.0-or-later
// `kubectl apply` in both forms: who owns which field, and who may change it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/kubectl.h"

namespace trama::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(Kubectl, ApplyIsIdempotentAndValidates) {
  EXPECT_THAT(kubectl("apply -f -", kDeployment), HasSubstr("deployment.apps/web created"));
  EXPECT_THAT(kubectl("apply -f -", kDeployment), HasSubstr("deployment.apps/web unchanged"));
  std::string changed = kDeployment;
  changed.replace(changed.find("replicas: 2"), 11, "replicas: 3");
  EXPECT_THAT(kubectl("apply -f -", changed), HasSubstr("deployment.apps/web configured"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas} {.metadata.generation}'"), "3 2");
  std::string wrong = kDeployment;
  wrong.replace(wrong.find("replicas: 2"), 11, "replicas: -1");
  EXPECT_THAT(kubectl("apply -f -", wrong, 1), HasSubstr("must be greater than or equal to 0"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas}'"), "3");
}

TEST_F(Kubectl, ServerSideApply) {
  auto config = [](const char* extra, int replicas) {
    return fmt::format(R"(
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - {{name: main, image: "host", command: ["sleep", "1000"]{}}}
)",
                       replicas, extra);
  };
  auto two_ports = ", ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]";
  EXPECT_THAT(kubectl("apply --server-side -f -", config(two_ports, 0)), HasSubstr("serverside-applied"));
  auto ports = "get deploy web -o 'jsonpath={.spec.template.spec.containers[0].ports[*].protocol}'";
  EXPECT_EQ(kubectl(ports), "UDP TCP");
  EXPECT_THAT(kubectl("apply --server-side -f -", config("", 0)), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl(ports), "") << "what is no longer applied goes";
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.template.spec.containers[0].image}'"), "host");

  EXPECT_THAT(kubectl("apply --server-side --field-manager=other -f -", config("", 3), 1),
              AllOf(HasSubstr("conflict with \"kubectl\""), HasSubstr(".spec.replicas")));
  kubectl("scale deploy web --replicas=1");
  EXPECT_THAT(kubectl("apply --server-side -f -", config("", 0), 1), HasSubstr(".spec.replicas"));
  EXPECT_THAT(kubectl("apply --server-side --force-conflicts -f -", config("", 0)), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas}'"), "0");
  if (kubectl_minor() >= 27) {  // before, it looks for dryRun in the older form of the schemas
    EXPECT_THAT(kubectl("apply --server-side --dry-run=server --force-conflicts -f -", config("", 2)),
                HasSubstr("serverside-applied (server dry run)"));
  }
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas}'"), "0");

  // A type that is no longer applied takes the node port that came with it along.
  auto service = [](const char* type) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web"}},
      "spec":{{{}"selector":{{"app":"web"}},"ports":[{{"port":80}}]}}}})",
                       type);
  };
  kubectl("apply --server-side -f -", service(R"("type":"NodePort",)"));
  EXPECT_THAT(kubectl("get svc web -o 'jsonpath={.spec.type} {.spec.ports[0].nodePort}'"), HasSubstr("NodePort 3"));
  auto address = kubectl("get svc web -o 'jsonpath={.spec.clusterIP}'");
  EXPECT_THAT(kubectl("apply --server-side -f -", service("")), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get svc web -o 'jsonpath={.spec.type} {.spec.ports[0].nodePort}'"), "ClusterIP ");
  EXPECT_EQ(kubectl("get svc web -o 'jsonpath={.spec.clusterIP}'"), address) << "addresses stay";

  // From client-side apply to server-side apply.
  auto map = [](const char* value) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m"}},"data":{{"x":"{}"}}}})",
                       value);
  };
  kubectl("apply -f -", map("1"));
  EXPECT_THAT(kubectl("apply --server-side -f -", map("2")), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get cm m -o 'jsonpath={.data.x}'"), "2");
}

TEST_F(Kubectl, EveryWriteHasAManager) {
  auto map = [](const char* data) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m"}},"data":{{{}}}}})", data);
  };
  std::string shown = kubectl_minor() >= 21 ? " --show-managed-fields" : "";
  auto managers = [&](const char* object) {
    return kubectl(std::string("get ") + object + shown +
                   " -o 'jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation}/{.subresource} {end}'");
  };
  kubectl("create configmap c --from-literal=a=1");
  EXPECT_EQ(managers("cm c"), "kubectl-create/Update/ ");
  EXPECT_THAT(kubectl("get cm c -o yaml" + shown), AllOf(HasSubstr("manager: kubectl-create"), HasSubstr("f:a: {}")));
  kubectl("label cm c x=y");
  auto other = R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"2"}})";
  EXPECT_THAT(kubectl("apply --server-side -f -", other, 1),
              AllOf(HasSubstr("conflict with \"kubectl-create\""), HasSubstr(".data.a")));
  EXPECT_THAT(kubectl("apply --server-side --force-conflicts -f -", other), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get cm c -o 'jsonpath={.data.a} {.metadata.labels.x}'"), "2 y");

  kubectl("apply -f -", map(R"("x":"1","y":"1")"));
  EXPECT_EQ(managers("cm m"), "kubectl-client-side-apply/Update/ ");
  EXPECT_THAT(kubectl("apply --server-side -f -", map(R"("x":"2")")), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get cm m -o 'jsonpath={.data.x}'"), "2");
  if (kubectl_minor() >= 26) {  // from then on it takes over what it has applied the other way
    EXPECT_EQ(kubectl("get cm m -o 'jsonpath={.data}'"), R"({"x":"2"})") << "what is no longer applied goes";
    EXPECT_THAT(managers("cm m"), HasSubstr("kubectl/Apply/"));
  }

  auto pod =
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"host"}]},
    "status":{"phase":"Running"}})";
  kubectl("create -f -", pod);
  kubectl(fmt::format("replace --raw '/api/v1/namespaces/{}/pods/p/status?fieldManager=node' -f -", ns_), pod);
  EXPECT_THAT(managers("pod p"), HasSubstr("node/Update/status"));
}

}  // namespace
}  // namespace trama::test
