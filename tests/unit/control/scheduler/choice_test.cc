// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/choice.h"

#include "tests/unit/control/scheduler/cluster_of.h"

namespace trama::control {
namespace {

using namespace test;

struct Case {
  const char* what;
  PodNeeds pod;
  NodeState node;
  const char* reason;  // "" = fits
};

std::string reasons(const Verdict& v) {
  std::vector<std::string> out;
  for (auto r : {Reason::cordoned, Reason::taint, Reason::node_affinity, Reason::host_ports, Reason::too_many_pods,
                 Reason::cpu, Reason::memory})
    if ((v.reasons & bit(r)) != 0)
      out.push_back(std::string(words(r)) +
                    (r == Reason::taint ? fmt::format(" {{{}: {}}}", v.taint->key, v.taint->value) : ""));
  return fmt::format("{}", fmt::join(out, ","));
}

TEST(SchedulerChoice, FilterTable) {
  constexpr const char* kAffinity =
      R"({"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"size","operator":"%s","values":["5"]}]}]}}}})";
  auto affinity = [&](const std::string& op) {
    std::string text = kAffinity;
    text.replace(text.find("%s"), 2, op);
    return pod(text);
  };
  auto full = node("n");
  for (int i = 0; i < 10; ++i) full.place(pod("{}", "x" + std::to_string(i)));
  auto busy = node("n");
  busy.place(pod(R"({"containers":[{"ports":[{"containerPort":80,"hostPort":8080,"protocol":"TCP"}]}]})"));
  const Case cases[] = {
      {"fits", asking("2", "4Gi"), node("n"), ""},
      {"too much cpu", asking("2001m"), node("n"), "Insufficient cpu"},
      {"too much of both", asking("3", "5Gi"), node("n"), "Insufficient cpu,Insufficient memory"},
      {"no size told", asking("64"), node("n", "{}", "{}", "True", "{}"), ""},
      {"full", pod(), full, "Too many pods"},
      {"full, and too small", asking("3"), full, "Too many pods,Insufficient cpu"},
      {"cordoned", pod(), node("n", R"({"unschedulable":true})"), "node(s) were unschedulable"},
      {"cordon tolerated", pod(R"({"tolerations":[{"key":"node.kubernetes.io/unschedulable","operator":"Exists"}]})"),
       node("n", R"({"unschedulable":true})"), ""},
      {"taint", pod(), node("n", R"({"taints":[{"key":"gpu","value":"yes","effect":"NoSchedule"}]})"),
       "node(s) had untolerated taint {gpu: yes}"},
      {"taint tolerated", pod(R"({"tolerations":[{"key":"gpu","operator":"Equal","value":"yes"}]})"),
       node("n", R"({"taints":[{"key":"gpu","value":"yes","effect":"NoSchedule"}]})"), ""},
      {"other value", pod(R"({"tolerations":[{"key":"gpu","operator":"Equal","value":"no"}]})"),
       node("n", R"({"taints":[{"key":"gpu","value":"yes","effect":"NoSchedule"}]})"),
       "node(s) had untolerated taint {gpu: yes}"},
      {"preferred taint", pod(), node("n", R"({"taints":[{"key":"gpu","effect":"PreferNoSchedule"}]})"), ""},
      {"not ready", pod(), node("n", "{}", "{}", "False"),
       "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"},
      {"selector", pod(R"({"nodeSelector":{"disk":"ssd"}})"), node("n"),
       "node(s) didn't match Pod's node affinity/selector"},
      {"selector matches", pod(R"({"nodeSelector":{"disk":"ssd"}})"), node("n", "{}", R"({"disk":"ssd"})"), ""},
      {"In", affinity("In"), node("n", "{}", R"({"size":"5"})"), ""},
      {"NotIn", affinity("NotIn"), node("n", "{}", R"({"size":"5"})"),
       "node(s) didn't match Pod's node affinity/selector"},
      {"NotIn absent", affinity("NotIn"), node("n"), ""},
      {"Gt", affinity("Gt"), node("n", "{}", R"({"size":"6"})"), ""},
      {"Lt", affinity("Lt"), node("n", "{}", R"({"size":"6"})"), "node(s) didn't match Pod's node affinity/selector"},
      {"field",
       pod(R"({"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n"]}]}]}}}})"),
       node("n"), ""},
      {"field of another node",
       pod(R"({"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["m"]}]}]}}}})"),
       node("n"), "node(s) didn't match Pod's node affinity/selector"},
      {"empty term",
       pod(R"({"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{}]}}}})"),
       node("n"), "node(s) didn't match Pod's node affinity/selector"},
      {"host port taken", pod(R"({"containers":[{"ports":[{"containerPort":1,"hostPort":8080,"protocol":"TCP"}]}]})"),
       busy, "node(s) didn't have free ports for the requested pod ports"},
      {"host port of UDP", pod(R"({"containers":[{"ports":[{"containerPort":1,"hostPort":8080,"protocol":"UDP"}]}]})"),
       busy, ""},
      {"init container's peak",
       pod(R"({"initContainers":[{"name":"i","resources":{"requests":{"cpu":"3"}}}],"containers":[{"name":"c"}]})"),
       node("n"), "Insufficient cpu"},
  };
  for (const auto& c : cases) EXPECT_EQ(reasons(verdict_of(c.pod, c.node)), c.reason) << c.what;
}

TEST(SchedulerChoice, RemoveUndoesPlace) {
  auto n = node("a");
  auto p =
      pod(R"({"containers":[{"resources":{"requests":{"cpu":"1"}},"ports":[{"containerPort":80,"hostPort":80}]}]})");
  n.place(p);
  EXPECT_EQ(n.used.cpu_milli, 1000);
  n.remove(p);
  EXPECT_EQ(n.used.cpu_milli, 0);
  EXPECT_EQ(n.pods, 0);
  EXPECT_TRUE(n.host_ports.empty());
  EXPECT_TRUE(n.priorities.empty());
}

TEST(SchedulerChoice, LevelsTheLoadAndWeighsPreferences) {
  ClusterOf two({node("a"), node("b")});
  two.cluster.place(asking("1500m", "3Gi"), "a");
  EXPECT_EQ(*choose_node(pod("{}", "z"), two.cluster, 5).node, "b");
  // Balanced allocation: much memory goes where little of it is taken for the processor that is.
  ClusterOf uneven({node("a"), node("b")});
  uneven.cluster.place(asking("1000m", "10Mi"), "a");
  uneven.cluster.place(asking("10m", "2Gi"), "b");
  EXPECT_EQ(*choose_node(asking("10m", "1Gi"), uneven.cluster, 0).node, "a");
  EXPECT_EQ(*choose_node(asking("900m", "10Mi"), uneven.cluster, 0).node, "b");

  ClusterOf three({node("a"), node("b", "{}", R"({"disk":"ssd"})"),
                   node("c", R"({"taints":[{"key":"k","effect":"PreferNoSchedule"}]})")});
  auto p = pod(
      R"({"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":10,"preference":{"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}]}}]}}})");
  for (std::uint64_t r = 0; r < 10; ++r) EXPECT_EQ(*choose_node(p, three.cluster, r).node, "b");
  three.cluster.remove_node("b");
  for (std::uint64_t r = 0; r < 10; ++r) EXPECT_EQ(*choose_node(p, three.cluster, r).node, "a");
}

TEST(SchedulerChoice, OfManyNodesOnlySomeAreComparedAndAllHaveTheirTurn) {
  EXPECT_EQ(enough_nodes(99), 99u);
  EXPECT_EQ(enough_nodes(100), 100u);
  EXPECT_EQ(enough_nodes(1000), 420u);
  EXPECT_EQ(enough_nodes(5000), 500u);
  EXPECT_EQ(enough_nodes(100'000), 5000u);
  ClusterOf all({});
  for (int i = 0; i < 500; ++i) all.cluster.put_node(node(fmt::format("n{:03}", i)));
  auto p = pod();
  // The best node lies beyond those that are looked at first, and within those that are looked at next.
  for (int i = 0; i < 500; ++i)
    if (i != 490) all.cluster.place(asking("1"), fmt::format("n{:03}", i));
  auto first = choose_node(p, all.cluster, 0);
  ASSERT_TRUE(first.node);
  EXPECT_NE(*first.node, "n490");
  EXPECT_EQ(first.next, enough_nodes(500));
  auto second = choose_node(p, all.cluster, 0, first.next);
  EXPECT_NE(*second.node, "n490");
  EXPECT_EQ(*choose_node(p, all.cluster, 0, 400).node, "n490");
  EXPECT_TRUE(choose_node(p, all.cluster, 0, 10'000).node) << "a start beyond the last";
  // One that fits among 500 is found wherever the search begins.
  for (int i = 0; i < 500; ++i)
    if (i != 7) all.cluster.put_node(node(fmt::format("n{:03}", i), R"({"unschedulable":true})"));
  for (std::size_t start : {0u, 7u, 8u, 499u}) EXPECT_EQ(*choose_node(p, all.cluster, 0, start).node, "n007");
  all.cluster.remove_node("n490");
  EXPECT_EQ(*choose_node(p, all.cluster, 0, 490).node, "n007") << "a start where a node has gone";
  all.cluster.put_node(node("n007", R"({"unschedulable":true})"));
  EXPECT_EQ(choose_node(p, all.cluster, 0, 100).message,
            "0/499 nodes are available: 499 node(s) were unschedulable. preemption: 0/499 nodes are available: 499 "
            "Preemption is not helpful for scheduling.");
}

}  // namespace
}  // namespace trama::control
