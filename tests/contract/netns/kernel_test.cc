// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel port's contract, held by the machine in memory and by the real one.
#include <gmock/gmock.h>

#include "tests/kernel/netns/node.h"
#include "tests/support/fake_sandbox_kernel.h"

namespace trama::netns::test {
namespace {

PrivateMounts mounts;

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

struct Memory {
  FakeKernel kernel;
  Observed observe() { return *kernel.observe(); }
  base::Result<> apply(const Op& op) { return kernel.apply(op); }
};
struct Machine {
  Node node;
  Observed observe() { return node.observe(); }
  base::Result<> apply(const Op& op) {
    base::Result<> r;
    node.in([&] { r = node.kernel->apply(op); });
    return r;
  }
};

template <class K>
struct KernelContract : ::testing::Test {
  K k;
  Sandbox web = pod("web-1", 7);
  ObservedSandbox seen() {
    auto all = k.observe();
    EXPECT_EQ(all.sandboxes.size(), 1u);
    return all.sandboxes[web.uid];
  }
  void ok(const Op& op) {
    auto r = k.apply(op);
    EXPECT_TRUE(r) << to_text(op) << ": " << r.error().to_string();
  }
  void make() {
    ok(EnableForwarding{});
    ok(MakeGuard{});
    ok(CreateNetwork{web});
  }
  Withdraw withdraw() { return {web.uid, "default/web-1"}; }
  DestroyNetwork destroy() { return {web.uid, "default/web-1"}; }
  Forget forget() { return {web.uid, "default/web-1"}; }
};
using Kernels = ::testing::Types<Memory, Machine>;
TYPED_TEST_SUITE(KernelContract, Kernels);

TYPED_TEST(KernelContract, an_empty_machine_has_nothing_of_ours) {
  auto all = this->k.observe();
  EXPECT_THAT(all.sandboxes, IsEmpty());
  EXPECT_EQ(all.guard, GuardTable::absent);
}

TYPED_TEST(KernelContract, create_gives_everything_at_once) {
  this->make();
  auto s = this->seen();
  EXPECT_TRUE(s.netns && s.veth && s.link && s.inside && s.guarded);
  EXPECT_FALSE(s.unpinned);
  EXPECT_EQ(s.network, this->web.network);
  EXPECT_EQ(s.ns + "/" + s.name, "default/web-1");
  EXPECT_EQ(s.ifname, veth_name(this->web.uid));
  EXPECT_THAT(s.routes, UnorderedElementsAreArray(this->web.network.addresses));
  EXPECT_THAT(s.neighbours, UnorderedElementsAreArray(this->web.network.addresses));
  EXPECT_EQ(s.processes, ProcessPhase::none);
  auto all = this->k.observe();
  EXPECT_EQ(all.guard, GuardTable::intact);
  EXPECT_TRUE(all.forwarding);
}

TYPED_TEST(KernelContract, nothing_is_made_without_the_guard) {
  EXPECT_FALSE(this->k.apply(CreateNetwork{this->web}));
  for (const auto& [uid, s] : this->k.observe().sandboxes) EXPECT_FALSE(s.link);
}

TYPED_TEST(KernelContract, every_operation_may_be_repeated) {
  this->make();
  this->make();
  auto before = this->seen();
  for (const Op& op : std::vector<Op>{RepairPin{this->web}, RepairGuard{this->web}, RepairLink{this->web},
                                      RepairInside{this->web}, RepairNeighbours{this->web}, RepairRoutes{this->web},
                                      WriteFiles{this->web}, SetLimits{this->web}})
    this->ok(op);
  EXPECT_EQ(this->seen(), before);
  for (int i = 0; i < 2; ++i) {
    this->ok(this->withdraw());
    this->ok(this->destroy());
    this->ok(this->forget());
    this->ok(RemoveGuard{});
  }
  EXPECT_THAT(this->k.observe().sandboxes, IsEmpty());
}

TYPED_TEST(KernelContract, withdrawn_means_unreachable_and_unguarded_but_still_there) {
  this->make();
  this->ok(this->withdraw());
  auto s = this->seen();
  EXPECT_THAT(s.routes, IsEmpty());
  EXPECT_THAT(s.neighbours, IsEmpty());
  EXPECT_FALSE(s.guarded);
  EXPECT_TRUE(s.netns && s.veth);
  this->ok(this->destroy());
  this->ok(this->forget());
  EXPECT_THAT(this->k.observe().sandboxes, IsEmpty());
  // And made again at once, under the same names.
  this->ok(CreateNetwork{this->web});
  EXPECT_TRUE(this->seen().link);
}

TYPED_TEST(KernelContract, what_is_recorded_follows_the_repairs) {
  this->make();
  this->web.network.mtu = 1400;
  this->ok(RepairLink{this->web});
  this->ok(RepairInside{this->web});
  this->web.network.connection_limit = 9;
  this->ok(RepairGuard{this->web});
  this->web.network.hosts = "1.2.3.4 x\n";
  this->ok(WriteFiles{this->web});
  auto s = this->seen();
  EXPECT_EQ(s.network, this->web.network);
  EXPECT_TRUE(s.link && s.inside && s.guarded);
}

TYPED_TEST(KernelContract, an_invalid_sandbox_is_refused_before_anything_happens) {
  this->ok(MakeGuard{});
  this->web.network.netns_name = "../evil";
  EXPECT_FALSE(this->k.apply(CreateNetwork{this->web}));
  EXPECT_THAT(this->k.observe().sandboxes, IsEmpty());
}

TYPED_TEST(KernelContract, processes_wait_for_their_network) {
  this->web.containers.push_back({"main", "host", {"/bin/true"}, {}, ""});
  EXPECT_FALSE(this->k.apply(StartProcesses{this->web}));
}

}  // namespace
}  // namespace trama::netns::test
