// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/bench/services_packets.h"

#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/bench/services_peer.h"
#include "tests/bench/services_rig.h"

namespace trama::bench {
namespace {
constexpr int kPackets = 20'000;  // of a round; as many connections when each is new
constexpr int kFlows = 512;       // established ones
constexpr int kRounds = 21;
constexpr int kAtOnce = 64;
constexpr std::size_t kSize = 60;
constexpr char kNodeMac[] = "\x02\x00\x00\x00\x00\x01";

double cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// client --veth-- node --veth-- sink, which drops everything at its door. The client is a pod (10.200.0.2…), so that
// nobody masquerades it.
class Course {
 public:
  explicit Course(int services) : services_(services) {
    sh(node_, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
    sh(node_, "ip link add c0 address 02:00:00:00:00:01 type veth peer name eth0 netns " + client_.path());
    sh(node_, "ip link add s0 type veth peer name eth0 address 02:00:00:00:00:02 netns " + sink_.path());
    sh(node_,
       "ip addr add 10.1.1.1/24 dev c0; ip addr add 10.1.2.1/24 dev s0; ip link set c0 up; ip link set s0 up; "
       "ip neigh add 10.1.2.2 lladdr 02:00:00:00:00:02 dev s0 nud permanent; ip route add default via 10.1.2.2");
    sh(client_, "ip link set eth0 up");
    sh(sink_,
       "ip link set eth0 up; nft add table netdev sink; "
       "nft add chain netdev sink in '{ type filter hook ingress device eth0 priority 0; policy drop; }'");
    client_.run([this] {
      fd_.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
      int on = 1;
      setsockopt(fd_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
      sockaddr_ll at{};
      at.sll_family = AF_PACKET, at.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
      if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) < 0) fail("cannot send packets");
    });
    for (int i = 0; i < kAtOnce; ++i) prepare(i);
  }
  const test::PrivateNetns& node() const { return node_; }
  void forget_flows() const { sh(node_, "conntrack -F 2>/dev/null"); }
  // How many connections of the node were translated.
  int translated() const {
    std::string text;
    (void)node_.shell("conntrack -L -g 2>/dev/null | wc -l", &text);
    return std::atoi(text.c_str());
  }
  // CPU nanoseconds per packet.
  double fresh() { return send(true, kPackets); }
  double established() {
    (void)send(false, kFlows);
    return send(false, kPackets);
  }

 private:
  static void sh(const test::PrivateNetns& ns, const std::string& command) {
    std::string output;
    if (ns.shell(command, &output) != 0) fail(command + ": " + output);
  }
  void prepare(int i) {
    auto& b = frames_[static_cast<std::size_t>(i)];
    std::memcpy(b.data(), kNodeMac, 6);
    b[6] = 2, b[11] = 9, b[12] = 8, b[13] = 0;
    iphdr ip{};
    ip.version = 4, ip.ihl = 5, ip.ttl = 64, ip.protocol = IPPROTO_UDP, ip.tot_len = htons(kSize - 14);
    udphdr udp{};
    udp.dest = htons(80), udp.len = htons(kSize - 34);
    std::memcpy(&b[14], &ip, sizeof ip);
    std::memcpy(&b[34], &udp, sizeof udp);
  }
  std::uint32_t random() {
    seed_ ^= seed_ << 13, seed_ ^= seed_ >> 17, seed_ ^= seed_ << 5;
    return seed_;
  }
  void address(std::size_t i, std::uint32_t flow, std::uint32_t service) {
    auto& b = frames_[i];
    std::uint32_t from = htonl(0x0ac80002 + (flow / 60'000)), to = htonl(0x0a600000 + service);
    std::uint16_t port = htons(static_cast<std::uint16_t>(1024 + flow % 60'000)), none = 0;
    std::memcpy(&b[26], &from, 4);
    std::memcpy(&b[30], &to, 4);
    std::memcpy(&b[34], &port, 2);
    std::memcpy(&b[24], &none, 2);
    std::uint32_t sum = 0;
    for (std::size_t at = 14; at < 34; at += 2) {
      std::uint16_t word = 0;
      std::memcpy(&word, &b[at], 2);
      sum += word;
    }
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    auto check = static_cast<std::uint16_t>(~sum);
    std::memcpy(&b[24], &check, 2);
  }
  double send(bool fresh, int packets) {
    std::array<mmsghdr, kAtOnce> messages{};
    std::array<iovec, kAtOnce> parts{};
    for (std::size_t i = 0; i < kAtOnce; ++i) {
      parts[i] = {frames_[i].data(), kSize};
      messages[i].msg_hdr.msg_iov = &parts[i], messages[i].msg_hdr.msg_iovlen = 1;
    }
    auto services = static_cast<std::uint32_t>(services_);
    double before = cpu_ns();
    for (int sent = 0; sent < packets;) {
      unsigned n = 0;
      for (; n < kAtOnce && sent + static_cast<int>(n) < packets; ++n) {
        std::uint32_t number = static_cast<std::uint32_t>(sent) + n, flow = number % kFlows;
        address(n, fresh ? number : flow, fresh ? random() % services : flow % services);
      }
      int done = sendmmsg(fd_.get(), messages.data(), n, 0);
      if (done <= 0) fail("sendmmsg");
      sent += done;
    }
    return (cpu_ns() - before) / packets;
  }

  int services_;
  test::PrivateNetns client_, node_, sink_;
  base::UniqueFd fd_;
  std::array<std::array<unsigned char, kSize>, kAtOnce> frames_{};
  std::uint32_t seed_ = 2463534242u;
};

struct Runner {
  std::string name;
  std::unique_ptr<Course> course;
  std::unique_ptr<Rig> rig;
  double fresh = 1e12, established = 1e12;
};
}  // namespace

std::vector<Row> packet_rows(const std::vector<int>& ours, const std::vector<int>& peers, int endpoints) {
  std::vector<Runner> all;
  auto add = [&all](std::string name, int services) -> Runner& {
    all.push_back({std::move(name), std::make_unique<Course>(services), nullptr});
    return all.back();
  };
  auto rules = [](const Course& c, const std::string& text) {
    std::string output;
    if (c.node().shell("nft -f - <<E\n" + text + "E", &output) != 0) fail(output);
  };
  // A rule about conntrack is what switches conntrack on; empty nat chains alone do not.
  const std::string track = "chain c {\ntype filter hook prerouting priority 0\nct state invalid\n}\n";
  const std::string hooks =
      "chain a {\ntype nat hook prerouting priority -100\n}\nchain b {\ntype nat hook postrouting priority 100\n}\n";
  rules(*add("conntrack", 1000).course, "table ip t {\n" + track + "}\n");
  rules(*add("nat", 1000).course, "table ip t {\n" + track + hooks + "}\n");
  for (int services : ours) {
    auto& r = add(fmt::format("ours.{}", services), services);
    r.rig = std::make_unique<Rig>(r.course->node());
    r.rig->load(services, endpoints, servicelb::Protocol::udp);
  }
  for (int services : ours) {
    auto& r = add(fmt::format("bare.{}", services), services);
    BareDataMaps(r.course->node(), services, endpoints, "udp").load();
  }
  for (int services : peers) {
    auto& r = add(fmt::format("peer.{}", services), services);
    (void)ChainPerService(r.course->node(), services, endpoints, "udp").load();
  }
  for (int round = 0; round < kRounds; ++round)
    for (auto& r : all) {
      r.course->forget_flows();
      r.fresh = std::min(r.fresh, r.course->fresh());
      if (round == 0 && r.name.find('.') != std::string::npos && r.course->translated() < kPackets * 9 / 10)
        fail(fmt::format("packets: {} translates {} of {} connections", r.name, r.course->translated(), kPackets));
      r.course->forget_flows();
      r.established = std::min(r.established, r.course->established());
    }
  std::map<std::string, const Runner*> by;
  for (const auto& r : all) by[r.name] = &r;
  const Runner &conntrack = *by.at("conntrack"), &nat = *by.at("nat");
  std::vector<Row> rows;
  rows.push_back({"services.packet.new.no_rules", nat.fresh, "ns", conntrack.fresh, 0, 0});
  rows.push_back({"services.packet.established.no_rules", nat.established, "ns", conntrack.established, 0, 0});
  for (int services : ours) {
    const Runner& r = *by.at(fmt::format("ours.{}", services));
    auto peer = by.find(fmt::format("peer.{}", services));
    const Runner* p = peer == by.end() ? nullptr : peer->second;
    const Runner& bare = *by.at(fmt::format("bare.{}", services));
    rows.push_back({fmt::format("services.packet.new.{}", services), r.fresh, "ns", bare.fresh, p ? p->fresh : 0, 0});
    rows.push_back({fmt::format("services.packet.new_over_nat.{}", services), r.fresh - nat.fresh, "ns",
                    bare.fresh - nat.fresh, p ? p->fresh - nat.fresh : 0, 0});
    rows.push_back({fmt::format("services.packet.established.{}", services), r.established, "ns", conntrack.established,
                    p ? p->established : 0, 0});
  }
  return rows;
}

}  // namespace trama::bench
