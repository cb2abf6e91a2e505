// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/bench/services_peer.h"

#include <cstdio>

#include <fmt/format.h>
#include <sched.h>
#include <sys/wait.h>

#include "tests/bench/services_rig.h"

namespace trama::bench {
namespace {
constexpr int kAtOnce = 500;

std::string chain_of(int service) { return fmt::format("service-{}", service); }

// Milliseconds.
double feed_nft(const test::PrivateNetns& where, const std::string& text) {
  double took = 0;
  where.run([&] {
    auto started = Clock::now();
    FILE* pipe = popen("nft -f -", "w");
    if (!pipe || std::fwrite(text.data(), 1, text.size(), pipe) != text.size() || pclose(pipe) != 0)
      fail("nft does not take the peer's rules");
    took = since(started) / 1000;
  });
  return took;
}
}  // namespace

std::string ChainPerService::rule(int i, int salt) const {
  auto s = service(i, endpoints_, salt);
  std::string map;
  int number = 0;
  for (const auto& e : s.ports.front().endpoints)
    map += fmt::format("{}{} : {} . {}", number == 0 ? "" : ", ", number, e.ip.to_string(), e.port), ++number;
  return fmt::format("add rule ip kube-proxy {} meta l4proto {} dnat ip to numgen random mod {} map {{ {} }}\n",
                     chain_of(i), protocol_, endpoints_, map);
}

double ChainPerService::nft(const std::string& text) const { return feed_nft(where_, text); }

double ChainPerService::load() const {
  double total =
      nft("add table ip kube-proxy\n"
          "add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
          "add chain ip kube-proxy services\n"
          "add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict; }\n"
          "add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
          "add set ip kube-proxy cluster-ips { type ipv4_addr; }\n"
          "add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat; }\n"
          "add chain ip kube-proxy nat-output { type nat hook output priority -100; }\n"
          "add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority srcnat; }\n"
          "add chain ip kube-proxy filter-forward { type filter hook forward priority -110; }\n"
          "add chain ip kube-proxy checks\n"
          "add rule ip kube-proxy filter-forward ct state new jump checks\n"
          "add rule ip kube-proxy checks ip daddr . meta l4proto . th dport vmap @no-endpoint-services\n"
          "add rule ip kube-proxy checks ip daddr @cluster-ips drop\n"
          "add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips\n"
          "add rule ip kube-proxy services fib daddr type local meta l4proto . th dport vmap @service-nodeports\n"
          "add rule ip kube-proxy nat-postrouting meta mark & 0x4000 == 0 return\n"
          "add rule ip kube-proxy nat-postrouting masquerade fully-random\n"
          "add rule ip kube-proxy nat-prerouting jump services\n"
          "add rule ip kube-proxy nat-output jump services\n");
  for (int from = 0; from < services_; from += kAtOnce) {
    std::string chains, rules, fronts;
    for (int i = from; i < std::min(from + kAtOnce, services_); ++i) {
      chains += fmt::format("add chain ip kube-proxy {}\n", chain_of(i));
      rules += rule(i, 0);
      fronts += fmt::format("add element ip kube-proxy service-ips {{ {} . {} . 80 : goto {} }}\n",
                            service(i, 0).cluster_ips.front().to_string(), protocol_, chain_of(i));
    }
    total += nft(chains + rules + fronts);
  }
  return total;
}
double ChainPerService::replace_endpoint(int service, int salt) const {
  return nft(fmt::format("flush chain ip kube-proxy {}\n", chain_of(service)) + rule(service, salt));
}
double ChainPerService::nothing() const { return nft("add table ip kube-proxy\n"); }

void BareDataMaps::load() const {
  feed_nft(where_, fmt::format(R"(table ip bare {{
  map services {{ typeof ip daddr . meta l4proto . th dport : ct mark; }}
  map slots {{ typeof ct mark . numgen random mod 65536 : ip daddr . th dport; }}
  chain draw {{
    meta l4proto {{ tcp, udp, sctp }} dnat ip to ct mark & 0xfffff000 . numgen random mod {} map @slots
    drop
  }}
  map class {{ typeof ct mark : verdict; elements = {{ 0x1 : goto draw }} }}
  chain services {{
    ct mark set ip daddr . meta l4proto . th dport map @services
    ct mark & 0x000007ff vmap @class
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain output {{ type nat hook output priority -100; jump services; }}
  chain postrouting {{ type nat hook postrouting priority srcnat; }}
}}
)",
                               endpoints_));
  for (int from = 0; from < services_; from += 1000) {
    std::string text;
    for (int i = from; i < std::min(from + 1000, services_); ++i) {
      auto s = service(i, endpoints_);
      auto id = static_cast<unsigned>(i + 1) << 12;
      int number = 0;
      for (const auto& e : s.ports.front().endpoints)
        text += fmt::format("add element ip bare slots {{ 0x{:x} . {} : {} . {} }}\n", id, number++, e.ip.to_string(),
                            e.port);
      text += fmt::format("add element ip bare services {{ {} . {} . 80 : 0x{:x} }}\n",
                          s.cluster_ips.front().to_string(), protocol_, id | 1);
    }
    feed_nft(where_, text);
  }
}

}  // namespace trama::bench
