// SPDX-License-Identifier: GPL-2.0-or-later
// What the choice of a node costs by itself, on 1,000 nodes in ten zones: for plain replicas, and for pods with pod
// affinity, anti-affinity and spreading, when 1,000 pods are placed (the floor) and when 50,000 are.
#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "control/scheduler/choice.h"
#include "tests/bench/report.h"

namespace trama::bench {
namespace {

using namespace control;
using Clock = std::chrono::steady_clock;

constexpr int kNodes = 1'000;

constexpr const char* kRules = R"(,
  "affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[
      {"topologyKey":"topology.kubernetes.io/zone","labelSelector":{"matchLabels":{"app":"a7"}}}]},
    "podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
      {"weight":50,"podAffinityTerm":{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"a7"}}}}]}},
  "topologySpreadConstraints":[{"maxSkew":1000,"topologyKey":"topology.kubernetes.io/zone",
    "whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app":"a7"}}}])";

PodNeeds pod(int app, const char* more) {
  auto text = fmt::format(
      R"({{"metadata":{{"namespace":"d","name":"p","uid":"u","labels":{{"app":"a{}"}}}},"spec":{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}}}}}}]{}}}}})",
      app, more);
  return needs_of(*api::make_object({"pods", "d", "p"}, api::json::parse(text).as_object(), 1));
}

// Microseconds of a choice, when that many pods of 100 applications are there.
double choice(int placed, const char* rules) {
  Cluster cluster;
  for (int i = 0; i < kNodes; ++i) {
    NodeState node;
    node.name = fmt::format("n{}", i);
    node.labels = {{"kubernetes.io/hostname", node.name}, {"topology.kubernetes.io/zone", fmt::format("z{}", i % 10)}};
    node.allocatable = {64'000, std::int64_t{256} << 30, 1'000};
    cluster.put_node(node);
  }
  for (int i = 0; i < placed; ++i) cluster.place(pod(i % 100, ""), fmt::format("n{}", i * 7 % kNodes));
  auto one = pod(7, rules);
  auto replicas = pods_in("d", LabelSelector::equalities({{"app", "a7"}}), "a7");
  std::size_t next = 0;
  constexpr int kChoices = 500;
  auto begin = Clock::now();
  for (int i = 0; i < kChoices; ++i) {
    auto chosen = choose_node(one, cluster, static_cast<std::uint64_t>(i), next, &replicas);
    next = chosen.next;
    cluster.place(one, *chosen.node);
  }
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / kChoices;
}

double least_of(int placed, const char* rules) {
  auto best = choice(placed, rules);
  for (int i = 0; i < 2; ++i) best = std::min(best, choice(placed, rules));
  return best;
}

}  // namespace
}  // namespace trama::bench

int main() {
  using namespace trama::bench;
  std::vector<Row> rows;
  rows.push_back({"scheduler.choice.plain.50000_pods", least_of(50'000, ""), "us", least_of(1'000, ""), 0, 200});
  rows.push_back(
      {"scheduler.choice.rules.50000_pods", least_of(50'000, kRules), "us", least_of(1'000, kRules), 0, 400});
  print(rows);
}
