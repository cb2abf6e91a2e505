// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/plan.h"

#include <random>

#include <gmock/gmock.h>

#include "tests/support/fake_sandbox_kernel.h"
#include "tests/support/golden.h"

namespace trama::netns::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Sandbox pod(const std::string& name, unsigned number) {
  Sandbox s;
  s.uid = fmt::format("{:08x}-0000-4000-8000-{:012x}", 0x7f3a0000u + number, number);
  s.ns = "default", s.name = name, s.hostname = name;
  s.network.netns_name = "default." + name;
  s.network.addresses = {Ip::v4(10, 244, 1, static_cast<std::uint8_t>(number)),
                         *Ip::parse(fmt::format("fd00:244::{:x}", number))};
  s.network.hosts = "127.0.0.1 localhost\n";
  s.network.connection_limit = 16384;
  s.containers.push_back({"main", "host", {"/bin/true"}, {}, ""});
  return s;
}
Desired desired(std::initializer_list<Sandbox> all) {
  Desired d;
  for (const auto& s : all) d.sandboxes[s.uid] = s;
  return d;
}
std::vector<std::string> texts(const std::vector<Op>& ops) {
  std::vector<std::string> out;
  for (const auto& op : ops) out.push_back(to_text(op));
  return out;
}
std::vector<std::string> pass(FakeKernel& kernel, const Desired& want) {
  auto ops = plan(want, *kernel.observe());
  for (const auto& op : ops) (void)kernel.apply(op);
  return texts(ops);
}
std::string story(const std::vector<std::pair<std::string, std::vector<std::string>>>& chapters) {
  std::string out;
  for (const auto& [title, lines] : chapters) {
    out += "== " + title + "\n";
    for (const auto& line : lines) out += line + "\n";
  }
  return out;
}

TEST(NetnsPlan, a_life_reads_as_planned) {
  FakeKernel kernel;
  Sandbox web = pod("web-1", 7), db = pod("db", 8);
  std::vector<std::pair<std::string, std::vector<std::string>>> chapters;
  auto next = [&](std::string title, const Desired& want) {
    chapters.emplace_back(std::move(title), pass(kernel, want));
    EXPECT_THAT(texts(plan(want, *kernel.observe())), IsEmpty()) << chapters.back().first;
  };
  next("two pods on an empty node", desired({web, db}));
  next("nothing changed", desired({web, db}));
  web.network.hosts += "10.244.1.7 web-1\n";
  next("hosts changed", desired({web, db}));
  web.limits.cpu_millis = 500;
  next("limits changed", desired({web, db}));
  web.network.mtu = 1400;
  next("mtu changed", desired({web, db}));
  web.network.connection_limit = 100;
  next("connection limit changed", desired({web, db}));
  for (auto& [name, damage] : FakeKernel::damages()) {
    if (name == "namespace" || name == "processes") continue;
    damage(kernel, web.uid);
    next("damaged: " + name, desired({web, db}));
  }
  web.stop_with_grace = std::chrono::seconds(30);
  next("web-1 is to end", desired({web, db}));
  Sandbox again = pod("web-1", 9);
  next("web-1 is followed by another of its name", desired({again, db}));
  next("all gone", {});
  EXPECT_EQ(trama::test::golden_difference("netns_plan_life.txt", story(chapters)), "");
}

TEST(NetnsPlan, a_namespace_lost_under_its_processes_ends_them_before_anything_is_remade) {
  FakeKernel kernel;
  Sandbox web = pod("web-1", 7);
  auto want = desired({web});
  pass(kernel, want);
  auto& b = kernel.boxes[web.uid];
  b.pinned = b.alive = b.veth = b.up = false;
  EXPECT_THAT(pass(kernel, want), ElementsAre("stop processes default/web-1: grace 0 s, to start over"));
  auto second = pass(kernel, want);
  EXPECT_THAT(second.front(), HasSubstr("create network default/web-1"));
  EXPECT_THAT(second.back(), HasSubstr("start processes default/web-1: main"));
  EXPECT_THAT(pass(kernel, want), IsEmpty());
}

TEST(NetnsPlan, volumes_are_written_when_their_content_differs_and_processes_wait_for_what_is_not_known) {
  FakeKernel kernel;
  Sandbox web = pod("web-1", 7);
  web.volumes["config"].files["a"] = {"1", 0644};
  web.volumes["work"].scratch = true;
  web.hold_processes = true;
  (void)pass(kernel, desired({web}));
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty()) << "its network is there, and nothing else";
  web.hold_processes = false;
  EXPECT_THAT(pass(kernel, desired({web})), ElementsAre("start processes default/web-1: main"));
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty());
  web.volumes["config"].files["a"].content = "2";
  web.hold_processes = true;
  EXPECT_THAT(pass(kernel, desired({web})), ElementsAre("write volumes default/web-1: config")) << "it runs already";
  Sandbox less = web;
  less.volumes.erase("config");
  EXPECT_THAT(pass(kernel, desired({less})), IsEmpty()) << "what is not known is left as it is";
  web.hold_processes = false;
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty());
  web.volumes["config"].files["a"].mode = 0400;
  web.volumes["late"].files["b"] = {"", 0644};
  EXPECT_THAT(pass(kernel, desired({web})), ElementsAre("write volumes default/web-1: config"))
      << "a volume that the pod was started without is none of its";
}

TEST(NetnsPlan, a_held_container_waits_alone_and_is_started_when_it_can) {
  FakeKernel kernel;
  Sandbox web = pod("web-1", 7);
  web.containers.push_back(web.containers[0]);
  web.containers[1].name = "side";
  web.containers[0].held = true;
  EXPECT_THAT(pass(kernel, desired({web})).back(), "start processes default/web-1: main (held), side");
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty());
  web.containers[0].held = false;
  EXPECT_THAT(pass(kernel, desired({web})), ElementsAre("start held containers default/web-1: main"));
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty());
  web.containers[0].held = web.containers[1].held = true;
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty()) << "what runs goes on without what it was made from";
}

TEST(NetnsPlan, other_addresses_are_another_network) {
  FakeKernel kernel;
  Sandbox web = pod("web-1", 7);
  pass(kernel, desired({web}));
  web.network.addresses = {*Ip::parse("10.244.1.99")};
  EXPECT_THAT(pass(kernel, desired({web})).front(), HasSubstr("withdraw"));
  pass(kernel, desired({web}));
  EXPECT_THAT(pass(kernel, desired({web})), IsEmpty());
  EXPECT_EQ(kernel.boxes[web.uid].routes.size(), 1u);
}

TEST(NetnsPlan, one_invalid_sandbox_stops_no_other) {
  FakeKernel kernel;
  Sandbox web = pod("web-1", 7), evil = pod("evil", 8);
  evil.network.netns_name = "../../etc/passwd";
  pass(kernel, desired({web, evil}));
  EXPECT_TRUE(kernel.boxes[web.uid].up);
  EXPECT_FALSE(kernel.boxes.contains(evil.uid));
  EXPECT_THAT(pass(kernel, desired({web, evil})), IsEmpty());
}

TEST(NetnsPlan, what_is_ending_or_leaving_is_waited_for) {
  Sandbox web = pod("web-1", 7);
  FakeKernel kernel;
  pass(kernel, desired({web}));
  auto seen = *kernel.observe();
  seen.sandboxes[web.uid].leaving = true;
  EXPECT_THAT(texts(plan({}, seen)), ElementsAre("remove table inet trama-pods"));
  EXPECT_THAT(texts(plan(desired({web}), seen)), IsEmpty());
  seen.sandboxes[web.uid].leaving = false;
  seen.sandboxes[web.uid].stopping = true;
  web.stop_with_grace = std::chrono::seconds(5);
  EXPECT_THAT(texts(plan(desired({web}), seen)), IsEmpty());
}

// Any damage, any change of mind, any failing operation: in the end the world is as wanted and the plan is empty.
TEST(NetnsPlanProperty, every_story_converges) {
  std::mt19937 random(116);
  auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  auto damages = FakeKernel::damages();
  for (int round = 0; round < 300; ++round) {
    FakeKernel kernel;
    Desired want;
    std::string told;
    for (int chapter = 0; chapter < 12; ++chapter) {
      unsigned number = 1 + static_cast<unsigned>(below(6));
      Sandbox s = pod(fmt::format("p{}", number % 4), number);  // some share a name, hence never at the same time
      switch (below(4)) {
        case 0:
          std::erase_if(want.sandboxes, [&](auto& e) { return e.second.name == s.name; });
          want.sandboxes[s.uid] = s;
          told += "+" + s.name;
          break;
        case 1:
          want.sandboxes.erase(s.uid);
          told += "-" + s.name;
          break;
        default:
          if (!kernel.boxes.empty()) {
            auto it = kernel.boxes.begin();
            std::advance(it, static_cast<std::ptrdiff_t>(below(kernel.boxes.size())));
            auto& [name, damage] = damages[below(damages.size())];
            Uid uid = it->first;
            damage(kernel, uid);
            told += "!" + name;
          }
      }
      kernel.fails = [&](const Op&) { return below(5) == 0; };
      pass(kernel, want);
    }
    kernel.fails = [](const Op&) { return false; };
    int passes = 0;
    while (!pass(kernel, want).empty()) ASSERT_LT(++passes, 6) << told;
    auto seen = *kernel.observe();
    ASSERT_EQ(seen.sandboxes.size(), want.sandboxes.size()) << told;
    for (const auto& [uid, s] : want.sandboxes) {
      const auto& have = seen.sandboxes[uid];
      ASSERT_TRUE(have.netns && have.link && have.inside && have.guarded) << told;
      ASSERT_EQ(have.routes.size(), 2u) << told;
      ASSERT_EQ(have.neighbours.size(), 2u) << told;
      ASSERT_EQ(have.processes, ProcessPhase::running) << told;
    }
    ASSERT_EQ(seen.guard, want.sandboxes.empty() ? GuardTable::absent : GuardTable::intact) << told;
  }
}

TEST(NetnsPlanProperty, the_order_keeps_its_promises) {
  FakeKernel kernel;
  auto want = desired({pod("a", 1), pod("b", 2), pod("c", 3)});
  auto lines = pass(kernel, want);
  auto at = [&](const std::string& what) {
    auto it = std::find_if(lines.begin(), lines.end(), [&](auto& l) { return l.find(what) != std::string::npos; });
    EXPECT_NE(it, lines.end()) << what;
    return it - lines.begin();
  };
  EXPECT_LT(at("make table"), at("create network default/a"));
  EXPECT_LT(at("create network default/a"), at("start processes default/a"));
  kernel.boxes[pod("b", 2).uid].guarded = false;
  for (auto& [uid, b] : kernel.boxes) b.up = false, b.routes.clear(), b.neighbours.clear();
  lines = pass(kernel, desired({pod("b", 2)}));
  EXPECT_LT(at("forget default/a"),
            at("repair guard default/b"));  // names and addresses are free before they are taken
  EXPECT_LT(at("withdraw default/a"), at("destroy network default/a"));
  EXPECT_LT(at("repair guard default/b"), at("repair link default/b"));
  EXPECT_LT(at("repair link default/b"), at("repair neighbours default/b"));
  EXPECT_LT(at("repair neighbours default/b"), at("repair routes default/b"));
}

TEST(NetnsModel, names_are_what_the_design_says) {
  Uid uid = "7f3a1b2c-3d4e-4f50-8000-0123456789ab";
  EXPECT_EQ(veth_name(uid), "tr7f3a1b2c3d4");
  EXPECT_EQ(veth_name(uid).size(), 13u);
  EXPECT_EQ(veth_name("static-web").size(), 13u);
  EXPECT_NE(veth_name("static-web"), veth_name("static-db"));
  EXPECT_EQ(veth_alias("default", "web-1", uid), "trama pod=default/web-1 uid=" + uid);
  EXPECT_EQ(veth_altname("default", "web-1"), "pod-default-web-1");
  EXPECT_EQ(pod_mac(uid).octets[0], 0x02);
  EXPECT_EQ(pod_mac(uid), pod_mac(uid));
  EXPECT_EQ(gateway(base::Family::v4).to_string(), "169.254.1.1");
  EXPECT_EQ(gateway(base::Family::v6).to_string(), "fe80::1");
  EXPECT_EQ(cgroup_name(uid), "pod-" + uid);
}

TEST(NetnsModel, long_names_fit_and_stay_apart) {
  Uid uid = "7f3a1b2c-3d4e-4f50-8000-0123456789ab";
  std::string ns(63, 'n'), name(253, 'p'), other = name.substr(0, 252) + "q";
  EXPECT_LE(veth_alias(ns, name, uid).size(), 255u);
  auto mark = parse_veth_alias(veth_alias(ns, name, uid));
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->uid, uid);
  EXPECT_LE(veth_altname(ns, name).size(), 127u);
  EXPECT_NE(veth_altname(ns, name), veth_altname(ns, other));
}

TEST(NetnsModel, an_alias_is_ours_only_when_it_says_so_completely) {
  EXPECT_EQ(parse_veth_alias("trama pod=default/web-1 uid=u-1"), (PodMark{"default", "web-1", "u-1"}));
  for (const char* foreign : {"", "trama", "trama pod=", "trama pod=default/web-1", "trama pod=default uid=x",
                              "trama pod=default/web-1 uid=", "pod=default/web-1 uid=x", "trama dying"})
    EXPECT_FALSE(parse_veth_alias(foreign)) << foreign;
}

TEST(NetnsModel, a_digest_tells_volumes_apart) {
  Volume a;
  a.files["x"] = {"1", 0644};
  Volume mode = a, content = a, name, scratch;
  mode.files["x"].mode = 0600;
  content.files["x"].content = "2";
  name.files["y"] = {"1", 0644};
  scratch.scratch = true;
  // Contents cannot be made to look like another file.
  Volume two, one;
  two.files["x"] = {"1", 0644}, two.files["y"] = {"2", 0644};
  one.files["x"] = {"1\ny 644 1 2", 0644};
  std::set<std::string> digests;
  for (const auto& v : {a, mode, content, name, scratch, two, one, Volume{}}) digests.insert(digest(v));
  EXPECT_EQ(digests.size(), 8u);
  EXPECT_EQ(digest(a), digest(Volume(a)));
}

TEST(NetnsModel, a_volume_has_files_below_it_only) {
  for (const char* good : {"a", "a.b", "a/b/c", "a..b", ".hidden", "a/..b"}) EXPECT_TRUE(is_file_path(good)) << good;
  for (const char* bad : {"", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/./b", "..data", "..2026/x"})
    EXPECT_FALSE(is_file_path(bad)) << bad;
}

TEST(NetnsModel, validation_names_what_is_wrong) {
  auto wrong = [](auto change) {
    Sandbox s = pod("web-1", 7);
    change(s);
    auto r = validate(s);
    return r ? std::string("valid") : r.error().to_string();
  };
  EXPECT_EQ(wrong([](Sandbox&) {}), "valid");
  EXPECT_THAT(wrong([](Sandbox& s) { s.uid = "../x"; }), HasSubstr("uid"));
  EXPECT_THAT(wrong([](Sandbox& s) { s.uid = ""; }), HasSubstr("uid"));
  for (const char* name : {"", ".", "..", "a/b", "../x", "a b", "-x", "a\nb"})
    EXPECT_THAT(wrong([&](Sandbox& s) { s.network.netns_name = name; }), HasSubstr("cannot name a network namespace"));
  EXPECT_THAT(wrong([](Sandbox& s) { s.network.addresses.clear(); }), HasSubstr("no address"));
  EXPECT_THAT(wrong([](Sandbox& s) { s.network.addresses.push_back(Ip::v4(10, 0, 0, 1)); }),
              HasSubstr("two addresses"));
  for (const char* ip : {"127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0"})
    EXPECT_THAT(wrong([&](Sandbox& s) { s.network.addresses = {*Ip::parse(ip)}; }), HasSubstr("cannot be the address"));
  EXPECT_THAT(wrong([](Sandbox& s) { s.network.mtu = 1279; }), HasSubstr("mtu"));
  EXPECT_EQ(wrong([](Sandbox& s) {
              s.network.mtu = 576;
              s.network.addresses.pop_back();
            }),
            "valid");
  EXPECT_THAT(wrong([](Sandbox& s) { s.network.mtu = 70000; }), HasSubstr("mtu"));
}

}  // namespace
}  // namespace trama::netns::test
