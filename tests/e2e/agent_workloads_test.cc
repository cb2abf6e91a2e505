// SPDX-License-Identifier: GPL-2.0-or-later
// DaemonSets and Jobs with real agents, seen and steered with kubectl.
#include <cstdlib>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

std::string daemon_set(const std::string& version, const std::string& more = "") {
  return R"(
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 1
)" + more +
         R"(      containers:
        - {name: main, image: host, command: [sh, -c, "exec sleep infinity"], env: [{name: VERSION, value: ")" +
         version + R"("}]}
)";
}

std::string job(const std::string& name, const std::string& spec, const std::string& command) {
  return "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: " + name + "}\nspec:\n  " + spec +
         "\n  template:\n    spec:\n      restartPolicy: Never\n      terminationGracePeriodSeconds: 1\n      "
         "containers:\n"
         "        - {name: main, image: host, command: [sh, -c, '" +
         command + "']}\n";
}

class Workloads : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    for (auto name : {"n1", "n2"}) cluster.add_node(name);
    ASSERT_TRUE(cluster.ok());
    for (auto name : {"n1", "n2"}) ASSERT_TRUE(cluster.wait_node_ready(name));
  }
  std::string kubectl(const std::string& arguments, int status = 0) { return cluster.kubectl(arguments, status); }
  // "n1 n2": where ready pods with the label are, a node for each.
  std::string nodes_of(const std::string& label, const std::string& version = "") {
    std::multiset<std::string> nodes;
    auto list = cluster.get("pods -l " + label);
    if (!list.is_object()) return "?";
    for (const auto& v : api::array_at(list.get_object(), "items")) {
      const auto& pod = v.get_object();
      if (api::at(pod, "metadata.deletionTimestamp")) continue;
      if (!version.empty() &&
          json::serialize(api::array_at(pod, "spec.containers")).find("\"" + version + "\"") == std::string::npos)
        continue;
      for (const auto& c : api::array_at(pod, "status.conditions"))
        if (api::text_at(c.get_object(), "type") == "Ready" && api::text_at(c.get_object(), "status") == "True")
          nodes.insert(api::text_at(pod, "spec.nodeName"));
    }
    return fmt::format("{}", fmt::join(nodes, " "));
  }
  bool runs_on(const std::string& nodes, const std::string& version = "") {
    bool there = eventually([&] { return nodes_of("app=probe", version) == nodes; }, 20000);
    EXPECT_TRUE(there) << "wanted on " << nodes << ", is on " << nodes_of("app=probe", version) << "\n"
                       << kubectl("describe ds probe") << kubectl("get pods -o wide");
    return there;
  }
  std::int64_t number(const std::string& what, const std::string& path) {
    auto o = cluster.get(what);
    return o.is_object() ? api::int_at(o.get_object(), path) : -1;
  }
  Cluster cluster;
};

TEST_F(Workloads, ADaemonOnEveryNodeAlsoOnALaterOne) {
  up();
  ASSERT_TRUE(cluster.apply(daemon_set("one")));
  ASSERT_TRUE(runs_on("n1 n2"));
  EXPECT_THAT(kubectl("rollout status ds/probe --timeout=30s"), HasSubstr("successfully rolled out"));
  EXPECT_THAT(kubectl("get ds probe -o wide"),
              AllOf(HasSubstr("NODE SELECTOR"), HasSubstr("UP-TO-DATE"),
                    ContainsRegex("probe +2 +2 +2 +2 +2 +<none> .* main +host +app=probe")));
  cluster.add_node("n3");
  ASSERT_TRUE(cluster.ok());
  ASSERT_TRUE(runs_on("n1 n2 n3"));
  // A cordoned node keeps its daemon, and gets it back.
  kubectl("cordon n2");
  kubectl("delete pod -l app=probe --field-selector spec.nodeName=n2");
  ASSERT_TRUE(runs_on("n1 n2 n3"));
  EXPECT_THAT(kubectl("drain n2", 1), HasSubstr("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"));
  EXPECT_THAT(kubectl("drain n2 --ignore-daemonsets"), HasSubstr("drained"));
  EXPECT_EQ(nodes_of("app=probe"), "n1 n2 n3");
  kubectl("uncordon n2");
  EXPECT_THAT(kubectl("describe ds probe"),
              AllOf(HasSubstr("Desired Number of Nodes Scheduled: 3"), HasSubstr("SuccessfulCreate"),
                    HasSubstr("daemonset-controller"), HasSubstr("3 Running / 0 Waiting / 0 Succeeded / 0 Failed")));
  EXPECT_THAT(kubectl("get all"), HasSubstr("daemonset.apps/probe"));
  EXPECT_THAT(kubectl("delete ds probe"), HasSubstr("daemonset.apps \"probe\" deleted"));
  EXPECT_TRUE(eventually([&] { return kubectl("get pods").find("No resources found") != std::string::npos; }, 15000));
}

TEST_F(Workloads, DaemonsFollowTheNodeSelector) {
  up();
  ASSERT_TRUE(cluster.apply(daemon_set("one", "      nodeSelector: {disk: ssd}\n")));
  EXPECT_TRUE(eventually([&] { return number("ds probe", "status.observedGeneration") == 1; }));
  EXPECT_EQ(number("ds probe", "status.desiredNumberScheduled"), 0);
  EXPECT_EQ(nodes_of("app=probe"), "");
  kubectl("label node n2 disk=ssd");
  ASSERT_TRUE(runs_on("n2"));
  kubectl("label node n1 disk=ssd");
  ASSERT_TRUE(runs_on("n1 n2"));
  kubectl("label node n2 disk-");
  ASSERT_TRUE(runs_on("n1"));
  kubectl(R"(patch ds probe -p '{"spec":{"template":{"spec":{"nodeSelector":null}}}}')");
  ASSERT_TRUE(runs_on("n1 n2"));
  kubectl("taint node n2 gpu=yes:NoExecute");
  ASSERT_TRUE(runs_on("n1"));
  kubectl("taint node n2 gpu-");
  ASSERT_TRUE(runs_on("n1 n2"));
}

TEST_F(Workloads, DaemonsAreReplacedOneAfterTheOther) {
  up();
  ASSERT_TRUE(cluster.apply(daemon_set("one")));
  ASSERT_TRUE(runs_on("n1 n2", "one"));
  ASSERT_TRUE(cluster.apply(daemon_set("two")));
  std::string seen = kubectl("rollout status ds/probe --timeout=60s");
  EXPECT_THAT(seen, HasSubstr("successfully rolled out"));
  ASSERT_TRUE(runs_on("n1 n2", "two"));
  EXPECT_EQ(number("ds probe", "status.updatedNumberScheduled"), 2);
  // Two deletions, each followed by a creation: never both at once.
  std::string events;
  EXPECT_TRUE(eventually([&] {
    events = kubectl("get events --field-selector involvedObject.name=probe,involvedObject.kind=DaemonSet");
    return events.find("SuccessfulDelete") != events.rfind("SuccessfulDelete");
  })) << events;
  EXPECT_THAT(kubectl("rollout restart ds/probe"), HasSubstr("restarted"));
  EXPECT_THAT(kubectl("rollout status ds/probe --timeout=60s"), HasSubstr("successfully rolled out"));
  kubectl(
      R"(patch ds probe -p '{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null},"template":{"metadata":{"annotations":{"v":"4"}}}}}')");
  EXPECT_TRUE(eventually([&] {
    return number("ds probe", "status.observedGeneration") == number("ds probe", "metadata.generation") &&
           number("ds probe", "status.updatedNumberScheduled") == 0;
  }));
  kubectl("delete pod -l app=probe --field-selector spec.nodeName=n1");
  EXPECT_TRUE(eventually([&] { return number("ds probe", "status.updatedNumberScheduled") == 1; }, 15000));
  ASSERT_TRUE(runs_on("n1 n2"));
}

TEST_F(Workloads, AJobRunsToItsEnd) {
  up();
  ASSERT_TRUE(cluster.apply(job("load", "completions: 3\n  parallelism: 2", "echo working on $TRAMA_NODE; sleep 1")));
  EXPECT_THAT(kubectl("wait --for=condition=Complete job/load --timeout=60s"), HasSubstr("condition met"));
  EXPECT_THAT(kubectl("get jobs load -o wide"),
              AllOf(HasSubstr("COMPLETIONS"), HasSubstr("DURATION"), ContainsRegex("load +Complete +3/3 +[0-9]+s"),
                    HasSubstr("batch.kubernetes.io/controller-uid=")));
  EXPECT_THAT(kubectl("describe job load"),
              AllOf(ContainsRegex("Completions: +3"), ContainsRegex("0 .*/ 3 Succeeded / 0 Failed"),
                    HasSubstr("SuccessfulCreate"), HasSubstr("Completed"), HasSubstr("Job completed")));
  EXPECT_THAT(kubectl("logs job/load"), HasSubstr("working on n"));
  EXPECT_EQ(kubectl("get pods -l job-name=load -o 'jsonpath={.items[*].status.phase}'"),
            "Succeeded Succeeded Succeeded");
  EXPECT_EQ(kubectl("get pods -l job-name=load -o 'jsonpath={.items[*].metadata.finalizers}'"), "");
  EXPECT_THAT(kubectl("delete job load"), HasSubstr("job.batch \"load\" deleted"));
  EXPECT_TRUE(eventually([&] { return kubectl("get pods").find("No resources found") != std::string::npos; }, 15000));
}

TEST_F(Workloads, AnIndexedJobDoesEveryIndexOnce) {
  up();
  ASSERT_TRUE(cluster.apply(job("part", "completions: 4\n  parallelism: 4\n  completionMode: Indexed",
                                "echo part $JOB_COMPLETION_INDEX at $(hostname)")));
  EXPECT_THAT(kubectl("wait --for=condition=Complete job/part --timeout=60s"), HasSubstr("condition met"));
  EXPECT_EQ(kubectl("get job part -o 'jsonpath={.status.completedIndexes} {.status.succeeded}'"), "0-3 4");
  std::string logs;
  for (int i = 0; i < 4; ++i) logs += kubectl(fmt::format("logs -l batch.kubernetes.io/job-completion-index={}", i));
  for (int i = 0; i < 4; ++i) EXPECT_THAT(logs, HasSubstr(fmt::format("part {} at part-{}", i, i)));
}

TEST_F(Workloads, AFailingJobReachesItsLimit) {
  up();
  ASSERT_TRUE(cluster.apply(job("bad", "backoffLimit: 2", "exit 3")));
  EXPECT_THAT(kubectl("wait --for=condition=Failed job/bad --timeout=60s"), HasSubstr("condition met"));
  EXPECT_EQ(kubectl("get job bad -o 'jsonpath={.status.failed} {.status.conditions[?(@.type==\"Failed\")].reason}'"),
            "3 BackoffLimitExceeded");
  EXPECT_THAT(kubectl("describe job bad"),
              AllOf(HasSubstr("BackoffLimitExceeded"), HasSubstr("Job has reached the specified backoff limit")));
  EXPECT_THAT(kubectl("get job bad"), ContainsRegex("bad +Failed +0/1"));
  // One that takes too long.
  ASSERT_TRUE(cluster.apply(job("slow", "activeDeadlineSeconds: 2", "sleep 1000")));
  EXPECT_THAT(kubectl("wait --for=condition=Failed job/slow --timeout=60s"), HasSubstr("condition met"));
  EXPECT_EQ(kubectl("get job slow -o 'jsonpath={.status.conditions[?(@.type==\"Failed\")].reason}'"),
            "DeadlineExceeded");
  EXPECT_TRUE(eventually(
      [&] { return kubectl("get pods -l job-name=slow").find("No resources found") != std::string::npos; }, 15000));
}

TEST_F(Workloads, AKilledControllerCountsNoPodTwiceAndNoneNever) {
  up();
  ASSERT_TRUE(cluster.apply(job("load", "completions: 16\n  parallelism: 4", "sleep 0.4")));
  for (std::int64_t done : {2, 6, 10}) {
    ASSERT_TRUE(eventually([&] { return number("job load", "status.succeeded") >= done; }, 20000));
    cluster.stop_controller(9);
    cluster.start_controller();
    ASSERT_TRUE(cluster.ok());
  }
  EXPECT_THAT(kubectl("wait --for=condition=Complete job/load --timeout=60s"), HasSubstr("condition met"));
  EXPECT_EQ(number("job load", "status.succeeded"), 16);
  EXPECT_EQ(number("job load", "status.failed"), 0);
  std::string phases;
  for (int i = 0; i < 16; ++i) phases += i == 0 ? "Succeeded" : " Succeeded";
  EXPECT_EQ(kubectl("get pods -l job-name=load -o 'jsonpath={.items[*].status.phase}'"), phases);
}

TEST_F(Workloads, PodsOfANodeThatIsGoneForGoodAreFailuresAndAreReplaced) {
  up();
  ASSERT_TRUE(cluster.apply(
      job("pair", "completions: 2\n  parallelism: 2", "if [ $TRAMA_NODE = n2 ]; then sleep 1000; fi; sleep 1")));
  auto stuck = [&] {
    return kubectl("get pods -l job-name=pair --field-selector spec.nodeName=n2,status.phase=Running -o name");
  };
  ASSERT_TRUE(eventually([&] { return !stuck().empty(); }, 15000)) << "pods of one Job are spread";
  cluster.stop_agent("n2", 9);
  kubectl("delete node n2");
  EXPECT_THAT(kubectl("wait --for=condition=Complete job/pair --timeout=60s"), HasSubstr("condition met"));
  EXPECT_EQ(kubectl("get job pair -o 'jsonpath={.status.succeeded} {.status.failed}'"), "2 1");
  EXPECT_EQ(stuck(), "");
}

TEST_F(Workloads, SuspendedDeletedAndExpiredJobsLeaveNothing) {
  up();
  auto gone = [&](const std::string& name) {
    return eventually(
        [&] { return kubectl("get pods -l job-name=" + name).find("No resources found") != std::string::npos; }, 20000);
  };
  ASSERT_TRUE(cluster.apply(job("long", "parallelism: 2\n  completions: 2", "sleep 1000")));
  EXPECT_TRUE(eventually([&] { return number("job long", "status.ready") == 2; }, 15000));
  kubectl(R"(patch job long -p '{"spec":{"suspend":true}}')");
  EXPECT_TRUE(gone("long"));
  EXPECT_EQ(number("job long", "status.failed"), 0);
  EXPECT_THAT(kubectl("get job long -o 'jsonpath={.status.conditions[?(@.type==\"Suspended\")].status}'"),
              HasSubstr("True"));
  kubectl(R"(patch job long -p '{"spec":{"suspend":false}}')");
  EXPECT_TRUE(eventually([&] { return number("job long", "status.ready") == 2; }, 15000));
  kubectl("delete job long --cascade=background");
  EXPECT_TRUE(gone("long")) << "pods are not held for a Job that is no more";
  ASSERT_TRUE(cluster.apply(job("brief", "ttlSecondsAfterFinished: 1", "true")));
  EXPECT_TRUE(eventually([&] { return cluster.trama("get job brief") != 0; }, 20000));
  EXPECT_TRUE(gone("brief"));
}

}  // namespace
}  // namespace trama::test
