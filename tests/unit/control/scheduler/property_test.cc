// SPDX-License-Identifier: GPL-2.0-or-later
// Random clusters through random lives: at every step the incremental scheduler says what the slow reference says. And
// when it is not told of something, it is found out.
#include <cstdlib>
#include <random>

#include <fmt/ranges.h>

#include "control/scheduler/choice.h"
#include "tests/unit/control/scheduler/reference.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

class Life {
 public:
  enum class Forgets { nothing, a_removed_pod, a_leaving_pod, a_moved_node, a_namespace };
  explicit Life(unsigned seed, Forgets what = Forgets::nothing) : random_(seed), forgets_(what) {
    for (const char* ns : {"one", "two"}) relabel_namespace(ns);
    for (int i = 0; i < pick(3, 9); ++i) put_node(fmt::format("n{}", i));
  }

  void step() {
    auto dice = pick(0, 99);
    if (dice < 62)
      schedule();
    else if (dice < 74)
      remove_pod();
    else if (dice < 82)
      terminate_pod();
    else if (dice < 90)
      put_node(fmt::format("n{}", pick(0, 9)));
    else if (dice < 94)
      remove_node(fmt::format("n{}", pick(0, 9)));
    else
      relabel_namespace(pick(0, 1) ? "one" : "two");
  }

  int fits = 0, refusals = 0;
  std::map<std::string, int> reasons;
  std::string disagreement;  // "" = none so far

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool chance(int percent) { return pick(0, 99) < percent; }
  template <class T>
  T any(std::initializer_list<T> list) {
    return *(list.begin() + pick(0, static_cast<int>(list.size()) - 1));
  }

  void relabel_namespace(const std::string& ns) {
    Labels labels;
    if (chance(60)) labels["team"] = any({"red", "blue"});
    bool known = !world_.namespaces.emplace(ns, labels).second;
    world_.namespaces[ns] = labels;
    if (!known || forgets_ != Forgets::a_namespace) cluster_.put_namespace(ns, labels);
  }

  void put_node(const std::string& name) {
    json::object labels;
    if (chance(93)) labels["kubernetes.io/hostname"] = name;
    if (chance(80)) labels["topology.kubernetes.io/zone"] = any({"za", "zb", "zc"});
    if (chance(40)) labels["disk"] = any({"ssd", "hdd"});
    json::array taints;
    for (const char* effect : {"NoSchedule", "PreferNoSchedule"})
      if (chance(15))
        taints.push_back(json::object{{"key", any({"gpu", "old"})}, {"value", "yes"}, {"effect", effect}});
    json::object spec{{"taints", taints}};
    if (chance(7)) spec["unschedulable"] = true;
    json::object size{{"cpu", any({"1", "2", "4"})}, {"memory", any({"2Gi", "4Gi"})}, {"pods", any({"3", "5", "9"})}};
    json::object body{{"metadata", {{"name", name}, {"labels", labels}}},
                      {"spec", spec},
                      {"status", {{"allocatable", size}, {"conditions", {{{"type", "Ready"}, {"status", "True"}}}}}}};
    auto node = stored("nodes", json::serialize(body));
    bool known = std::erase_if(world_.nodes, [&](const api::ObjectPtr& n) { return n->key.name == name; }) > 0;
    world_.nodes.push_back(node);
    if (!known || forgets_ != Forgets::a_moved_node) cluster_.put_node(state_of(*node));
  }

  void remove_node(const std::string& name) {
    if (world_.nodes.size() < 2) return;
    std::erase_if(world_.nodes, [&](const api::ObjectPtr& n) { return n->key.name == name; });
    std::erase_if(world_.placed, [&](const auto& p) { return p.second == name; });
    cluster_.remove_node(name);
  }

  void remove_pod() {
    if (world_.placed.empty()) return;
    auto it = world_.placed.begin() + pick(0, static_cast<int>(world_.placed.size()) - 1);
    if (forgets_ != Forgets::a_removed_pod) cluster_.remove(needs_of(*it->first), it->second);
    world_.placed.erase(it);
  }

  void terminate_pod() {
    if (world_.placed.empty()) return;
    auto& [pod, node] = world_.placed[static_cast<std::size_t>(pick(0, static_cast<int>(world_.placed.size()) - 1))];
    auto before = needs_of(*pod);
    auto body = pod->body;
    body["metadata"].as_object()["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    pod = api::make_object(pod->key, body, 2);
    if (forgets_ == Forgets::a_leaving_pod) return;
    cluster_.remove(before, node);
    cluster_.place(needs_of(*pod), node);
  }

  json::object selector() {
    json::object s;
    if (chance(70)) s["matchLabels"] = json::object{{"app", any({"a", "b"})}};
    if (chance(25))
      s["matchExpressions"] = json::array{
          json::object{{"key", "tier"}, {"operator", any({"In", "NotIn"})}, {"values", json::array{any({"x", "y"})}}}};
    if (chance(8))
      s["matchExpressions"] = json::array{json::object{{"key", "tier"}, {"operator", any({"Exists", "DoesNotExist"})}}};
    return s;
  }
  const char* topology() { return any({"kubernetes.io/hostname", "topology.kubernetes.io/zone", "disk"}); }
  json::object term() {
    json::object t{{"topologyKey", topology()}};
    if (chance(95)) t["labelSelector"] = selector();
    if (chance(20)) t["namespaces"] = json::array{any({"one", "two"})};
    if (chance(15))
      t["namespaceSelector"] = chance(50) ? json::object() : json::object{{"matchLabels", {{"team", "red"}}}};
    if (chance(10)) t["matchLabelKeys"] = json::array{"tier"};
    if (chance(10)) t["mismatchLabelKeys"] = json::array{"app"};
    return t;
  }
  json::object terms(int must_percent) {
    json::object out;
    json::array must, may;
    while (chance(must_percent)) must.push_back(term());
    while (chance(30)) may.push_back(json::object{{"weight", pick(1, 100)}, {"podAffinityTerm", term()}});
    if (!must.empty()) out["requiredDuringSchedulingIgnoredDuringExecution"] = must;
    if (!may.empty()) out["preferredDuringSchedulingIgnoredDuringExecution"] = may;
    return out;
  }
  json::object node_expression() {
    json::array list{json::object{
        {"key", "disk"}, {"operator", any({"In", "NotIn"})}, {"values", json::array{any({"ssd", "hdd"})}}}};
    return json::object{{"matchExpressions", list}};
  }
  json::object constraint() {
    bool hard = chance(50);
    json::object c{{"topologyKey", topology()},
                   {"maxSkew", pick(1, 3)},
                   {"whenUnsatisfiable", hard ? "DoNotSchedule" : "ScheduleAnyway"}};
    if (chance(95)) c["labelSelector"] = selector();
    if (hard && chance(20)) c["minDomains"] = pick(1, 4);
    if (chance(20)) c["nodeAffinityPolicy"] = any({"Honor", "Ignore"});
    if (chance(30)) c["nodeTaintsPolicy"] = any({"Honor", "Ignore"});
    if (chance(15)) c["matchLabelKeys"] = json::array{"tier"};
    return c;
  }

  api::ObjectPtr new_pod() {
    json::object labels{{"app", any({"a", "b"})}};
    if (chance(70)) labels["tier"] = any({"x", "y"});
    json::object requests, spec, affinity, node;
    if (chance(60)) requests["cpu"] = any({"100m", "300m", "700m"});
    if (chance(60)) requests["memory"] = any({"100Mi", "700Mi", "1Gi"});
    spec["containers"] = json::array{json::object{{"name", "c"}, {"resources", {{"requests", requests}}}}};
    if (chance(12)) spec["nodeSelector"] = json::object{{"disk", any({"ssd", "hdd"})}};
    if (chance(10)) spec["tolerations"] = json::array{json::object{{"key", "gpu"}, {"operator", "Exists"}}};
    if (chance(8))
      node["requiredDuringSchedulingIgnoredDuringExecution"] =
          json::object{{"nodeSelectorTerms", json::array{node_expression()}}};
    if (chance(20))
      node["preferredDuringSchedulingIgnoredDuringExecution"] =
          json::array{json::object{{"weight", pick(1, 100)}, {"preference", node_expression()}}};
    if (!node.empty()) affinity["nodeAffinity"] = node;
    if (chance(30)) affinity["podAffinity"] = terms(20);
    if (chance(30)) affinity["podAntiAffinity"] = terms(20);
    if (!affinity.empty()) spec["affinity"] = affinity;
    json::array constraints;
    while (chance(25)) constraints.push_back(constraint());
    if (!constraints.empty()) spec["topologySpreadConstraints"] = constraints;
    json::object metadata{
        {"namespace", any({"one", "two"})}, {"name", fmt::format("p{}", ++serial_)}, {"labels", labels}};
    return stored("pods", json::serialize(json::object{{"metadata", metadata}, {"spec", spec}}));
  }

  void schedule() {
    auto pod = new_pod();
    auto needs = needs_of(*pod);
    Labels replicas;
    for (const char* k : {"app", "tier"})
      if (pod->labels.contains(k)) replicas[k] = pod->labels.at(k);
    bool spread = chance(60);
    auto mine = LabelSelector::equalities(replicas);
    auto selector = pods_in(pod->key.ns, std::move(mine), replicas["app"] + replicas["tier"]);
    if (!pod->labels.contains("tier")) replicas.erase("tier");
    auto expected = reference_choice(world_, *pod, spread ? &replicas : nullptr);
    // One after the other the random numbers show every node that is thought best.
    std::set<std::string> chosen;
    Choice choice;
    auto first = static_cast<std::size_t>(pick(0, 12));
    for (std::uint64_t r = 0; r < world_.nodes.size(); ++r) {
      choice = choose_node(needs, cluster_, r, first, spread ? &selector : nullptr);
      if (choice.node) chosen.insert(*choice.node);
    }
    if (chosen != expected.best) {
      disagreement = fmt::format("chosen: {}; {}{}", fmt::join(chosen, " "), choice.message, story(*pod, expected));
      return;
    }
    if (!choice.node) {
      ++refusals;
      std::map<std::string, int> count;
      for (const auto& [node, list] : expected.against)
        for (const auto& r : list) ++count[r], ++reasons[r.substr(0, r.find('{'))];
      std::vector<std::string> parts;
      for (const auto& [reason, n] : count) parts.push_back(fmt::format("{} {}", n, reason));
      std::sort(parts.begin(), parts.end());
      auto text = fmt::format("0/{} nodes are available: {}. ", world_.nodes.size(), fmt::join(parts, ", "));
      if (choice.message.substr(0, choice.message.find("preemption: ")) != text)
        disagreement = fmt::format("{}\nbut {}{}", choice.message, text, story(*pod, expected));
      return;
    }
    ++fits;
    cluster_.place(needs, *choice.node);
    world_.placed.emplace_back(pod, *choice.node);
  }

  std::string story(const api::Object& pod, const ReferenceChoice& expected) {
    auto text = "\npod " + pod.text();
    for (const auto& n : world_.nodes) text += "\nnode " + n->text();
    for (const auto& [p, where] : world_.placed) text += "\non " + where + ": " + p->text();
    for (const auto& [n, s] : expected.scores) text += fmt::format("\n{} scores {}", n, s);
    return text;
  }

  std::mt19937 random_;
  Forgets forgets_;
  ReferenceWorld world_;
  Cluster cluster_;
  int serial_ = 0;
};

TEST(SchedulerProperty, SaysWhatTheSlowReferenceSays) {
  const char* longer = std::getenv("TRAMA_LONG");
  unsigned lives = longer != nullptr && *longer != '\0' && *longer != '0' ? 1'500 : 150;
  int fits = 0, refusals = 0;
  std::map<std::string, int> reasons;
  std::string disagreement;  // "" = none so far
  for (unsigned seed = 0; seed < lives; ++seed) {
    Life life(seed);
    for (int i = 0; i < 60; ++i) {
      life.step();
      ASSERT_EQ(life.disagreement, "") << "seed " << seed;
    }
    fits += life.fits, refusals += life.refusals;
    for (const auto& [r, n] : life.reasons) reasons[r] += n;
  }
  // The random worlds do meet every rule.
  EXPECT_GT(fits, 1'000);
  EXPECT_GT(refusals, 100);
  EXPECT_EQ(reasons.size(), 11u);
  for (const auto& [reason, n] : reasons) EXPECT_GT(n, 10) << reason;
}

// The test can fail: a scheduler that misses one kind of news is caught within a few lives.
TEST(SchedulerProperty, FindsOutWhoIsNotTold) {
  using Forgets = Life::Forgets;
  for (auto what : {Forgets::a_removed_pod, Forgets::a_leaving_pod, Forgets::a_moved_node, Forgets::a_namespace}) {
    bool caught = false;
    for (unsigned seed = 0; seed < 60 && !caught; ++seed) {
      Life life(seed, what);
      for (int i = 0; i < 60 && !caught; ++i) {
        life.step();
        caught = !life.disagreement.empty();
      }
    }
    EXPECT_TRUE(caught) << static_cast<int>(what);
  }
}

}  // namespace
}  // namespace trama::control
