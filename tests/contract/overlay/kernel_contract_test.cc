// SPDX-License-Identifier: GPL-2.0-or-later
// One suite on the fake kernel and on the real one: what plans rely on holds in both.
#include <cstdlib>
#include <memory>

#include <gmock/gmock.h>

#include "overlay/fake_kernel.h"
#include "overlay/kernel_linux.h"
#include "tests/support/private_netns.h"
#include "tests/unit/overlay/worlds.h"

namespace trama::overlay {
namespace {

using test::cidr;
using test::ip;
using test::text_of;
using testing::HasSubstr;
using trama::test::PrivateNetns;

// A machine with one uplink, and hands that damage it.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual Kernel& kernel() = 0;
  virtual void delete_device() = 0;
  virtual void set_down() = 0;
  virtual void delete_wireguard() = 0;
  virtual void begin_anew() {}  // another agent opens the same kernel
  virtual void foreign_route(const std::string& prefix) = 0;
  virtual void run(const std::function<void()>& job) { job(); }
};

class FakeMachine : public Machine {
 public:
  FakeMachine(Mode mode, const Desired& d) : fake_(mode) { fake_.world = test::empty_machine(d, mode); }
  Kernel& kernel() override { return fake_; }
  void delete_device() override { fake_.delete_device(); }
  void set_down() override { fake_.set_down(); }
  void delete_wireguard() override { fake_.delete_wireguard(); }
  void foreign_route(const std::string& prefix) override { fake_.foreign_routes.insert(cidr(prefix)); }

 private:
  FakeKernel fake_;
};

class RealMachine : public Machine {
 public:
  RealMachine(Mode mode, const Desired& d) {
    shell("ip link add eth0 type bridge && ip link set eth0 up && ip addr add " + d.underlay.to_string() +
          "/16 dev eth0");
    netns_.run([&] {
      auto session = nft::Session::open();
      ASSERT_TRUE(session) << session.error().to_string();
      session_.emplace(std::move(*session));
    });
    how_.mode = mode;
    how_.wireguard = true;
    begin_anew();
  }
  void begin_anew() override {
    netns_.run([&] {
      kernel_.reset();
      auto kernel = KernelLinux::open(*session_, how_);
      ASSERT_TRUE(kernel) << kernel.error().to_string();
      kernel_ = std::move(*kernel);
    });
  }
  Kernel& kernel() override { return *kernel_; }
  void delete_device() override { shell("ip link del trama0"); }
  void set_down() override { shell("ip link set trama0 down"); }
  void delete_wireguard() override { shell("ip link del trama2"); }
  void foreign_route(const std::string& prefix) override { shell("ip route add " + prefix + " dev eth0"); }
  void run(const std::function<void()>& job) override { netns_.run(job); }

 private:
  void shell(const std::string& command) {
    std::string out;
    ASSERT_EQ(netns_.shell(command, &out), 0) << command << ": " << out;
  }
  PrivateNetns netns_;
  KernelLinux::Options how_;
  std::optional<nft::Session> session_;
  std::unique_ptr<KernelLinux> kernel_;
};

struct Case {
  const char* name;
  bool real;
  Mode mode;
};

class KernelContract : public testing::TestWithParam<Case> {
 protected:
  Desired desired = test::node(1, 4);
  std::unique_ptr<Machine> machine;
  void SetUp() override {
    if (GetParam().real)
      machine = std::make_unique<RealMachine>(GetParam().mode, desired);
    else
      machine = std::make_unique<FakeMachine>(GetParam().mode, desired);
  }
  std::vector<Op> planned(const Desired& d) {
    std::vector<Op> out;
    machine->run([&] {
      auto seen = machine->kernel().observe();
      ASSERT_TRUE(seen) << seen.error().to_string();
      out = plan(d, *seen);
    });
    return out;
  }
  // Applies a plan; the errors, each behind its step.
  std::vector<std::string> apply(const Desired& d) {
    auto ops = planned(d);
    std::vector<std::string> errors;
    machine->run([&] {
      for (const auto& op : ops)
        if (auto done = machine->kernel().apply(op); !done)
          errors.push_back(to_text(op) + ": " + done.error().to_string());
    });
    return errors;
  }
  Observed look() {
    Observed out;
    machine->run([&] {
      auto seen = machine->kernel().observe();
      ASSERT_TRUE(seen) << seen.error().to_string();
      out = *seen;
    });
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Both, KernelContract,
                         testing::Values(Case{"FakeNexthop", false, Mode::nexthop}, Case{"FakeFdb", false, Mode::fdb},
                                         Case{"RealNexthop", true, Mode::nexthop}, Case{"RealFdb", true, Mode::fdb}),
                         [](const auto& i) { return i.param.name; });

TEST_P(KernelContract, ConvergesInOnePlan) {
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  auto o = look();
  EXPECT_EQ(o.device->mtu, 1450u);
  EXPECT_EQ(o.guards->peers.size(), 3u);
  EXPECT_EQ(o.guards->pods.size(), 6u);
  EXPECT_EQ(o.routes.size(), 4u + 6u);
  EXPECT_EQ(o.nexthops.size(), GetParam().mode == Mode::nexthop ? 3u : 0u);
}

TEST_P(KernelContract, TheTunnelComesChangesPathsAndGoes) {
  bool nexthops = GetParam().mode == Mode::nexthop;
  auto in_tunnel = [&] {
    auto o = look();
    return std::count_if(o.nexthops.begin(), o.nexthops.end(), [](const auto& n) { return n.second.tunnel; });
  };
  ASSERT_THAT(apply(desired), testing::IsEmpty());  // as before there was a tunnel
  desired.tunnel = true;
  for (auto path : {Path::vxlan, Path::tunnel, Path::keep, Path::vxlan}) {
    for (auto& [name, p] : desired.peers) p.path = path;
    EXPECT_THAT(apply(desired), testing::IsEmpty());
    EXPECT_EQ(text_of(planned(desired)), "");
    EXPECT_EQ(in_tunnel(), nexthops && path != Path::vxlan ? 3 : 0);
    EXPECT_EQ(look().routes.size(), 4u + 6u);
  }
  EXPECT_EQ(look().tunnel.has_value(), nexthops);
  desired.encrypt = true;
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_EQ(in_tunnel(), nexthops ? 3 : 0);
  desired.tunnel = desired.encrypt = false;
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_FALSE(look().tunnel);
}

// Where the kernel has it: the virtual machines' has (scripts/test-vm), and says so by TRAMA_WIREGUARD.
TEST_P(KernelContract, WireguardComesChangesPathsHealsAndGoes) {
  desired.tunnel = desired.encrypt = desired.wireguard = true;
  unsigned n = 1;
  for (auto& [name, p] : desired.peers) {
    auto key = base::WireguardKey::random();
    p.wireguard = base::WireguardEnd{key, static_cast<std::uint16_t>(7000 + n++)};
    p.path = Path::wireguard;
  }
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  auto o = look();
  if (!o.no_wireguard.empty() || GetParam().mode != Mode::nexthop) {
    ASSERT_FALSE(GetParam().real && std::getenv("TRAMA_WIREGUARD") && GetParam().mode == Mode::nexthop)
        << o.no_wireguard;
    if (!o.no_wireguard.empty()) {
      EXPECT_EQ(o.no_wireguard, "this kernel has no WireGuard (CONFIG_WIREGUARD)");
    }
    EXPECT_FALSE(o.wireguard);
    for (const auto& [id, nexthop] : o.nexthops) EXPECT_TRUE(nexthop.tunnel);
    return;
  }
  ASSERT_TRUE(o.wireguard);
  EXPECT_TRUE(o.wireguard->up && o.wireguard->own_key);
  EXPECT_EQ(o.wireguard->peers.size(), 3u);
  EXPECT_EQ(o.wireguard->mtu, 1440u);
  auto key = o.wireguard->key;
  EXPECT_FALSE(key.is_zero());
  for (const auto& [id, nexthop] : o.nexthops) EXPECT_TRUE(nexthop.wireguard);
  for (auto path : {Path::tunnel, Path::wireguard, Path::keep}) {
    for (auto& [name, p] : desired.peers) p.path = path;
    EXPECT_THAT(apply(desired), testing::IsEmpty());
    EXPECT_EQ(text_of(planned(desired)), "");
    for (const auto& [id, nexthop] : look().nexthops) EXPECT_EQ(nexthop.wireguard, path != Path::tunnel);
  }
  machine->begin_anew();
  // A tunnel's device is held by a process; the kernel keeps everything of this one.
  EXPECT_EQ(text_of(planned(desired)), GetParam().real ? "hold device trama1\n" : "");
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(look().wireguard->key, key) << "the device has kept it";
  machine->delete_wireguard();
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_EQ(look().wireguard->key, key) << "the agent has kept it";
  // Two change places, and one goes.
  std::swap(desired.peers.at("n2").wireguard, desired.peers.at("n3").wireguard);
  desired.peers.erase("n4");
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_EQ(look().wireguard->peers.size(), 2u);
  desired.wireguard = false;
  for (auto& [name, p] : desired.peers) p.path = Path::tunnel, p.wireguard.reset();
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_FALSE(look().wireguard);
}

TEST_P(KernelContract, TheGuardsOfWireguardAreReadBackAsTheyWereWritten) {
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  auto guards = desired_guards(desired, admit(desired).peers);
  guards.frame.tunnel = guards.frame.encrypt = true;
  guards.frame.wireguard = 6785;
  machine->run([&] {
    auto done = machine->kernel().apply(LoadGuards{guards});
    EXPECT_TRUE(done) << done.error().to_string();
  });
  EXPECT_EQ(look().guards->rules, rules_text(guards.frame));
}

TEST_P(KernelContract, HealsADeletedDevice) {
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  machine->delete_device();
  EXPECT_TRUE(look().nexthops.empty());
  EXPECT_EQ(look().routes.size(), 4u);  // the fences
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
}

TEST_P(KernelContract, HealsADeviceSetDown) {
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  machine->set_down();
  auto o = look();
  EXPECT_TRUE(o.nexthops.empty());
  EXPECT_TRUE(o.neighbours.empty());
  EXPECT_EQ(o.routes.size(), 4u);
  EXPECT_EQ(o.addresses.size(), 2u);  // the IPv4 ones stay: our own, and that of DNS
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
}

TEST_P(KernelContract, APeerMovesJoinsAndLeaves) {
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  desired.peers.at("n2").underlay = ip("192.168.77.22");
  EXPECT_EQ(planned(desired).size(), 2u);
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  auto moved = look();
  EXPECT_TRUE(moved.guards->peers.at(ip("192.168.77.2")).expiring);
  EXPECT_FALSE(moved.guards->peers.at(ip("192.168.77.22")).expiring);
  // Back again before the old element has expired.
  desired.peers.at("n2").underlay = ip("192.168.77.2");
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_FALSE(look().guards->peers.at(ip("192.168.77.2")).expiring);
  desired.peers.erase("n2");
  desired.peers.emplace("n9", test::peer(9));
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_EQ(look().guards->pods.size(), 6u);
}

TEST_P(KernelContract, AForeignRouteIsReportedAndNotTouched) {
  machine->foreign_route("10.244.3.0/24");
  auto errors = apply(desired);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors[0], HasSubstr("add route 10.244.3.0/24"));
  EXPECT_EQ(planned(desired).size(), 1u);  // and everything else is there
}

TEST_P(KernelContract, ChangesOfTheDeviceConverge) {
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  for (int step = 0; step < 4; ++step) {
    if (step == 0) desired.vni = Vni{777};
    if (step == 1) desired.port = 4790;
    if (step == 2) desired.underlay_mtu = 1400;
    if (step == 3) desired.cluster_id = "another";  // all MACs change
    EXPECT_THAT(apply(desired), testing::IsEmpty()) << step;
    EXPECT_EQ(text_of(planned(desired)), "") << step;
  }
  EXPECT_EQ(look().device->mtu, 1350u);
  desired.masquerade = false;
  EXPECT_EQ(planned(desired).size(), 1u);
  EXPECT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
}

TEST_P(KernelContract, Ipv4Only) {
  desired = test::node(1, 4, false);
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_EQ(text_of(planned(desired)), "");
  EXPECT_EQ(look().sysctls.at("net/ipv6/conf/trama0/disable_ipv6"), "1");
}

TEST_P(KernelContract, RemovalLeavesNothingAndIsIdempotent) {
  ASSERT_THAT(apply(desired), testing::IsEmpty());
  EXPECT_THAT(apply(Desired{}), testing::IsEmpty());
  auto o = look();
  EXPECT_FALSE(o.device || o.guards);
  EXPECT_TRUE(o.routes.empty() && o.nexthops.empty());
  EXPECT_EQ(text_of(planned(Desired{})), "");
}

}  // namespace
}  // namespace trama::overlay
