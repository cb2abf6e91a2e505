// SPDX-License-Identifier: GPL-2.0-or-later
// What Services cost on a node. Needs root; works in network namespaces of its own.
//   bench_services [SECTION…] [SERVICES…]
// Sections, all by default:
//   change   from update() to committed rules, beside the cheapest transaction there is (floor: one element, same
//            session, same run); the kernel's share; up to 5,000 services a chain-per-service layout (peer)
//   burst    1,000 changes at once; one service among 1,000 that the kernel refuses
//   cold     first load and restart, each in a process of its own, for its peak memory
//   packets  CPU time of a packet that opens a connection, and of one that belongs to one
// Services: sizes for `change` and `packets` in place of the usual ones.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/bench/services_packets.h"
#include "tests/bench/services_peer.h"
#include "tests/bench/services_rig.h"

namespace trama::bench {
namespace {
constexpr int kEndpoints = 4;
constexpr int kBatches = 10, kRounds = 200;  // rounds of a batch
constexpr int kPeerLimit = 5000;             // more, and its load takes minutes
constexpr int kPeerRounds = 15;
using Rows = std::vector<Row>;

struct Times {
  std::vector<Micros> whole = {{}};
  Micros kernel;  // of one transaction
  void add(const Rig::Cost& c) {
    whole.back().push_back(c.ms * 1000);
    kernel.push_back(c.kernel_us / static_cast<double>(std::max<std::uint64_t>(1, c.transactions)));
    if (whole.back().size() == kRounds) whole.emplace_back();
  }
  // The median of the batches' (or another quantile of them): a disturbance by another program does not make a p99.
  double at(double q, double of_batches = 0.5) const {
    Micros each;
    for (const auto& batch : whole)
      if (batch.size() == kRounds) each.push_back(quantile(batch, q));
    return quantile(each, of_batches);
  }
};

// p99 of each kind of change, by size: of the best batch, because their ratio is to say something about sizes.
using Worst = std::map<std::string, std::map<int, double>>;

void change(int services, Rows& rows, Worst& worst) {
  test::PrivateNetns node;
  Rig rig(node);
  double loaded = rig.load(services, kEndpoints).ms;
  double peer_load = 0, peer_replace = 0;
  if (services >= 1000 && services <= kPeerLimit) {
    test::PrivateNetns there;
    ChainPerService peer(there, services, kEndpoints);
    peer_load = peer.load();
    Micros replace, nothing;
    for (int i = 0; i < kPeerRounds; ++i) {
      replace.push_back(peer.replace_endpoint(i * 37 % services, i + 1) * 1000);
      nothing.push_back(peer.nothing() * 1000);
    }
    peer_replace = quantile(replace, 0.5);
    rows.push_back({fmt::format("services.peer.nft_started.{}", services), quantile(nothing, 0.5), "us", 0, 0, 0});
  }
  rows.push_back({fmt::format("services.load.{}x{}", services, kEndpoints), loaded, "ms", 0, peer_load, 0});
  Times floor, replaced, grown, shrunk, added, deleted;
  for (int i = 0; i < kBatches * kRounds; ++i) {
    int victim = (i * 7907) % services;
    floor.add(rig.one_element(i));
    auto other = service(victim, kEndpoints, i + 1);
    replaced.add(rig.change(other));
    grown.add(rig.change(service(victim, kEndpoints + 1, i + 1)));
    shrunk.add(rig.change(other));
    auto fresh = service(services + i, kEndpoints);
    added.add(rig.change(fresh));
    deleted.add(rig.remove(fresh.key));
  }
  auto add = [&](const char* what, const Times& t, double peer) {
    auto name = [&](const char* tail) { return fmt::format("services.{}.{}.{}", what, services, tail); };
    rows.push_back({name("p50"), t.at(0.5), "us", floor.at(0.5), peer, 0});
    rows.push_back({name("p99"), t.at(0.99), "us", floor.at(0.99), 0, 5000});
    rows.push_back({name("transaction"), quantile(t.kernel, 0.5), "us", quantile(floor.kernel, 0.5), 0, 20});
    worst[what][services] = t.at(0.99, 0);
  };
  add("endpoint_replaced", replaced, peer_replace);
  add("endpoint_added", grown, 0);
  add("endpoint_removed", shrunk, 0);
  add("service_added", added, 0);
  add("service_deleted", deleted, 0);
}

void flatness(const Worst& worst, Rows& rows) {
  for (const auto& [what, by_size] : worst) {
    auto base = by_size.find(1000);
    if (base == by_size.end() || by_size.rbegin()->first <= 1000) continue;
    rows.push_back({fmt::format("services.{}.flat_1000_to_{}", what, by_size.rbegin()->first),
                    by_size.rbegin()->second / base->second, "x", 0, 0, 2});
  }
}

void burst(Rows& rows) {
  constexpr int kServices = 10'000, kChanges = 1000;
  test::PrivateNetns node;
  Rig rig(node);
  rig.load(kServices, kEndpoints);
  Micros times, transactions;
  for (int round = 1; round <= 5; ++round) {
    std::vector<servicelb::Change> changes;
    for (int i = 0; i < kChanges; ++i) {
      auto s = service(i * 7 % kServices, kEndpoints, round);
      changes.push_back({s.key, s});
    }
    auto cost = rig.change(std::move(changes));
    times.push_back(cost.ms), transactions.push_back(static_cast<double>(cost.transactions));
  }
  rows.push_back({"services.burst_1000.time", quantile(times, 0.5), "ms", 0, 0, 50});
  rows.push_back({"services.burst_1000.transactions", quantile(transactions, 0.5), "tx", 0, 0, 0});
}

// The kernel refuses service-500; the others must be there soon, and are counted in the listing. If they are not, the
// figure is the patience of the rig.
void poisoned(bool first_load, Rows& rows) {
  constexpr int kServices = 1000;
  test::PrivateNetns node;
  Rig rig(node, "bench/service-500");
  Rig::Cost cost;
  if (first_load) {
    cost = rig.load(kServices, kEndpoints);
  } else {
    rig.load(1, kEndpoints);
    std::vector<servicelb::Change> changes;
    for (int i = 1; i < kServices; ++i) changes.push_back({service(i, 0).key, service(i, kEndpoints)});
    cost = rig.change(std::move(changes));
  }
  std::string listed;
  (void)node.shell("nft list table ip trama | grep -o 'bench/service-[0-9]*' | sort -u | wc -l", &listed);
  if (std::atoi(listed.c_str()) != kServices - 1)
    std::fprintf(stderr, "bench_services: poisoned, %s: %d of %d services are in the kernel after %.0f ms\n",
                 first_load ? "first load" : "burst", std::atoi(listed.c_str()), kServices - 1, cost.ms);
  rows.push_back({first_load ? "services.poisoned.first_load" : "services.poisoned.burst", cost.ms, "ms", 0, 0, 1000});
}

// ---- cold: the child ------------------------------------------------------------------------------------------------

double peak_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}
int cold_child(int services, int endpoints) {
  test::PrivateNetns node;
  Rig rig(node);
  auto load = rig.load(services, endpoints);
  double peak = peak_mb();
  rig.restart();
  auto again = rig.load(services, endpoints);
  std::printf("%f %f %f %zu %f\n", load.ms, peak, again.ms, again.operations, load.kernel_us / 1000);
  return 0;
}
void cold(int services, int endpoints, double goal_ms, double goal_mb, Rows& rows) {
  char self[4096] = "";
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) fail("who am I?");
  std::string answer;
  double ms = 0, peak = 0, again = 0, kernel = 0;
  std::size_t operations = 0;
  int code = test::shell(fmt::format("{} --cold {} {}", self, services, endpoints), &answer);
  if (code != 0 || std::sscanf(answer.c_str(), "%lf %lf %lf %zu %lf", &ms, &peak, &again, &operations, &kernel) != 5)
    fail("cold start: " + answer);
  std::string size = fmt::format("{}x{}", services, endpoints);
  rows.push_back({"services.cold." + size, ms, "ms", 0, 0, goal_ms});
  rows.push_back({"services.cold.kernel." + size, kernel, "ms", 0, 0, 0});
  rows.push_back({"services.cold.peak_memory." + size, peak, "MB", 0, 0, goal_mb});
  bool judged = services == 10'000 && endpoints == kEndpoints;
  rows.push_back({"services.restart." + size, again, "ms", 0, 0, judged ? 1000.0 : 0});
  rows.push_back(
      {"services.restart.operations." + size, static_cast<double>(operations), "ops", 0, 0, judged ? kNothing : 0});
}

}  // namespace

int run(int argc, char** argv) {
  base::logger("servicelb")->set_level(spdlog::level::off);
  if (argc == 4 && std::strcmp(argv[1], "--cold") == 0) return cold_child(std::atoi(argv[2]), std::atoi(argv[3]));
  const std::set<std::string> known = {"change", "burst", "cold", "packets"};
  std::set<std::string> sections;
  std::vector<int> sizes;
  for (int i = 1; i < argc; ++i) {
    if (int n = std::atoi(argv[i]); n > 0)
      sizes.push_back(n);
    else if (known.contains(argv[i]))
      sections.insert(argv[i]);
    else
      fail(fmt::format("there is no section \"{}\" (change, burst, cold, packets, or numbers of services)", argv[i]));
  }
  if (sections.empty()) sections = known;
  Rows rows;
  if (sections.contains("change")) {
    Worst worst;
    for (int s : sizes.empty() ? std::vector<int>{100, 1000, 5000, 10'000, 100'000} : sizes) change(s, rows, worst);
    flatness(worst, rows);
  }
  if (sections.contains("burst")) {
    burst(rows);
    poisoned(true, rows);
    poisoned(false, rows);
  }
  if (sections.contains("cold")) {
    cold(10'000, 4, 1000, 100, rows);
    cold(10'000, 50, 5000, 400, rows);
    cold(100'000, 10, 15'000, 1024, rows);
  }
  if (sections.contains("packets")) {
    std::vector<int> ours = sizes.empty() ? std::vector<int>{1000, 5000, 10'000} : sizes, peers;
    for (int s : ours)
      if (s <= kPeerLimit) peers.push_back(s);
    auto more = packet_rows(ours, peers, kEndpoints);
    rows.insert(rows.end(), more.begin(), more.end());
  }
  print(rows);
  return 0;
}

}  // namespace trama::bench

int main(int argc, char** argv) {
  try {
    return trama::bench::run(argc, argv);
  } catch (const std::exception& e) {
    trama::bench::fail(e.what());
  }
}
