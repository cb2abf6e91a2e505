// SPDX-License-Identifier: GPL-2.0-or-later
// What the planner relies on, asked of the fake kernel and of the real one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "servicelb/kernel_linux.h"
#include "tests/support/fake_nft.h"
#include "tests/support/private_netns.h"

namespace trama::servicelb {
namespace {
using ::testing::IsEmpty;

Shape draws(std::initializer_list<std::uint32_t> slots) {
  Shape s;
  for (auto n : slots) s.classes[n].slots = n;
  return s;
}

struct Subject {
  virtual ~Subject() = default;
  virtual Kernel& kernel() = 0;
};
struct FakeSubject : Subject {
  test::FakeNft fake;
  Kernel& kernel() override { return fake; }
};
struct RealSubject : Subject {
  RealSubject() {
    ns.run([&] {
      auto s = nft::Session::open();
      if (!s) throw std::runtime_error(s.error().to_string());
      session = std::make_unique<nft::Session>(std::move(*s));
      auto k = LinuxKernel::open(*session);
      if (!k) throw std::runtime_error(k.error().to_string());
      linux_kernel = std::move(*k);
    });
  }
  test::PrivateNetns ns;
  std::unique_ptr<nft::Session> session;
  std::unique_ptr<LinuxKernel> linux_kernel;
  Kernel& kernel() override { return *linux_kernel; }
};

class KernelContract : public ::testing::TestWithParam<bool> {
 protected:
  KernelContract() {
    if (GetParam())
      subject = std::make_unique<RealSubject>();
    else
      subject = std::make_unique<FakeSubject>();
    nft::Batch b;
    auto whole = blueprint(Family::v4, draws({1, 2}));
    nft::put_frame(b, whole);
    b.put_element(table, classes, class_element(1, "n1"));
    b.put_element(table, slots_set, slot(0, 1));
    nft::put_rules(b, whole);
    auto ok = kernel().commit(b);
    EXPECT_TRUE(ok) << ok.error().to_string();
  }
  Kernel& kernel() { return subject->kernel(); }
  static nft::Element slot(std::uint32_t n, std::uint8_t host) {
    return slot_element(7, n, Ip::v4(10, 244, 0, host), 80, "c");
  }
  int code(nft::Batch& b) {
    auto done = kernel().commit(b);
    return done ? 0 : done.error().code().value();
  }
  std::vector<std::string> slots() {
    std::vector<std::string> out;
    auto seen = kernel().elements(table, slots_set);
    EXPECT_TRUE(seen);
    for (const auto& e : *seen) out.push_back(nft::to_text(slots_set, e));
    std::sort(out.begin(), out.end());
    return out;
  }
  const nft::Table& table = table_of(Family::v4);
  const nft::Set& slots_set = set_of(Family::v4, Home::slots);
  const nft::Set& classes = set_of(Family::v4, Home::classes);
  const nft::Set& pods = set_of(Family::v4, Home::pods);
  std::unique_ptr<Subject> subject;
};

TEST_P(KernelContract, WhatIsPutIsSeen) {
  EXPECT_THAT(slots(), ::testing::ElementsAre("0x00007000 . 0 comment \"c\" : 10.244.0.1 . 80"));
  std::map<std::string, std::size_t> counts;
  auto why = kernel().damage(blueprint(Family::v4, draws({1, 2})), counts);
  ASSERT_TRUE(why);
  EXPECT_EQ(*why, "");
  if (!counts.empty()) {
    EXPECT_EQ(counts["slots"], 1u);
  }
  EXPECT_NE(*kernel().damage(blueprint(Family::v4, draws({1})), counts), "");
  EXPECT_NE(*kernel().damage(blueprint(Family::v6, draws({1})), counts), "");
  EXPECT_THAT(*kernel().elements(table_of(Family::v6), set_of(Family::v6, Home::slots)), IsEmpty())
      << "no table, no elements";
}

TEST_P(KernelContract, AllOrNothing) {
  nft::Batch b;
  b.put_element(table, slots_set, slot(1, 2));
  b.delete_element(table, slots_set, slot(9, 9));
  b.put_element(table, slots_set, slot(2, 3));
  EXPECT_EQ(code(b), ENOENT);
  EXPECT_EQ(slots().size(), 1u);
}

TEST_P(KernelContract, EqualElementsMayBePutAgainOthersMustBeDeletedFirst) {
  nft::Batch same;
  same.put_element(table, slots_set, slot(0, 1));
  EXPECT_EQ(code(same), 0);
  nft::Batch other;
  other.put_element(table, slots_set, slot(0, 2));
  EXPECT_EQ(code(other), EEXIST);
  nft::Batch replace;
  replace.delete_element(table, slots_set, slot(0, 1));
  replace.put_element(table, slots_set, slot(0, 2));
  EXPECT_EQ(code(replace), 0);
  EXPECT_THAT(slots(), ::testing::ElementsAre("0x00007000 . 0 comment \"c\" : 10.244.0.2 . 80"));
}

TEST_P(KernelContract, ChainsAreMadeBeforeAndRemovedAfterWhatPointsAtThem) {
  nft::Batch early;
  early.put_element(table, classes, class_element(3, "n3"));
  EXPECT_EQ(code(early), ENOENT);
  nft::Batch used;
  used.flush_chain(table, "n1");
  used.delete_chain(table, "n1");
  EXPECT_EQ(code(used), EBUSY);
  nft::Batch right;
  right.delete_element(table, classes, class_element(1, "n1"));
  right.flush_chain(table, "n1");
  right.delete_chain(table, "n1");
  EXPECT_EQ(code(right), 0);
  nft::Batch absent;
  absent.delete_chain(table, "n1");
  EXPECT_EQ(code(absent), ENOENT);
}

TEST_P(KernelContract, ReplacingATableThatIsNotThereOrIs) {
  for (int i = 0; i < 2; ++i) {
    nft::Batch b;
    nft::replace_frame(b, blueprint(Family::v6, draws({})));
    nft::put_rules(b, blueprint(Family::v6, draws({})));
    EXPECT_EQ(code(b), 0);
  }
  nft::Batch absent;
  nft::Table nobody{nft::Family::ip, "nobody", "", 0};
  absent.delete_table(nobody);
  EXPECT_EQ(code(absent), ENOENT);
}

TEST_P(KernelContract, AdjacentRangesInOneSet) {
  nft::Batch b;
  for (const char* r : {"10.0.0.0/24", "10.0.1.0/24", "10.0.3.0/24", "255.255.255.0/24"})
    b.put_element(table, pods, nft::Element::of(*Cidr::parse(r)));
  EXPECT_EQ(code(b), 0);
  nft::Batch gone;
  gone.delete_element(table, pods, nft::Element::of(*Cidr::parse("10.0.1.0/24")));
  EXPECT_EQ(code(gone), 0);
  std::vector<std::string> text;
  auto seen = kernel().elements(table, pods);
  for (const auto& e : *seen) text.push_back(nft::to_text(pods, e));
  EXPECT_THAT(text, ::testing::UnorderedElementsAre("10.0.0.0-10.0.0.255", "10.0.3.0-10.0.3.255",
                                                    "255.255.255.0-255.255.255.255"));
}

TEST_P(KernelContract, RangesOfAFrontEndMustNotOverlapEvenForAMoment) {
  const nft::Set& allowed = set_of(Family::v4, Home::allowed);
  Front front;
  front.ip = Ip::v4(203, 0, 113, 1), front.port = 80;
  auto range = [&](const char* c) { return allowed_element(front, *Cidr::parse(c), "c"); };
  nft::Batch wide;
  wide.put_element(table, allowed, range("198.51.100.0/24"));
  EXPECT_EQ(code(wide), 0);
  nft::Batch inside;
  inside.put_element(table, allowed, range("198.51.100.16/28"));
  EXPECT_EQ(code(inside), EEXIST);
  nft::Batch late;
  late.put_element(table, allowed, range("198.51.100.16/28"));
  late.delete_element(table, allowed, range("198.51.100.0/24"));
  EXPECT_EQ(code(late), EEXIST);
  nft::Batch replaced;
  replaced.delete_element(table, allowed, range("198.51.100.0/24"));
  replaced.put_element(table, allowed, range("198.51.100.16/28"));
  EXPECT_EQ(code(replaced), 0);
  front.port = 81;
  nft::Batch elsewhere;
  elsewhere.put_element(table, allowed, range("198.51.100.0/24"));
  EXPECT_EQ(code(elsewhere), 0) << "another front end";
}

TEST_P(KernelContract, AnEnginesLifeLeavesTheSameTable) {
  // The same story on a fake beside it.
  test::FakeNft beside;
  Engine one(kernel()), two(beside);
  auto now = Clock::time_point(std::chrono::hours(1));
  auto tell = [&](std::vector<Change> changes) {
    for (Engine* e : {&one, &two}) {
      PassInput in;
      in.changes = changes;
      NodeFacts f;
      f.pod_cidrs = {*Cidr::parse("10.244.0.0/16"), *Cidr::parse("10.245.0.0/16")};
      f.service_cidrs = {*Cidr::parse("10.96.0.0/12"), *Cidr::parse("fd00:96::/112")};
      f.local_pods = {Ip::v4(10, 244, 1, 2)};
      f.name = "n1", f.addresses = {Ip::v4(192, 168, 0, 1), *Ip::parse("fd00::1")};
      in.node = f;
      auto out = e->pass(std::move(in), now);
      EXPECT_TRUE(out.committed) << ::testing::PrintToString(out.failures);
    }
  };
  auto service = [](int i, int endpoints) {
    Service s;
    s.key = {"ns", "s" + std::to_string(i)};
    s.cluster_ips = {Ip::v4(10, 96, 0, static_cast<std::uint8_t>(i)), *Ip::parse("fd00:96::" + std::to_string(i))};
    ServicePort p;
    p.port = 80, p.node_port = static_cast<std::uint16_t>(30000 + i),
    p.protocol = i % 2 ? Protocol::udp : Protocol::tcp;
    for (int n = 1; n <= endpoints; ++n) {
      Endpoint e;
      e.ip = Ip::v4(10, 244, static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(n)), e.port = 8080;
      e.node = n % 2 ? "n1" : "n2";
      p.endpoints.push_back(e);
    }
    s.ports = {p};
    // Each service is of another kind, so that every set has elements.
    s.affinity = std::chrono::seconds(i == 2 ? 60 : 0);
    s.algorithm = static_cast<Algorithm>(i % 4);
    s.counters = i % 3 == 0;
    s.external_ips = {{Ip::v4(203, 0, 113, static_cast<std::uint8_t>(i)), true}};
    s.external = i % 2 ? Policy::local : Policy::cluster;
    if (i > 4) s.source_ranges = {*Cidr::parse("192.0.2.0/24"), *Cidr::parse("198.51.100.7/32")};
    return s;
  };
  std::uint32_t random = 1;
  for (int step = 0; step < 60; ++step) {
    std::vector<Change> changes;
    for (int i = 0; i < 3; ++i) {
      random = random * 1664525 + 1013904223;
      int which = static_cast<int>(random >> 16) % 7 + 1, n = static_cast<int>(random >> 24) % 6;
      auto s = service(which, n);
      changes.push_back({s.key, n == 5 ? std::optional<Service>() : s});
    }
    tell(changes);
  }
  for (Family f : kFamilies)
    for (std::size_t h = 0; h < kHomes; ++h) {
      const auto& set = set_of(f, static_cast<Home>(h));
      std::vector<std::string> a, b;
      auto here = kernel().elements(table_of(f), set), there = beside.elements(table_of(f), set);
      for (const auto& e : *here) a.push_back(nft::to_text(set, e));
      for (const auto& e : *there) b.push_back(nft::to_text(set, e));
      EXPECT_THAT(a, ::testing::UnorderedElementsAreArray(b)) << table_of(f).to_string() << " " << set.name;
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelContract, ::testing::Values(false, true),
                         [](const auto& i) { return i.param ? "linux" : "fake"; });

}  // namespace
}  // namespace trama::servicelb
