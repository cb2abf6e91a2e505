// SPDX-License-Identifier: GPL-2.0-or-later
// Deployments, DaemonSets and Jobs through kubectl.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/kubectl.h"

namespace trama::test {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kService = R"(
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
)";

TEST_F(Kubectl, WorkloadsBecomePodsAndSlices) {
  kubectl("apply -f -", kDeployment);
  kubectl("apply -f -", kService);
  EXPECT_THAT(eventually("get deploy web", "0/2"),
              AllOf(HasSubstr("NAME"), HasSubstr("READY"), HasSubstr("UP-TO-DATE"), HasSubstr("AVAILABLE")));
  EXPECT_THAT(eventually("get rs", "2         2"), HasSubstr("DESIRED"));
  EXPECT_THAT(eventually("get pods -o wide", "Pending"),
              AllOf(HasSubstr("NOMINATED NODE"), HasSubstr("READINESS GATES"), HasSubstr("0/1")));
  EXPECT_THAT(eventually("get endpointslices", "web-"), HasSubstr("ADDRESSTYPE"));
  EXPECT_THAT(kubectl("get svc web"), AllOf(HasSubstr("NodePort"), HasSubstr("80:3")));
  EXPECT_THAT(kubectl("get all"), AllOf(HasSubstr("pod/web-"), HasSubstr("service/web"),
                                        HasSubstr("deployment.apps/web"), HasSubstr("replicaset.apps/web-")));
  EXPECT_THAT(kubectl("describe deploy web"), AllOf(HasSubstr("RollingUpdate"), HasSubstr("app=web")));
  EXPECT_THAT(kubectl("describe svc web"), AllOf(HasSubstr("NodePort:"), HasSubstr("app=web")));
  EXPECT_THAT(kubectl("describe pods -l app=web"), HasSubstr("Status:"));
  EXPECT_THAT(cluster("describe ns " + ns_), HasSubstr("Active"));
  EXPECT_THAT(kubectl("scale deploy web --replicas=4"), HasSubstr("scaled"));
  eventually("get rs", "4         4");
  EXPECT_THAT(kubectl("set image deploy/web main=other"), HasSubstr("image updated"));
  eventually("get rs -o 'jsonpath={.items[*].spec.template.spec.containers[0].image}'", "other");
  EXPECT_THAT(kubectl("rollout history deploy/web"), HasSubstr("REVISION"));
  EXPECT_THAT(kubectl("delete deploy,svc web"),
              AllOf(HasSubstr("deployment.apps \"web\" deleted"), HasSubstr("service \"web\" deleted")));
  eventually("get pods", "No resources found");
}

constexpr const char* kDaemonSet = R"(
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      nodeSelector: {disk: ssd}
      containers:
      - {name: main, image: "host", command: ["sleep", "1000"]}
)";

TEST_F(Kubectl, DaemonSetsAndJobsOnPaper) {
  EXPECT_THAT(cluster("api-resources"),
              AllOf(ContainsRegex("daemonsets +ds +(true +)?apps(/v1)?"), ContainsRegex("jobs +(true +)?batch(/v1)?")));
  EXPECT_THAT(kubectl("apply -f -", kDaemonSet), HasSubstr("daemonset.apps/probe created"));
  EXPECT_THAT(kubectl("apply -f -", kDaemonSet), HasSubstr("daemonset.apps/probe unchanged"));
  EXPECT_THAT(eventually("get ds", "disk=ssd"),
              AllOf(HasSubstr("NODE SELECTOR"), ContainsRegex("probe +0 +0 +0 +0 +0 +disk=ssd")));
  EXPECT_THAT(kubectl("describe ds probe"), AllOf(HasSubstr("Node-Selector:  disk=ssd"), HasSubstr("app=probe")));
  std::string moved = kDaemonSet;
  for (auto at = moved.find("app: probe"); at != std::string::npos; at = moved.find("app: probe"))
    moved.replace(at, 10, "app: other");
  EXPECT_THAT(kubectl("apply -f -", moved, 1), AllOf(HasSubstr("spec.selector"), HasSubstr("field is immutable")));

  EXPECT_THAT(kubectl("apply -f -", kJob), HasSubstr("job.batch/load created"));
  EXPECT_THAT(kubectl("apply -f -", kJob), HasSubstr("job.batch/load unchanged"));
  EXPECT_THAT(eventually("get jobs", "0/3"), AllOf(HasSubstr("COMPLETIONS"), ContainsRegex("load +Running +0/3")));
  EXPECT_THAT(eventually("describe job load", "SuccessfulCreate"),
              AllOf(ContainsRegex("Parallelism: +2"), ContainsRegex("Completions: +3")));
  EXPECT_THAT(eventually("get pods -l job-name=load", "Pending"), HasSubstr("load-"));
  EXPECT_THAT(kubectl("get all"), AllOf(HasSubstr("daemonset.apps/probe"), HasSubstr("job.batch/load")));
  EXPECT_THAT(kubectl("get jobs --field-selector status.successful=0 -o name"), HasSubstr("job.batch/load"));
  EXPECT_THAT(kubectl("get jobs --field-selector status.successful=1 -o name"), Not(HasSubstr("job.batch/load")));
  std::string changed = kJob;
  changed.replace(changed.find("\"true\""), 6, "\"false\"");
  EXPECT_THAT(kubectl("apply -f -", changed, 1), AllOf(HasSubstr("spec.template"), HasSubstr("field is immutable")));
  std::string forever = kJob;
  forever.replace(forever.find("restartPolicy: Never"), 20, "restartPolicy: Always");
  forever.replace(forever.find("load"), 4, "ever");
  EXPECT_THAT(kubectl("apply -f -", forever, 1),
              HasSubstr("spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""));
  EXPECT_THAT(kubectl("delete job,ds --all"), AllOf(HasSubstr("\"load\" deleted"), HasSubstr("\"probe\" deleted")));
  eventually("get pods", "No resources found");
}

TEST_F(Kubectl, DaemonSetsRememberAndGoBack) {
  auto image = "get ds probe -o 'jsonpath={.spec.template.spec.containers[0].image}'";
  kubectl("apply -f -", kDaemonSet);
  eventually("rollout history ds/probe", "\n1 ");
  kubectl("annotate ds probe kubernetes.io/change-cause='two is better'");
  kubectl("set image ds/probe main=dir:/two");
  EXPECT_THAT(eventually("rollout history ds/probe", "\n2 "), ContainsRegex("2 +two is better"));
  EXPECT_THAT(kubectl("rollout history ds/probe --revision=1"), ContainsRegex("Image:\t *host"));
  EXPECT_THAT(kubectl("rollout history ds/probe --revision=2"), ContainsRegex("Image:\t *dir:/two"));
  EXPECT_THAT(kubectl("get controllerrevisions"),
              AllOf(ContainsRegex("CONTROLLER +REVISION"), ContainsRegex("probe-[a-z0-9]+ +daemonset.apps/probe +1 "),
                    ContainsRegex("probe-[a-z0-9]+ +daemonset.apps/probe +2 ")));
  EXPECT_THAT(eventually("rollout status ds/probe --timeout=5s", "successfully rolled out"), HasSubstr("probe"));

  EXPECT_THAT(kubectl("rollout undo ds/probe"), HasSubstr("rolled back"));
  EXPECT_EQ(kubectl(image), "host");
  EXPECT_THAT(eventually("rollout history ds/probe", "\n3 "), Not(HasSubstr("\n1 "))) << "the old one has a new number";
  kubectl("set image ds/probe main=dir:/four");
  eventually("rollout history ds/probe", "\n4 ");
  EXPECT_THAT(kubectl("rollout undo ds/probe --to-revision=2"), HasSubstr("rolled back"));
  EXPECT_EQ(kubectl(image), "dir:/two");
  EXPECT_EQ(kubectl("get ds probe -o 'jsonpath={.spec.template.spec.nodeSelector.disk}'"), "ssd");
  EXPECT_THAT(kubectl("rollout undo ds/probe --to-revision=9", "", 1), HasSubstr("unable to find specified revision"));
  kubectl(R"(patch ds probe -p '{"spec":{"revisionHistoryLimit":1}}')");
  for (int tries = 0; tries < 100 && kubectl("get controllerrevisions -o name").size() > 100;) ++tries;
  auto kept = kubectl("get controllerrevisions -o 'jsonpath={.items[*].revision}'");
  EXPECT_THAT(kept, AnyOf("4 5", "5 4"));
  kubectl("delete ds probe");
  for (int tries = 0; tries < 100 && !kubectl("get controllerrevisions -o name").empty();) ++tries;
  EXPECT_EQ(kubectl("get controllerrevisions -o name"), "") << "history goes with its owner";
}

TEST_F(Kubectl, DeploymentsRememberAndGoBack) {
  auto image = "get deploy web -o 'jsonpath={.spec.template.spec.containers[0].image}'";
  std::string none = kDeployment;
  none.replace(none.find("replicas: 2"), 11, "replicas: 0");
  kubectl("apply -f -", none);
  eventually("rollout history deploy/web", "\n1 ");
  kubectl("annotate deploy web kubernetes.io/change-cause='as it was'");
  eventually("rollout history deploy/web", "as it was");
  kubectl("set image deploy/web main=dir:/two");
  kubectl("annotate deploy web kubernetes.io/change-cause='two' --overwrite");
  EXPECT_THAT(eventually("rollout history deploy/web", "2         two"), ContainsRegex("1 +as it was"));
  EXPECT_THAT(kubectl("rollout history deploy/web --revision=2"), ContainsRegex("Image:\t *dir:/two"));
  kubectl("set image deploy/web main=dir:/three");
  eventually("rollout history deploy/web", "\n3 ");
  EXPECT_THAT(kubectl("rollout undo deploy/web --to-revision=1"), HasSubstr("rolled back"));
  EXPECT_EQ(kubectl(image), "host");
  EXPECT_THAT(eventually("rollout history deploy/web", "\n4 "),
              AllOf(ContainsRegex("4 +as it was"), Not(HasSubstr("\n1 "))));
  EXPECT_EQ(kubectl("get rs -o 'jsonpath={.items[?(@.spec.template.spec.containers[0].image==\"host\")].metadata."
                    "annotations.deployment\\.kubernetes\\.io/revision-history}'"),
            "1");
  EXPECT_THAT(kubectl("rollout undo deploy/web"), HasSubstr("rolled back"));
  EXPECT_EQ(kubectl(image), "dir:/three");
  EXPECT_THAT(kubectl("rollout undo deploy/web --to-revision=9", "", 1),
              HasSubstr("unable to find specified revision"));
  EXPECT_THAT(kubectl("rollout pause deploy/web"), HasSubstr("paused"));
  EXPECT_THAT(kubectl("rollout undo deploy/web", "", 1), HasSubstr("paused"));
}

}  // namespace
}  // namespace trama::test
