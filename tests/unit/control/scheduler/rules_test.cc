// SPDX-License-Identifier: GPL-2.0-or-later
// What pods say of other pods, and what is said when nothing fits.
#include "control/scheduler/choice.h"
#include "control/scheduler/placement_rules.h"
#include "tests/unit/control/scheduler/cluster_of.h"

namespace trama::control {
namespace {

using namespace test;

std::string affinity(const char* kind, const std::string& term) {
  return fmt::format(R"({{"affinity":{{"{}":{{"requiredDuringSchedulingIgnoredDuringExecution":[{}]}}}}}})", kind,
                     term);
}
std::string wish(const char* kind, const std::string& term, int weight = 100) {
  return fmt::format(
      R"({{"affinity":{{"{}":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":{},"podAffinityTerm":{}}}]}}}}}})",
      kind, weight, term);
}
std::string term(const std::string& app, const std::string& key = "topology.kubernetes.io/zone",
                 const std::string& more = "") {
  return fmt::format(R"({{"topologyKey":"{}","labelSelector":{{"matchLabels":{{"app":"{}"}}}}{}}})", key, app, more);
}
std::string spread(const std::string& key, int skew, const std::string& more = "") {
  return fmt::format(
      R"({{"topologySpreadConstraints":[{{"maxSkew":{},"topologyKey":"{}","whenUnsatisfiable":"DoNotSchedule","labelSelector":{{"matchLabels":{{"app":"web"}}}}{}}}]}})",
      skew, key, more);
}

// The nodes that a pod may go to: those that some random number chooses, with scores out of the way.
std::set<std::string> allowed(ClusterOf& c, const PodNeeds& p) {
  std::set<std::string> out;
  PlacementRules rules(p, c.cluster);
  for (std::size_t slot = 0; slot < c.cluster.slots().size(); ++slot)
    if (const auto& n = c.cluster.slots()[slot]; n && verdict_of(p, *n) && rules.verdict_on(slot)) out.insert(n->name);
  return out;
}
using Set = std::set<std::string>;

ClusterOf zones() { return ClusterOf({host("a1", "a"), host("a2", "a"), host("b1", "b"), host("lost")}); }

TEST(SchedulerRules, NearPods) {
  auto c = zones();
  auto p = pod(affinity("podAffinity", term("db")));
  EXPECT_EQ(allowed(c, p), Set()) << "nobody is there";
  auto self = pod(affinity("podAffinity", term("web")));
  EXPECT_EQ(allowed(c, self), (Set{"a1", "a2", "b1"})) << "the first of its kind may begin anywhere with the label";
  c.cluster.place(pod("{}", "db", R"({"app":"db"})"), "a1");
  EXPECT_EQ(allowed(c, p), (Set{"a1", "a2"}));
  c.cluster.place(pod("{}", "w"), "b1");
  EXPECT_EQ(allowed(c, self), Set{"b1"}) << "no longer the first";
  c.cluster.put_node(host("a1", "b"));
  EXPECT_EQ(allowed(c, p), (Set{"a1", "b1"})) << "the node has moved, and its pod with it";
}

TEST(SchedulerRules, NamespacesOfATerm) {
  auto c = zones();
  c.cluster.put_namespace("d", {});
  c.cluster.put_namespace("e", {{"team", "red"}});
  c.cluster.place(pod("{}", "db", R"({"app":"db"})", "e"), "a1");
  const std::string zone = "topology.kubernetes.io/zone";
  EXPECT_EQ(allowed(c, pod(affinity("podAffinity", term("db")))), Set()) << "its own namespace alone";
  EXPECT_EQ(allowed(c, pod(affinity("podAffinity", term("db", zone, R"(,"namespaces":["e"])")))), (Set{"a1", "a2"}));
  auto red = pod(affinity("podAffinity", term("db", zone, R"(,"namespaceSelector":{"matchLabels":{"team":"red"}})")));
  EXPECT_EQ(allowed(c, red), (Set{"a1", "a2"}));
  EXPECT_EQ(allowed(c, pod(affinity("podAffinity", term("db", zone, R"(,"namespaceSelector":{})")))), (Set{"a1", "a2"}))
      << "an empty selector is all of them";
  c.cluster.put_namespace("e", {{"team", "blue"}});
  EXPECT_EQ(allowed(c, red), Set()) << "the namespace has changed";
}

TEST(SchedulerRules, AwayFromPodsAndTheyFromIt) {
  auto c = zones();
  auto shy = pod(affinity("podAntiAffinity", term("web")), "shy", R"({"app":"db"})");
  EXPECT_EQ(allowed(c, shy).size(), 4u);
  c.cluster.place(pod("{}", "w"), "a1");
  EXPECT_EQ(allowed(c, shy), (Set{"b1", "lost"}));
  c.cluster.place(shy, "b1");
  EXPECT_EQ(allowed(c, pod("{}", "w2")), (Set{"a1", "a2", "lost"})) << "the shy pod is left alone too";
  EXPECT_EQ(allowed(c, pod("{}", "x", R"({"app":"x"})")).size(), 4u);
  c.cluster.remove(shy, "b1");
  EXPECT_EQ(allowed(c, pod("{}", "w2")).size(), 4u);
  // One per node, the ordinary use.
  ClusterOf three({host("n1"), host("n2"), host("n3")});
  auto one = pod(affinity("podAntiAffinity", term("web", "kubernetes.io/hostname")));
  for (std::size_t left = 3; left > 0; --left) {
    EXPECT_EQ(allowed(three, one).size(), left);
    three.cluster.place(one, *choose_node(one, three.cluster, left).node);
  }
  EXPECT_EQ(choose_node(one, three.cluster, 0).message,
            "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are "
            "available: 3 No preemption victims found for incoming pod.");
}

TEST(SchedulerRules, LabelKeysOfTheIncomingPod) {
  auto c = zones();
  const std::string zone = "topology.kubernetes.io/zone";
  c.cluster.place(pod("{}", "old", R"({"app":"web","rev":"1"})"), "a1");
  auto keyed = [&](const char* field) {
    return pod(affinity("podAntiAffinity", term("web", zone, fmt::format(R"(,"{}":["rev"])", field))), "new",
               R"({"app":"web","rev":"2"})");
  };
  EXPECT_EQ(allowed(c, keyed("matchLabelKeys")).size(), 4u) << "another revision is no reason";
  EXPECT_EQ(allowed(c, keyed("mismatchLabelKeys")), (Set{"b1", "lost"}));
}

TEST(SchedulerRules, Spreading) {
  auto c = zones();
  const std::string zone = "topology.kubernetes.io/zone";
  auto p = pod(spread(zone, 1));
  EXPECT_EQ(allowed(c, p), (Set{"a1", "a2", "b1"})) << "without the label there is no domain";
  c.cluster.place(pod("{}", "w"), "a1");
  EXPECT_EQ(allowed(c, p), Set{"b1"});
  EXPECT_EQ(allowed(c, pod(spread(zone, 2))), (Set{"a1", "a2", "b1"}));
  EXPECT_EQ(allowed(c, pod(spread(zone, 1), "x", R"({"app":"other"})")), (Set{"a1", "a2", "b1"}))
      << "a pod that is not counted itself makes no skew";
  EXPECT_EQ(allowed(c, pod(spread(zone, 1, R"(,"minDomains":3)"))), Set{"b1"}) << "too few domains: lowest is 0";
  c.cluster.place(pod("{}", "w2"), "b1");
  EXPECT_EQ(allowed(c, p).size(), 3u);
  EXPECT_EQ(allowed(c, pod(spread(zone, 1, R"(,"minDomains":3)"))), Set());
  // A pod on its way out is not counted.
  auto gone = pod("{}", "w");
  c.cluster.remove(gone, "a1");
  gone.terminating = true;
  c.cluster.place(gone, "a1");
  EXPECT_EQ(allowed(c, p), (Set{"a1", "a2"}));
}

TEST(SchedulerRules, WhichNodesMakeDomains) {
  const std::string zone = "topology.kubernetes.io/zone";
  auto tainted = host("b1", "b");
  tainted.taints.push_back({"gpu", "yes", "NoSchedule", ""});
  ClusterOf c({host("a1", "a"), tainted});
  c.cluster.place(pod("{}", "w"), "a1");
  EXPECT_EQ(allowed(c, pod(spread(zone, 1))), Set()) << "zone b is empty, and taken for one";
  EXPECT_EQ(allowed(c, pod(spread(zone, 1, R"(,"nodeTaintsPolicy":"Honor")"))), Set{"a1"});
  auto only_a = spread(zone, 1);
  only_a.insert(1, R"("nodeSelector":{"topology.kubernetes.io/zone":"a"},)");
  EXPECT_EQ(allowed(c, pod(only_a)), Set{"a1"}) << "a node that its selector forbids makes no domain";
  auto ignoring = spread(zone, 1, R"(,"nodeAffinityPolicy":"Ignore")");
  ignoring.insert(1, R"("nodeSelector":{"topology.kubernetes.io/zone":"a"},)");
  EXPECT_EQ(allowed(c, pod(ignoring)), Set());
}

TEST(SchedulerRules, ReplicasSpreadByDefault) {
  ClusterOf c({host("n1"), host("n2"), host("n3")});
  auto replicas = pods_in("d", LabelSelector::equalities({{"app", "web"}}), "web");
  std::map<std::string, PodNeeds> where;
  for (int i = 0; i < 3; ++i) {
    auto p = pod("{}", fmt::format("w{}", i));
    auto node = *choose_node(p, c.cluster, static_cast<std::uint64_t>(i), 0, &replicas).node;
    EXPECT_TRUE(where.emplace(node, p).second) << "two on " << node;
    c.cluster.place(p, node);
  }
  // One is deleted: its successor goes where it was, though it has not quite gone, and though that node has more to do.
  auto leaving = where["n2"];
  c.cluster.remove(leaving, "n2");
  leaving.terminating = true;
  c.cluster.place(leaving, "n2");
  c.cluster.place(pod("{}", "client", R"({"app":"client"})"), "n2");
  for (std::uint64_t r = 0; r < 6; ++r) EXPECT_EQ(*choose_node(pod(), c.cluster, r, 0, &replicas).node, "n2");
  // Without the rule the load alone decides.
  for (std::uint64_t r = 0; r < 6; ++r) EXPECT_NE(*choose_node(pod(), c.cluster, r).node, "n2");
  // Zones count too.
  ClusterOf z({host("a1", "a"), host("a2", "a"), host("b1", "b")});
  z.cluster.place(pod("{}", "w0"), "a1");
  for (std::uint64_t r = 0; r < 6; ++r) EXPECT_EQ(*choose_node(pod(), z.cluster, r, 0, &replicas).node, "b1");
}

TEST(SchedulerRules, WishesOfBothSides) {
  auto c = zones();
  c.cluster.place(pod("{}", "db", R"({"app":"db"})"), "b1");
  c.cluster.place(asking("500m", "1Gi"), "b1");
  EXPECT_EQ(*choose_node(pod(wish("podAffinity", term("db"))), c.cluster, 0).node, "b1");
  EXPECT_NE(*choose_node(pod(wish("podAntiAffinity", term("db"))), c.cluster, 0).node, "b1");
  // The same said by the pod that is there.
  auto fond = zones();
  fond.cluster.place(pod(wish("podAffinity", term("web")), "db", R"({"app":"db"})"), "b1");
  fond.cluster.place(asking("500m", "1Gi"), "b1");
  EXPECT_EQ(*choose_node(pod(), fond.cluster, 0).node, "b1");
  auto cool = ClusterOf({host("a1", "a"), host("b1", "b")});
  cool.cluster.place(pod(wish("podAntiAffinity", term("web")), "db", R"({"app":"db"})"), "b1");
  cool.cluster.place(asking("1500m", "3Gi"), "a1");
  EXPECT_EQ(*choose_node(pod("{}", "w"), cool.cluster, 0).node, "a1");
}

// Every reason, in the words that other tools look for.
TEST(SchedulerRules, WordsTable) {
  auto said = [](std::vector<NodeState> nodes, const PodNeeds& p,
                 std::vector<std::pair<PodNeeds, std::string>> placed) {
    ClusterOf c(std::move(nodes));
    for (const auto& [q, where] : placed) c.cluster.place(q, where);
    auto choice = choose_node(p, c.cluster, 0);
    EXPECT_FALSE(choice.node);
    return choice.message;
  };
  const std::string hopeless = " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
  const std::string victimless =
      " preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
  const std::string one = "0/1 nodes are available: 1 ";
  auto port = pod(R"({"containers":[{"ports":[{"containerPort":80,"hostPort":8080,"protocol":"TCP"}]}]})", "port");
  auto tiny = node("n", "{}", "{}", "True", R"({"cpu":"1","memory":"1Gi","pods":"1"})");
  auto n = host("n", "z");
  EXPECT_EQ(said({}, pod(), {}), "no nodes available to schedule pods");
  EXPECT_EQ(said({node("n", R"({"unschedulable":true})")}, pod(), {}), one + "node(s) were unschedulable." + hopeless);
  EXPECT_EQ(said({node("n", R"({"taints":[{"key":"k","value":"v","effect":"NoExecute"}]})")}, pod(), {}),
            one + "node(s) had untolerated taint {k: v}." + hopeless);
  EXPECT_EQ(said({n}, pod(R"({"nodeSelector":{"a":"b"}})"), {}),
            one + "node(s) didn't match Pod's node affinity/selector." + hopeless);
  EXPECT_EQ(said({n}, port, {{port, "n"}}),
            one + "node(s) didn't have free ports for the requested pod ports." + victimless);
  EXPECT_EQ(said({tiny}, pod(), {{pod("{}", "x"), "n"}}), one + "Too many pods." + victimless);
  EXPECT_EQ(said({n}, asking("1500m"), {{asking("1"), "n"}}), one + "Insufficient cpu." + victimless);
  EXPECT_EQ(said({n}, asking("1", "3Gi"), {{asking("1", "2Gi"), "n"}}), one + "Insufficient memory." + victimless);
  EXPECT_EQ(said({n}, asking("3"), {}), one + "Insufficient cpu." + hopeless) << "larger than the node";
  EXPECT_EQ(said({n}, pod(spread("rack", 1)), {}),
            one + "node(s) didn't match pod topology spread constraints (missing required label)." + hopeless);
  EXPECT_EQ(said({n}, pod(spread("kubernetes.io/hostname", 1, R"(,"minDomains":2)")), {{pod("{}", "w"), "n"}}),
            one + "node(s) didn't match pod topology spread constraints." + victimless);
  EXPECT_EQ(said({n}, pod(affinity("podAffinity", term("db"))), {}),
            one + "node(s) didn't match pod affinity rules." + hopeless);
  EXPECT_EQ(said({n}, pod(affinity("podAntiAffinity", term("web"))), {{pod("{}", "w"), "n"}}),
            one + "node(s) didn't match pod anti-affinity rules." + victimless);
  EXPECT_EQ(said({n}, pod(), {{pod(affinity("podAntiAffinity", term("web")), "db", R"({"app":"db"})"), "n"}}),
            one + "node(s) didn't satisfy existing pods anti-affinity rules." + victimless);
  // Several at a time: sorted as text, as upstream sorts them.
  EXPECT_EQ(said({node("a", R"({"unschedulable":true})"), node("b"), node("c"), host("d")}, asking("1500m", "3Gi"),
                 {{asking("1", "2Gi"), "b"}, {asking("1"), "c"}, {asking("10m", "2Gi"), "d"}}),
            "0/4 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu, 2 Insufficient memory. "
            "preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling, 3 No preemption victims "
            "found for incoming pod.");
  // What is true of preemption here.
  auto important = asking("1500m");
  important.priority = 7;
  EXPECT_EQ(said({n}, important, {{asking("1"), "n"}}),
            one +
                "Insufficient cpu. preemption: 0/1 nodes are available: 1 node(s) had pods of lower priority, which "
                "this scheduler does not preempt.");
  important.never_preempts = true;
  EXPECT_EQ(said({n}, important, {{asking("1"), "n"}}),
            one + "Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.");
}

// The picture does not grow with what has gone.
TEST(SchedulerRules, ForgetsWhatNobodyAsksFor) {
  auto c = zones();
  for (int i = 0; i < 5'000; ++i) {
    auto labels = fmt::format(R"({{"app":"a{}"}})", i);
    auto p = pod(affinity("podAntiAffinity", term(fmt::format("a{}", i))), "p", labels);
    auto choice = choose_node(p, c.cluster, 0);
    ASSERT_TRUE(choice.node);
    c.cluster.place(p, *choice.node);
    EXPECT_EQ(allowed(c, p).size(), *choice.node == "lost" ? 4u : *choice.node == "b1" ? 3u : 2u);
    c.cluster.remove(p, *choice.node);
  }
  EXPECT_LT(c.cluster.counts(), 2'100u);
}

}  // namespace
}  // namespace trama::control
