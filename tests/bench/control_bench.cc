// SPDX-License-Identifier: GPL-2.0-or-later
// The controller under load: a real process, TLS on loopback, its clients on the same cores.
//
// usage: bench_control [writes] [watch] [list] [schedule] [start] [cluster]
#include <csignal>
#include <fstream>
#include <set>

#include <boost/asio/co_spawn.hpp>

#include "control/api/object.h"
#include "tests/bench/control_rig.h"
#include "tests/bench/report.h"

namespace trama::bench {
namespace {

namespace asio = boost::asio;
using Rows = std::vector<Row>;
using std::chrono::milliseconds;

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
constexpr const char* kPods = "/api/v1/namespaces/default/pods";
constexpr const char* kRange = "--cluster-cidr 100.64.0.0/10";  // /24 for 16,384 nodes

std::string config_map(const std::string& name) {
  static const std::string kValue(1024, 'x');
  return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"k":"{}"}}}})", name,
                     kValue);
}

// About what a Deployment's pod looks like.
std::string pod(const std::string& name) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}","labels":{{"app":"web","tier":"front","pod-template-hash":"7d4f9c6b5"}}}},
"spec":{{"containers":[{{"name":"web","image":"registry.example/web:1.2.3","args":["--port=8080"],"env":[{{"name":"MODE","value":"production"}},{{"name":"ZONE","value":"eu-1a"}}],
"ports":[{{"name":"http","containerPort":8080}}],"resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}}}},
"readinessProbe":{{"httpGet":{{"path":"/ready","port":"http"}},"periodSeconds":5}}}}],"nodeSelector":{{"nobody":"has-this"}}}}}})",
      name);
}

std::string deployment(int replicas) {
  return fmt::format(
      R"({{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},"spec":{{"replicas":{},"selector":{{"matchLabels":{{"app":"web"}}}},
"template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"tolerations":[{{"key":"trama.dev/simulated","operator":"Exists"}}],
"containers":[{{"name":"c","image":"host","resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}}}}}}]}}}}}}}})",
      replicas);
}

double peak_megabytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

// ---- creates a second, by how many clients write at a time

void writes(Rows& rows) {
  constexpr int kRounds = 3;
  constexpr milliseconds kTime{1'500};
  ControlRig rig;
  std::unique_ptr<EtcdPeer> etcd;
  if (EtcdPeer::installed())
    etcd = std::make_unique<EtcdPeer>();
  else
    std::fprintf(stderr, "etcd is not installed: no peer (Debian: etcd-server)\n");
  std::size_t serial = 0;
  for (std::size_t together : {1u, 16u, 128u}) {
    std::vector<double> ours, floor, theirs, cpu;
    for (int round = 0; round < kRounds; ++round) {
      floor.push_back(durable_appends_per_second(rig.directory(), milliseconds(500)));
      auto used = test::cpu_seconds(rig.controller().pid());
      auto begin = Clock::now();
      auto base = serial;
      serial += rig.many(together, 0, kTime,
                         [&](std::size_t i) { return rig.create(kMaps, config_map(fmt::format("w{}", base + i))); });
      auto count = static_cast<double>(serial - base);
      ours.push_back(count / seconds_since(begin));
      cpu.push_back((test::cpu_seconds(rig.controller().pid()) - used) * 1e6 / count);
      if (etcd) theirs.push_back(etcd->puts_per_second(together, kTime));
    }
    auto peer = quantile(theirs, 0.5);
    rows.push_back(
        {fmt::format("control.creates.{}", together), quantile(ours, 0.5), "1/s", quantile(floor, 0.5), peer, 0, true});
    rows.push_back({fmt::format("control.creates.cpu.{}", together), quantile(cpu, 0.5), "us", 0, 0, 0});
  }
}

// ---- from the moment a write is sent until a watcher has it

struct Watchers {
  std::size_t living = 0, listening = 0, got = 0;  // of the write that is under way
  std::string expected;
  Clock::time_point sent;
  std::vector<double> delays;  // ms
};

awaitable<void> listen(client::ApiClient& api, Watchers& w) {
  auto stream = co_await api.stream(std::string(kMaps) + "?watch=true&resourceVersion=0");
  if (!stream) fail(stream.error().to_string());
  bool counted = false;
  for (;;) {
    auto line = co_await (*stream)->read_line(milliseconds(60'000));
    if (!line) co_return;                              // the end of the section
    if (!std::exchange(counted, true)) ++w.listening;  // what is there at first has come
    if (w.expected.empty() || line->find(w.expected) == std::string::npos) continue;
    w.delays.push_back(seconds_since(w.sent) * 1000);
    ++w.got;
  }
}

void watch(std::size_t count, int rounds, double goal, Rows& rows) {
  ControlRig rig;
  rig.run(rig.create(kMaps, config_map("first")));
  Watchers w;
  for (std::size_t i = 0; i < count; ++i) {
    ++w.living;
    asio::co_spawn(rig.context(), listen(rig.api(), w), [&w](std::exception_ptr) { --w.living; });
    // In groups: a thousand handshakes at once would run into the client's time limit on a busy machine.
    while (i % 50 == 49 && w.listening <= i) rig.context().run_one();
  }
  while (w.listening < count) rig.context().run_one();
  std::vector<double> p50, p99;
  auto used = test::cpu_seconds(rig.controller().pid());
  std::size_t events = 0;
  for (int batch = 0; batch < 5; ++batch) {
    w.delays.clear();
    for (int i = 0; i < rounds; ++i) {
      auto name = fmt::format("event-{}-{}-end", batch, i);
      w.expected = name;
      w.got = 0;
      w.sent = Clock::now();
      rig.run(rig.create(kMaps, config_map(name)));
      while (w.got < count) rig.context().run_one();
      events += count;
    }
    p50.push_back(quantile(w.delays, 0.5));
    p99.push_back(quantile(w.delays, 0.99));
  }
  auto per_event = (test::cpu_seconds(rig.controller().pid()) - used) * 1e6 / static_cast<double>(events);
  rows.push_back({fmt::format("control.watch.p50.{}", count), quantile(p50, 0.5), "ms", 0, 0, 0});
  rows.push_back({fmt::format("control.watch.p99.{}", count), quantile(p99, 0.5), "ms", 0, 0, goal});
  rows.push_back({fmt::format("control.watch.cpu_of_an_event.{}", count), per_event, "us", 0, 0, 0});
  rig.controller().stop();  // ends the streams
  while (w.living > 0) rig.context().run_one();
}

// ---- one list of everything

awaitable<void> read_all(client::ApiClient& api, std::string path, std::size_t* bytes) {
  auto stream = co_await api.stream(path);
  if (!stream) fail(stream.error().to_string());
  for (;;) {
    auto piece = co_await (*stream)->read(milliseconds(60'000));
    if (!piece) fail(piece.error().to_string());
    if (piece->empty()) co_return;
    *bytes += piece->size();
  }
}

void list(Rows& rows) {
  constexpr std::size_t kCount = 10'000;
  ControlRig rig;
  rig.many(64, kCount, milliseconds(0), [&](std::size_t i) { return rig.create(kPods, pod(fmt::format("p{}", i))); });
  std::vector<double> took, cpu;
  std::size_t bytes = 0;
  for (int i = 0; i < 9; ++i) {
    auto used = test::cpu_seconds(rig.controller().pid());
    auto begin = Clock::now();
    bytes = 0;
    rig.run(read_all(rig.api(), kPods, &bytes));
    took.push_back(seconds_since(begin) * 1000);
    cpu.push_back((test::cpu_seconds(rig.controller().pid()) - used) * 1000);
  }
  rows.push_back({"control.list.10000_pods", quantile(took, 0.5), "ms", 0, 0, 200});
  rows.push_back({"control.list.cpu", quantile(cpu, 0.5), "ms", 0, 0, 0});
  rows.push_back({"control.list.size", static_cast<double>(bytes) / 1e6, "MB", 0, 0, 0});
}

// ---- pods on simulated nodes

double wait_for_pods(ControlRig& rig, const char* field, std::int64_t count) {
  auto begin = Clock::now();
  while (seconds_since(begin) < 300) {
    auto rs = rig.get("/apis/apps/v1/namespaces/default/deployments/web");
    if (api::int_at(rs, field) >= count) return seconds_since(begin);
    ::usleep(100'000);
  }
  fail(fmt::format("{} did not reach {} within 300 s", field, count));
}

// The scheduler's own count of pods that it has bound.
double bound(ControlRig& rig, std::uint16_t port) {
  double value = 0;
  auto task = [&]() -> awaitable<void> {
    asio::ip::tcp::socket socket(rig.context());
    asio::ip::tcp::endpoint where(asio::ip::address_v4::loopback(), port);
    auto [ec] = co_await socket.async_connect(where, async::kTuple);
    std::string request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", text(65'536, '\0');
    (void)co_await asio::async_write(socket, asio::buffer(request), async::kTuple);
    std::size_t have = 0;
    while (have < text.size()) {
      auto [read_ec, n] = co_await socket.async_read_some(asio::buffer(&text[have], text.size() - have), async::kTuple);
      have += n;
      if (read_ec) break;
    }
    auto at = text.find("\ntrama_scheduler_bound_total ");
    if (ec || at == std::string::npos) fail("the scheduler's metrics did not answer");
    value = std::atof(text.c_str() + at + 29);
  };
  rig.run(task());
  return value;
}

void schedule(Rows& rows) {
  constexpr int kPodCount = 10'000;
  auto port = free_port();
  ControlRig rig(fmt::format("{} --scheduler-port {}", kRange, port));
  rig.simulate(1'000);
  // From here on the nodes are only objects: what they would say about their pods is no part of scheduling.
  ::kill(rig.simulation(), SIGSTOP);
  auto used = test::cpu_seconds(rig.controller().pid());
  auto begin = Clock::now();
  rig.run(rig.create("/apis/apps/v1/namespaces/default/deployments", deployment(kPodCount)));
  while (bound(rig, port) < kPodCount && seconds_since(begin) < 300) ::usleep(20'000);
  auto took = seconds_since(begin);
  auto cpu = test::cpu_seconds(rig.controller().pid()) - used;
  ::kill(rig.simulation(), SIGCONT);
  // Made by the Deployment's controller and bound, both at the same time.
  rows.push_back({"control.schedule.1000_nodes", kPodCount / took, "1/s", 0, 0, 1'000, true});
  rows.push_back({"control.schedule.cpu_of_a_pod", cpu * 1e6 / kPodCount, "us", 0, 0, 0});
}

constexpr std::size_t kObjects = 100'000;

void restarts(ControlRig& rig, const std::string& name, Rows& rows) {
  std::vector<double> took, cpu;
  for (int i = 0; i < 5; ++i) {
    took.push_back(rig.restart());
    cpu.push_back(test::cpu_seconds(rig.controller().pid()));
  }
  rows.push_back({name + ".100000_objects", quantile(took, 0.5), "s", 0, 0, 3});
  rows.push_back({name + ".cpu", quantile(cpu, 0.5), "s", 0, 0, 0});
  rows.push_back({name + ".memory", peak_megabytes(rig.controller().pid()), "MB", 0, 0, 0});
}

void cluster(Rows& rows) {
  ControlRig rig(kRange);
  auto pid = rig.controller().pid();
  rows.push_back({"control.cluster.5000_nodes_ready", rig.simulate(5'000), "s", 0, 0, 60});
  rows.push_back({"control.cluster.nodes.cpu", test::cpu_seconds(pid), "s", 0, 0, 0});
  auto used = test::cpu_seconds(pid);
  rig.run(rig.create("/apis/apps/v1/namespaces/default/deployments", deployment(10'000)));
  rows.push_back(
      {"control.cluster.10000_pods_ready", wait_for_pods(rig, "status.readyReplicas", 10'000), "s", 0, 0, 60});
  rows.push_back({"control.cluster.pods.cpu", test::cpu_seconds(pid) - used, "s", 0, 0, 0});
  ::sleep(3);
  used = test::cpu_seconds(pid);
  auto sim_used = test::cpu_seconds(rig.simulation());
  ::sleep(10);
  rows.push_back({"control.cluster.idle_cpu", (test::cpu_seconds(pid) - used) * 10, "%", 0, 0, 0});
  rows.push_back({"control.cluster.idle_cpu.sim", (test::cpu_seconds(rig.simulation()) - sim_used) * 10, "%", 0, 0, 0});
  rows.push_back({"control.cluster.memory", peak_megabytes(pid), "MB", 0, 0, 1'024});
  rig.end_simulation(SIGKILL);  // its nodes stay
  std::size_t have = 0;
  for (const char* path : {"/api/v1/nodes", "/api/v1/pods", "/api/v1/events", "/apis/coordination.k8s.io/v1/leases"}) {
    auto first = rig.get(std::string(path) + "?limit=1");
    have += 1 + static_cast<std::size_t>(api::int_at(first, "metadata.remainingItemCount"));
  }
  if (have < kObjects)
    rig.many(128, kObjects - have, milliseconds(0),
             [&](std::size_t i) { return rig.create(kMaps, config_map(fmt::format("m{}", i))); });
  restarts(rig, "control.cluster.start", rows);
}

// ---- how long a controller reads its store

void start(Rows& rows) {
  constexpr std::size_t kPodCount = 20'000;
  ControlRig rig;
  rig.many(128, kPodCount, milliseconds(0),
           [&](std::size_t i) { return rig.create(kPods, pod(fmt::format("p{}", i))); });
  rig.many(128, kObjects - kPodCount, milliseconds(0),
           [&](std::size_t i) { return rig.create(kMaps, config_map(fmt::format("m{}", i))); });
  restarts(rig, "control.start", rows);
}

int run(int argc, char** argv) {
  const std::set<std::string> known = {"writes", "watch", "list", "schedule", "start", "cluster"};
  std::set<std::string> sections(argv + 1, argv + argc);
  for (const auto& s : sections)
    if (!known.contains(s))
      fail(fmt::format("there is no section \"{}\" (writes, watch, list, schedule, start, cluster)", s));
  if (sections.empty()) sections = known;
  Rows rows;
  if (sections.contains("writes")) writes(rows);
  if (sections.contains("watch")) {
    watch(100, 100, 20, rows);
    watch(1'000, 20, 50, rows);
  }
  if (sections.contains("list")) list(rows);
  if (sections.contains("schedule")) schedule(rows);
  if (sections.contains("start")) start(rows);
  if (sections.contains("cluster")) cluster(rows);
  print(rows);
  return 0;
}

}  // namespace
}  // namespace trama::bench

int main(int argc, char** argv) {
  try {
    return trama::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
