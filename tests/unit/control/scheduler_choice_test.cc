// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/choice.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

NodeState node(const std::string& name, const std::string& spec = "{}", const std::string& labels = "{}",
               const std::string& ready = "True",
               const std::string& size = R"({"cpu":"2","memory":"4Gi","pods":"10"})") {
  return state_of(*stored("nodes", R"({"metadata":{"name":")" + name + R"(","labels":)" + labels + R"(},"spec":)" +
                                       spec + R"(,"status":{"allocatable":)" + size +
                                       R"(,"conditions":[{"type":"Ready","status":")" + ready + R"("}]}})"));
}
PodNeeds pod(const std::string& spec = "{}", const std::string& name = "p") {
  return needs_of(*stored(
      "pods", R"({"metadata":{"namespace":"d","name":")" + name + R"(","labels":{"app":"web"}},"spec":)" + spec + "}"));
}
PodNeeds asking(const std::string& cpu, const std::string& memory = "1Mi") {
  return pod(R"({"containers":[{"name":"c","resources":{"requests":{"cpu":")" + cpu + R"(","memory":")" + memory +
             R"("}}}]})");
}
Nodes nodes(std::vector<NodeState> list) {
  Nodes out;
  for (auto& n : list) out[n.name] = std::move(n);
  return out;
}

struct Case {
  const char* what;
  PodNeeds pod;
  NodeState node;
  const char* reason;  // "" = fits
};

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
  for (const auto& c : cases)
    EXPECT_EQ(fmt::format("{}", fmt::join(reasons_against(c.pod, c.node), ",")), c.reason) << c.what;
}

TEST(SchedulerChoice, Wording) {
  auto none = choose_node(pod(), {}, 0);
  EXPECT_EQ(none.message, "no nodes available to schedule pods");
  auto all = nodes({node("a"), node("b", R"({"unschedulable":true})"), node("c", R"({"unschedulable":true})")});
  auto choice = choose_node(asking("9"), all, 0);
  EXPECT_FALSE(choice.node);
  EXPECT_EQ(choice.message, "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.");
}

TEST(SchedulerChoice, SpreadsAGroupAndThenLevelsTheLoad) {
  auto all = nodes({node("a"), node("b"), node("c")});
  std::map<std::string, int> count;
  for (int i = 0; i < 9; ++i) {
    auto p = pod("{}", "p" + std::to_string(i));
    auto choice = choose_node(p, all, static_cast<std::uint64_t>(i));
    ASSERT_TRUE(choice.node);
    all[*choice.node].place(p);
    ++count[*choice.node];
  }
  EXPECT_EQ(count, (std::map<std::string, int>{{"a", 3}, {"b", 3}, {"c", 3}}));
  auto uneven = nodes({node("a"), node("b")});
  uneven["a"].place(asking("1500m", "3Gi"));
  auto lonely = pod("{}", "z");
  lonely.group = "";
  EXPECT_EQ(*choose_node(lonely, uneven, 5).node, "b");
}

TEST(SchedulerChoice, PreferencesAreWeighed) {
  auto all = nodes({node("a"), node("b", "{}", R"({"disk":"ssd"})"),
                    node("c", R"({"taints":[{"key":"k","effect":"PreferNoSchedule"}]})")});
  auto p = pod(
      R"({"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":10,"preference":{"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}]}}]}}})");
  for (std::uint64_t r = 0; r < 10; ++r) EXPECT_EQ(*choose_node(p, all, r).node, "b");
  all.erase("b");
  for (std::uint64_t r = 0; r < 10; ++r) EXPECT_EQ(*choose_node(p, all, r).node, "a");
}

TEST(SchedulerChoice, OfManyNodesOnlySomeAreComparedAndAllHaveTheirTurn) {
  EXPECT_EQ(enough_nodes(99), 99u);
  EXPECT_EQ(enough_nodes(100), 100u);
  EXPECT_EQ(enough_nodes(1000), 420u);
  EXPECT_EQ(enough_nodes(5000), 500u);
  EXPECT_EQ(enough_nodes(100'000), 5000u);
  std::vector<NodeState> many;
  for (int i = 0; i < 500; ++i) many.push_back(node(fmt::format("n{:03}", i)));
  auto all = nodes(many);
  auto p = pod();
  // The best node lies beyond those that are looked at first, and within those that are looked at next.
  for (auto& [name, n] : all)
    if (name != "n490") n.place(asking("1"));
  auto first = choose_node(p, all, 0);
  ASSERT_TRUE(first.node);
  EXPECT_NE(*first.node, "n490");
  EXPECT_EQ(first.next, fmt::format("n{}", enough_nodes(500)));
  auto second = choose_node(p, all, 0, first.next);
  EXPECT_NE(*second.node, "n490");
  EXPECT_EQ(*choose_node(p, all, 0, "n400").node, "n490");
  // A start that is no node any more, or beyond the last one.
  EXPECT_TRUE(choose_node(p, all, 0, "n250x").node);
  EXPECT_TRUE(choose_node(p, all, 0, "zzz").node);
  // One that fits among 500 is found wherever the search begins.
  for (auto& [name, n] : all) n.unschedulable = name != "n007";
  for (const char* start : {"", "n007", "n008", "n499"}) EXPECT_EQ(*choose_node(p, all, 0, start).node, "n007");
  all["n007"].unschedulable = true;
  EXPECT_EQ(choose_node(p, all, 0, "n100").message, "0/500 nodes are available: 500 node(s) were unschedulable.");
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
  EXPECT_TRUE(n.group_size.empty());
}

}  // namespace
}  // namespace trama::control
