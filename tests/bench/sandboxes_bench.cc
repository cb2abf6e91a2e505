// SPDX-License-Identifier: GPL-2.0-or-later
// What making and removing a sandbox costs, beside a floor and a peer measured in the same run.
//   bench_sandboxes [-n N]
// floor: one process, raw netlink, nothing but the namespace and the veth pair (create); one group deletion (delete).
// peer: the same result by the `ip` program, 9 executions (create); `ip netns del` and `ip link del` (delete).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "netns/kernel_linux.h"
#include "netns/wiring.h"
#include "tests/bench/report.h"
#include "tests/support/private_netns.h"

namespace {

using namespace trama;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point t) { return std::chrono::duration<double, std::milli>(Clock::now() - t).count(); }

// Processor time of this thread, which other load on the machine does not lengthen.
double cpu_ms() {
  rusage used{};
  getrusage(RUSAGE_THREAD, &used);
  auto ms = [](const timeval& t) { return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3; };
  return ms(used.ru_utime) + ms(used.ru_stime);
}

struct Times {
  std::vector<double> all;
  void add(double ms) { all.push_back(ms); }
  double at(double share) {
    if (all.empty()) return 0;
    std::sort(all.begin(), all.end());
    return all[std::min(all.size() - 1, static_cast<std::size_t>(share * static_cast<double>(all.size())))];
  }
};

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench_sandboxes: %s\n", why.c_str());
  std::_Exit(1);
}
template <class T>
T must(base::Result<T> r) {
  if (!r) die(r.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

netns::Sandbox pod(unsigned number) {
  netns::Sandbox s;
  s.uid = fmt::format("{:08x}-0000-4000-8000-{:012x}", 0x7f3a0000u + number, number);
  s.ns = "default", s.name = fmt::format("web-{}", number), s.hostname = s.name;
  s.network.netns_name = "default." + s.name;
  s.network.addresses = {base::Ip::v4(10, 244, 0, 1).plus(number), base::Ip::parse("fd00:244::1")->plus(number)};
  s.network.hosts = "127.0.0.1 localhost\n";
  s.network.resolv_conf = "nameserver 10.96.0.10\n";
  s.network.connection_limit = 16384;
  return s;
}

struct Floor {
  Times create;
  double delete_each = 0, create_cpu = 0;
};

Floor measure_floor(unsigned n) {
  Floor floor;
  auto home = must(netns::Home::open());
  auto client = must(netlink::Client::open(NETLINK_ROUTE));
  std::vector<base::UniqueFd> namespaces;
  double cpu = cpu_ms();
  for (unsigned i = 0; i < n; ++i) {
    auto start = Clock::now();
    if (unshare(CLONE_NEWNET) < 0) die("unshare");
    base::UniqueFd fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (setns(home.fd(), CLONE_NEWNET) < 0) die("setns");
    netlink::VethSpec spec;
    spec.name = fmt::format("bare{}", i);
    spec.group = netns::kDyingGroup;
    spec.mac = netns::host_mac();
    spec.peer_name = "eth0";
    spec.peer_mac = base::Mac::from_seed(spec.name);
    spec.peer_netns_fd = fd.get();
    auto request = netlink::create_veth(spec);
    must(client.call(request));
    floor.create.add(ms_since(start));
    namespaces.push_back(std::move(fd));
  }
  floor.create_cpu = (cpu_ms() - cpu) / n;
  auto start = Clock::now();
  auto remove = netlink::delete_link_group(netns::kDyingGroup);
  must(client.call(remove));
  floor.delete_each = ms_since(start) / n;
  return floor;
}

struct Peer {
  Times create, remove;
};

Peer measure_peer(unsigned n) {
  Peer peer;
  for (unsigned i = 0; i < n; ++i) {
    std::string ns = fmt::format("peer{}", i), link = fmt::format("pe{}", i);
    std::string create = fmt::format(
        "ip netns add {0} && ip link add {1} type veth peer name eth0 netns {0} && ip -n {0} link set lo up && "
        "ip -n {0} link set eth0 up && ip -n {0} addr add 10.9.0.{2}/32 dev eth0 && "
        "ip -n {0} route add 169.254.1.1 dev eth0 && ip -n {0} route add default via 169.254.1.1 && "
        "ip link set {1} up && ip route add 10.9.0.{2}/32 dev {1}",
        ns, link, i + 1);
    auto start = Clock::now();
    if (test::shell(create) != 0) die("the peer's script failed");
    peer.create.add(ms_since(start));
  }
  for (unsigned i = 0; i < n; ++i) {
    auto start = Clock::now();
    if (test::shell(fmt::format("ip link del pe{0}; ip netns del peer{0}", i)) != 0) die("the peer's script failed");
    peer.remove.add(ms_since(start));
  }
  return peer;
}

std::size_t live_links(netlink::Client& client) {
  auto list = netlink::list_links();
  auto reply = must(client.dump(list));
  std::size_t n = 0;
  for (const auto& part : reply) {
    auto link = netlink::decode_link(part);
    if (link && link->kind == "veth") ++n;
  }
  return n;
}

using bench::Row;

std::vector<Row> measure(unsigned n) {
  auto floor = measure_floor(n);
  auto peer = measure_peer(10);

  auto session = must(nft::Session::open());
  netns::NoProcesses processes;
  netns::KernelLinux::Options options;
  options.paths.run_dir = "/run/trama";
  options.paths.etc_netns_dir = "/run/etc-netns";
  auto kernel = must(netns::KernelLinux::open(options, session, processes));
  auto client = must(netlink::Client::open(NETLINK_ROUTE));
  must(kernel->apply(netns::EnableForwarding{}));
  must(kernel->apply(netns::MakeGuard{}));
  Times create, remove, observe;
  double cpu = cpu_ms();
  for (unsigned i = 0; i < n; ++i) {
    netns::CreateNetwork op{pod(i)};
    auto start = Clock::now();
    must(kernel->apply(op));
    create.add(ms_since(start));
  }
  double create_cpu = (cpu_ms() - cpu) / n;
  must(kernel->observe());  // the first looks into every namespace
  for (int i = 0; i < 20; ++i) {
    auto start = Clock::now();
    must(kernel->observe());
    observe.add(ms_since(start));
  }
  auto begin = Clock::now();
  cpu = cpu_ms();
  for (unsigned i = 0; i < n; ++i) {
    auto s = pod(i);
    auto start = Clock::now();
    must(kernel->apply(netns::Withdraw{s.uid, s.name}));
    must(kernel->apply(netns::DestroyNetwork{s.uid, s.name}));
    must(kernel->apply(netns::Forget{s.uid, s.name}));
    remove.add(ms_since(start));
  }
  double remove_cpu = (cpu_ms() - cpu) / n;
  while (live_links(client) > 0) usleep(1000);
  double gone = ms_since(begin) / n;
  must(kernel->apply(netns::RemoveGuard{}));
  return {
      {"sandboxes.create.p50", create.at(.5), "ms", floor.create.at(.5), peer.create.at(.5), 1.0},
      {"sandboxes.create.p99", create.at(.99), "ms", floor.create.at(.99), peer.create.at(.99), 15.0},
      {"sandboxes.create.cpu", create_cpu, "ms", floor.create_cpu, 0, 1.0},
      {"sandboxes.delete.p50", remove.at(.5), "ms", 0, peer.remove.at(.5), 1.0},
      {"sandboxes.delete.p99", remove.at(.99), "ms", 0, peer.remove.at(.99), 15.0},
      {"sandboxes.delete.cpu", remove_cpu, "ms", 0, 0, 1.0},
      {"sandboxes.delete.gone", gone, "ms", floor.delete_each, peer.remove.at(.5), 1.0},
      {fmt::format("sandboxes.observe.{}", n), observe.at(.5), "ms", 0, 0, 20.0},
  };
}

}  // namespace

int main(int argc, char** argv) {
  unsigned n = 200;
  for (int c; (c = getopt(argc, argv, "n:")) != -1;) {
    if (c == 'n') n = static_cast<unsigned>(std::max(1, std::atoi(optarg)));
    if (c == '?') return 2;
  }
  // Mounts and network of its own: nothing outlives the measurement.
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount("", "/", "none", MS_REC | MS_PRIVATE, nullptr) < 0 ||
      mount("tmpfs", "/run", "tmpfs", 0, nullptr) < 0) {
    std::perror("bench_sandboxes: needs root");
    return 1;
  }
  bench::print(measure(n));
  return 0;
}
