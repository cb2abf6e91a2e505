// SPDX-License-Identifier: GPL-2.0-or-later
// What the rooms rely on of links, routes, neighbours and nexthops: one suite, run on the machine in memory and on the
// real kernel. And what only the real one can show.
#include "base/netlink/rtnl.h"

#include <atomic>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/ip.h>
#include <sys/ioctl.h>

#include "base/netlink/client.h"
#include "tests/support/fake_rtnl.h"
#include "tests/support/private_netns.h"

namespace trama::netlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Ip ip(const char* t) { return *Ip::parse(t); }
Cidr net(const char* t) { return *Cidr::parse(t); }

struct Real {
  static constexpr bool kReal = true;
  trama::test::PrivateNetns space;
  std::optional<Client> client;
  Real() {
    space.run([&] {
      auto c = Client::open(NETLINK_ROUTE);
      if (!c) throw std::runtime_error(c.error().to_string());
      client.emplace(std::move(*c));
    });
  }
  Result<Reply> call(Request r) { return client->call(r); }
  Result<Reply> dump(Request r) { return client->dump(r); }
};
struct Fake {
  static constexpr bool kReal = false;
  test::FakeRtnl kernel;
  Result<Reply> call(Request r) { return kernel.call(r); }
  Result<Reply> dump(Request r) { return kernel.dump(r); }
};

template <class K>
struct Rtnl : ::testing::Test {
  K k;
  // A link that is up; both kernels know bridges.
  IfIndex up(const std::string& name) {
    EXPECT_TRUE(k.call(create_bridge(name)));
    IfIndex index = find(name).index;
    auto r = k.call(set_link_up(index, true));
    EXPECT_TRUE(r);
    return index;
  }
  Link find(const std::string& name) {
    auto r = k.call(get_link(name));
    EXPECT_TRUE(r) << name;
    return r ? *decode_link(r->front()) : Link{};
  }
  template <class T>
  std::vector<T> all(Request request, Result<T> (*decode)(const Part&)) {
    auto r = k.dump(std::move(request));
    EXPECT_TRUE(r);
    std::vector<T> out;
    if (r)
      for (const auto& part : *r) {
        auto one = decode(part);
        EXPECT_TRUE(one);
        if (one) out.push_back(*one);
      }
    return out;
  }
  std::vector<std::string> routes(Family f) {
    std::vector<std::string> out;
    for (const auto& r : all<Route>(list_routes(f, 116), &decode_route))
      out.push_back(
          fmt::format("{} nh {} dev {} mtu {}", r.destination.to_string(), r.nexthop_id, r.link.value, r.mtu));
    return out;
  }
  Route route(const char* to, IfIndex link, unsigned mtu = 0) {
    Route r;
    r.destination = net(to);
    r.link = link;
    r.mtu = mtu;
    r.protocol = 116;
    r.scope = r.destination.family() == Family::v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    return r;
  }
  bool is(const Result<Reply>& r, int err) {
    int got = r ? 0 : r.error().code().value();
    EXPECT_EQ(got, err) << (r ? std::string("it worked") : r.error().to_string());
    return got == err;
  }
};
using Kernels = ::testing::Types<Fake, Real>;
TYPED_TEST_SUITE(Rtnl, Kernels);

TYPED_TEST(Rtnl, links_are_made_once_found_and_deleted) {
  auto index = this->up("br0");
  EXPECT_GT(index.value, 0u);
  Link link = this->find("br0");
  EXPECT_TRUE(link.up);
  EXPECT_EQ(link.kind, "bridge");
  this->is(this->k.call(create_bridge("br0")), EEXIST);
  EXPECT_TRUE(this->k.call(set_link_up(index, false)));
  EXPECT_FALSE(this->find("br0").up);
  EXPECT_TRUE(this->k.call(delete_link(index)));
  this->is(this->k.call(get_link("br0")), ENODEV);
  this->is(this->k.call(delete_link(index)), ENODEV);
  this->is(this->k.call(set_link_up(index, true)), ENODEV);
}

TYPED_TEST(Rtnl, routes_are_added_once_replaced_and_deleted) {
  auto link = this->up("br0");
  for (auto [first, second, family] :
       {std::tuple{"10.1.0.0/16", "10.2.0.0/16", Family::v4}, {"fd00:1::/64", "fd00:2::/64", Family::v6}}) {
    EXPECT_TRUE(this->k.call(add_route(this->route(first, link))));
    this->is(this->k.call(add_route(this->route(first, link))), EEXIST);
    EXPECT_TRUE(this->k.call(put_route(this->route(first, link, 1400))));
    EXPECT_TRUE(this->k.call(put_route(this->route(second, link))));
    EXPECT_THAT(this->routes(family), UnorderedElementsAre(fmt::format("{} nh 0 dev {} mtu 1400", first, link.value),
                                                           fmt::format("{} nh 0 dev {} mtu 0", second, link.value)));
    EXPECT_TRUE(this->k.call(delete_route(this->route(first, link))));
    this->is(this->k.call(delete_route(this->route(first, link))), ESRCH);
    EXPECT_EQ(this->routes(family).size(), 1u);
  }
}

TYPED_TEST(Rtnl, routes_need_a_link_that_is_up_and_go_with_it) {
  auto link = this->up("br0");
  EXPECT_TRUE(this->k.call(add_route(this->route("10.1.0.0/16", link))));
  EXPECT_TRUE(this->k.call(set_link_up(link, false)));
  EXPECT_THAT(this->routes(Family::v4), IsEmpty());
  this->is(this->k.call(add_route(this->route("10.1.0.0/16", link))), ENETDOWN);
  EXPECT_TRUE(this->k.call(set_link_up(link, true)));
  EXPECT_TRUE(this->k.call(add_route(this->route("10.1.0.0/16", link))));
  EXPECT_TRUE(this->k.call(delete_link(link)));
  EXPECT_THAT(this->routes(Family::v4), IsEmpty());
}

TYPED_TEST(Rtnl, routes_of_others_are_not_listed) {
  auto link = this->up("br0");
  auto foreign = this->route("10.9.0.0/16", link);
  foreign.protocol = RTPROT_BOOT;
  EXPECT_TRUE(this->k.call(put_route(foreign)));
  EXPECT_TRUE(this->k.call(put_route(this->route("10.1.0.0/16", link))));
  EXPECT_EQ(this->routes(Family::v4).size(), 1u);
}

TYPED_TEST(Rtnl, neighbours_are_permanent_replaceable_and_listed_by_link) {
  auto one = this->up("br0"), two = this->up("br1");
  for (auto family : {Family::v4, Family::v6}) {
    Neighbour n;
    n.link = one;
    n.ip = family == Family::v4 ? ip("10.0.0.9") : ip("fd00::9");
    n.mac = *Mac::parse("02:00:00:00:00:01");
    n.state = NUD_PERMANENT;
    EXPECT_TRUE(this->k.call(put_neighbour(n)));
    n.mac = *Mac::parse("02:00:00:00:00:02");
    EXPECT_TRUE(this->k.call(put_neighbour(n)));
    Neighbour elsewhere = n;
    elsewhere.link = two;
    EXPECT_TRUE(this->k.call(put_neighbour(elsewhere)));
    auto ours = [&](IfIndex link) {
      std::vector<Neighbour> out;
      for (auto& x : this->template all<Neighbour>(list_neighbours(family, link), &decode_neighbour))
        if (x.state & NUD_PERMANENT) out.push_back(x);
      return out;
    };
    EXPECT_THAT(ours(one), ElementsAre(n));
    EXPECT_TRUE(this->k.call(delete_neighbour(n)));
    EXPECT_THAT(ours(one), IsEmpty());
    EXPECT_THAT(ours(two), ElementsAre(elsewhere));
    this->is(this->k.call(delete_neighbour(n)), ENOENT);
  }
  Neighbour nowhere;
  nowhere.link = {9999};
  nowhere.ip = ip("10.0.0.1");
  this->is(this->k.call(put_neighbour(nowhere)), ENODEV);
}

TYPED_TEST(Rtnl, a_nexthop_carries_routes_moves_and_takes_them_along) {
  auto link = this->up("br0");
  Nexthop hop;
  hop.id = 77;
  hop.link = link;
  hop.protocol = 116;
  EXPECT_TRUE(this->k.call(put_nexthop(hop)));
  Route r;
  r.destination = net("10.5.0.0/16");
  r.nexthop_id = 77;
  r.protocol = 116;
  EXPECT_TRUE(this->k.call(put_route(r)));
  auto hops = [&] { return this->template all<Nexthop>(list_nexthops(), &decode_nexthop); };
  ASSERT_EQ(hops().size(), 1u);
  EXPECT_EQ(hops()[0].link, link);
  auto other = this->up("br1");
  hop.link = other;
  EXPECT_TRUE(this->k.call(put_nexthop(hop)));
  ASSERT_EQ(hops().size(), 1u);
  EXPECT_EQ(hops()[0].link, other);
  EXPECT_EQ(this->routes(Family::v4).size(), 1u);
  EXPECT_TRUE(this->k.call(delete_nexthop(77)));
  EXPECT_THAT(this->routes(Family::v4), IsEmpty());
  this->is(this->k.call(delete_nexthop(77)), ENOENT);
}

// ---- the real kernel alone ------------------------------------------------------------------------------------------

struct RealRtnl : ::testing::Test {
  Real k;
  Link find(const std::string& name) {
    auto r = k.call(get_link(name));
    EXPECT_TRUE(r);
    return r ? *decode_link(r->front()) : Link{};
  }
};

TEST_F(RealRtnl, errors_carry_the_kernels_sentence) {
  ASSERT_TRUE(k.call(create_bridge("br0")));
  Vxlan v;
  v.vni = {1u << 25};
  v.port = 6784;
  auto r = k.call(create_vxlan("x0", v, Mac{{2, 0, 0, 0, 0, 1}}, 1400));
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().to_string(), HasSubstr("create vxlan x0 ("));
}

TEST_F(RealRtnl, a_veth_is_born_as_specified_with_its_other_end_elsewhere) {
  trama::test::PrivateNetns other;
  VethSpec spec;
  spec.name = "tr0";
  spec.index = {4000};
  spec.mac = *Mac::parse("ee:ee:ee:ee:ee:ee");
  spec.mtu = 1450, spec.group = 7200;
  spec.peer_name = "eth0";
  spec.peer_mac = *Mac::parse("02:00:00:00:00:05");
  spec.peer_netns_fd = other.fd();
  ASSERT_TRUE(k.call(create_veth(spec)));
  ASSERT_TRUE(k.call(set_addr_gen_none({4000})));
  ASSERT_TRUE(k.call(set_link_alias({4000}, "trama pod=a/b uid=c")));
  ASSERT_TRUE(k.call(add_altname({4000}, "pod-a-b")));
  EXPECT_EQ(k.call(add_altname({4000}, "pod-a-b")).error().code().value(), EEXIST);
  ASSERT_TRUE(k.call(set_ipv4_conf({4000}, {{IPV4_DEVCONF_RP_FILTER, 2}, {IPV4_DEVCONF_FORWARDING, 1}})));
  Link link = find("tr0");
  EXPECT_EQ(link.index.value, 4000u);
  EXPECT_EQ(link.kind, "veth");
  EXPECT_EQ(link.alias, "trama pod=a/b uid=c");
  EXPECT_THAT(link.altnames, ElementsAre("pod-a-b"));
  EXPECT_EQ(link.mac, spec.mac);
  EXPECT_EQ(link.mtu, 1450u);
  EXPECT_EQ(link.group, 7200u);
  EXPECT_FALSE(link.up);
  EXPECT_TRUE(link.peer_nsid);
  EXPECT_EQ(link.addr_gen_mode, 1);
  ASSERT_GE(link.ipv4_conf.size(), 8u);
  EXPECT_EQ(link.ipv4_conf[IPV4_DEVCONF_RP_FILTER - 1], 2);
  EXPECT_EQ(link.ipv4_conf[IPV4_DEVCONF_FORWARDING - 1], 1);
  std::string text;
  k.space.shell("cat /proc/sys/net/ipv4/conf/tr0/rp_filter", &text);
  EXPECT_EQ(text, "2\n");
  EXPECT_GT(link.ipv6_conf.size(), 4u);
  other.run([&] {
    auto inside = Client::open(NETLINK_ROUTE);
    auto request = get_link("eth0");
    auto eth = inside->call(request);
    ASSERT_TRUE(eth);
    EXPECT_EQ(decode_link(eth->front())->mac, spec.peer_mac);
  });
  ASSERT_TRUE(k.call(delete_altname({4000}, "pod-a-b")));
  EXPECT_THAT(find("tr0").altnames, IsEmpty());
  // A group goes at once; an empty one is ENODEV.
  ASSERT_TRUE(k.call(set_link_group({4000}, 7201)));
  ASSERT_TRUE(k.call(delete_link_group(7201)));
  EXPECT_EQ(k.call(delete_link_group(7201)).error().code().value(), ENODEV);
  EXPECT_EQ(k.call(get_link("tr0")).error().code().value(), ENODEV);
}

TEST_F(RealRtnl, a_batch_answers_for_each_request) {
  ASSERT_TRUE(k.call(create_bridge("br0")));
  std::vector<Request> requests;
  for (int i = 0; i < 200; ++i) requests.push_back(create_bridge(i % 50 == 7 ? "br0" : fmt::format("b{}", i)));
  auto results = k.client->batch(requests);
  ASSERT_EQ(results.size(), 200u);
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (i % 50 != 7) {
      EXPECT_TRUE(results[i]) << i;
      continue;
    }
    ASSERT_FALSE(results[i]) << i;
    EXPECT_TRUE(results[i].error().is(std::errc::file_exists));
    EXPECT_THAT(results[i].error().to_string(), HasSubstr("create bridge br0"));
  }
  requests.clear();
  EXPECT_TRUE(k.client->batch(requests).empty());
}

TEST_F(RealRtnl, an_fdb_entry_and_an_encap_nexthop_come_back_as_they_went) {
  Vxlan v;
  v.vni = {42}, v.port = 6784, v.local = ip("192.0.2.9");
  ASSERT_TRUE(k.call(create_vxlan("vx", v, Mac{{2, 0, 0, 0, 0, 1}}, 1400)));
  Link link = find("vx");
  EXPECT_EQ(link.vxlan->vni.value, 42u);
  EXPECT_EQ(link.vxlan->port, 6784);
  EXPECT_EQ(link.vxlan->local, v.local);
  EXPECT_FALSE(link.vxlan->learning);
  ASSERT_TRUE(k.call(set_link_up(link.index, true)));
  Neighbour fdb;
  fdb.link = link.index;
  fdb.mac = *Mac::parse("02:00:00:00:00:07");
  fdb.fdb_destination = ip("192.0.2.7");
  ASSERT_TRUE(k.call(put_neighbour(fdb)));
  auto listed = k.dump(list_fdb(link.index));
  ASSERT_TRUE(listed);
  bool found = false;
  for (const auto& part : *listed) {
    auto n = decode_neighbour(part);
    found |= n && n->mac == fdb.mac && n->fdb_destination == fdb.fdb_destination;
  }
  EXPECT_TRUE(found);
  ASSERT_TRUE(k.call(delete_neighbour(fdb)));

  Vxlan external;
  external.external = true, external.port = 6785;
  ASSERT_TRUE(k.call(create_vxlan("ext", external, Mac{{2, 0, 0, 0, 0, 2}}, 1400)));
  Link ext = find("ext");
  EXPECT_TRUE(ext.vxlan->external);
  ASSERT_TRUE(k.call(set_link_up(ext.index, true)));
  Nexthop hop;
  hop.id = 5, hop.link = ext.index, hop.protocol = 116;
  hop.encap = Nexthop::Encap{{7}, ip("192.0.2.1"), ip("192.0.2.9")};
  ASSERT_TRUE(k.call(put_nexthop(hop)));
  auto hops = k.dump(list_nexthops());
  ASSERT_TRUE(hops);
  ASSERT_EQ(hops->size(), 1u);
  EXPECT_EQ(decode_nexthop(hops->front())->encap, hop.encap);
}

TEST_F(RealRtnl, a_dump_is_whole_while_the_world_changes) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(k.call(create_bridge(fmt::format("keep{}", i))));
  std::atomic<bool> stop{false};
  std::atomic<int> changes{0};
  std::thread churn([&] {
    k.space.run([&] {
      auto mine = Client::open(NETLINK_ROUTE);
      while (!stop) {
        auto make = create_bridge("churn");
        (void)mine->call(make);
        auto get = get_link("churn");
        auto r = mine->call(get);
        if (!r) continue;
        auto remove = set_link_alias(decode_link(r->front())->index, fmt::format("{}", changes++));
        (void)mine->call(remove);
      }
    });
  });
  int whole = 0;
  for (int round = 0; round < 200; ++round) {
    auto r = k.dump(list_links());
    if (!r) {
      EXPECT_TRUE(r.error().is(std::errc::resource_unavailable_try_again)) << r.error().to_string();
      continue;
    }
    int kept = 0;
    for (const auto& part : *r) kept += decode_link(part)->name.starts_with("keep");
    EXPECT_EQ(kept, 40);
    ++whole;
  }
  stop = true;
  churn.join();
  EXPECT_GT(whole, 100);
  EXPECT_GT(changes, 0);
}

TEST_F(RealRtnl, an_id_for_a_namespace_is_given_once) {
  trama::test::PrivateNetns other;
  ASSERT_TRUE(k.call(assign_nsid(other.fd())));
  EXPECT_EQ(k.call(assign_nsid(other.fd())).error().code().value(), EEXIST);
}

TEST_F(RealRtnl, addresses) {
  ASSERT_TRUE(k.call(create_bridge("br0")));
  Address a{find("br0").index, ip("10.1.0.1"), 32, 0x200, 0};
  ASSERT_TRUE(k.call(put_address(a)));
  ASSERT_TRUE(k.call(put_address(a)));  // idempotent
  auto listed = k.dump(list_addresses(Family::v4));
  ASSERT_TRUE(listed);
  int found = 0;
  for (const auto& part : *listed) found += decode_address(part)->ip == a.ip;
  EXPECT_EQ(found, 1);
  ASSERT_TRUE(k.call(delete_address(a)));
  EXPECT_EQ(k.call(delete_address(a)).error().code().value(), EADDRNOTAVAIL);
}

}  // namespace
}  // namespace trama::netlink
