// SPDX-License-Identifier: GPL-2.0-or-later
// One thing goes wrong, at every commit of a life there is, in every way there is: afterwards nothing shows it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "tests/support/fake_nft.h"

namespace trama::servicelb {
namespace {
using test::FakeNft;

Service service(int n, int endpoints) {
  Service s;
  s.key = {"default", "s" + std::to_string(n)};
  s.cluster_ips = {Ip::v4(10, 96, 0, static_cast<std::uint8_t>(n))};
  ServicePort p;
  p.name = "http", p.port = 80, p.node_port = static_cast<std::uint16_t>(30000 + n);
  for (int i = 1; i <= endpoints; ++i) {
    Endpoint e;
    e.ip = Ip::v4(10, 244, static_cast<std::uint8_t>(n), static_cast<std::uint8_t>(i)), e.port = 8080;
    e.node = i % 2 ? "here" : "there";
    p.endpoints.push_back(e);
  }
  s.ports = {p};
  return s;
}
NodeFacts facts() {
  NodeFacts f;
  f.name = "here", f.addresses = {Ip::v4(192, 0, 2, 1)};
  f.service_cidrs = {*Cidr::parse("10.96.0.0/16")};
  f.pod_cidrs = {*Cidr::parse("10.244.0.0/16")};
  return f;
}

// What is told, one pass each. Growth, shrinking, changes of every id, another owner of a front end, the end.
std::vector<PassInput> life() {
  std::vector<PassInput> out;
  auto tell = [&](std::vector<Service> services) {
    PassInput in;
    for (auto& s : services) in.changes.push_back({s.key, s});
    out.push_back(std::move(in));
  };
  auto knob = [](Service s, const std::function<void(Service&)>& turn) {
    turn(s);
    return s;
  };
  PassInput start;
  start.node = facts();
  out.push_back(std::move(start));
  tell({service(1, 2), service(2, 0), service(3, 1)});
  tell({service(1, 4), service(2, 1)});
  tell({service(1, 1), service(3, 3)});
  tell({knob(service(1, 3), [](Service& s) { s.affinity = std::chrono::seconds(60); }),
        knob(service(2, 3), [](Service& s) { s.external = Policy::local; })});
  auto guarded = knob(service(3, 2), [](Service& s) {
    s.external_ips = {{Ip::v4(203, 0, 113, 1), true}};
    s.source_ranges = {*Cidr::parse("198.51.100.0/24")};
  });
  tell({guarded, knob(service(2, 3), [](Service& s) { s.counters = true; })});
  guarded.source_ranges = {*Cidr::parse("198.51.100.0/28"), *Cidr::parse("192.0.2.0/24")};
  tell({guarded, service(1, 3)});
  PassInput node;
  node.node = facts();
  node.node->nodeport_cidrs = {*Cidr::parse("192.0.2.0/24")};
  out.push_back(std::move(node));
  auto thief = service(1, 2);
  thief.cluster_ips = service(2, 0).cluster_ips;
  tell({thief});
  PassInput end;
  end.changes = {{service(1, 0).key, std::nullopt}, {guarded.key, std::nullopt}};
  out.push_back(std::move(end));
  return out;
}

enum class Fault {
  none,
  answers_lost,     // ENOBUFS; it was committed
  nothing_heard,    // ENOBUFS; it was not
  no_memory,        // ENOMEM, once
  no_space,         // ENOSPC, once
  interrupted,      // EINTR
  table_gone,       // deleted by somebody between our look and our commit
  element_gone,     // the same with one element
  foreign_element,  // one of ours is there already, with other data
};
const char* name_of(Fault f) {
  constexpr const char* kNames[] = {"none",        "answers_lost", "nothing_heard", "no_memory",      "no_space",
                                    "interrupted", "table_gone",   "element_gone",  "foreign_element"};
  return kNames[static_cast<int>(f)];
}

struct Outcome {
  FakeNft::Tables tables;
  int commits = 0;
  bool struck = false, committed = false;
};
// Ids depend on the order of things, which a fault may change: what is compared is what a fresh table would be.
Outcome live(Fault fault, int at) {
  FakeNft kernel;
  Engine engine(kernel);
  Outcome out;
  kernel.refuse = [&](const nft::Batch&) -> base::Result<> {
    kernel.lose_answers = false;
    if (out.commits++ != at) return {};
    out.struck = true;
    auto slots = [&]() -> auto& { return kernel.elements_of(Family::v4, "slots"); };
    switch (fault) {
      case Fault::none: return {};
      case Fault::answers_lost: kernel.lose_answers = true; return {};
      case Fault::nothing_heard: return base::Error::from_errno(ENOBUFS, "nothing heard");
      case Fault::no_memory: return base::Error::from_errno(ENOMEM, "no memory");
      case Fault::no_space: return base::Error::from_errno(ENOSPC, "no space");
      case Fault::interrupted: return base::Error::from_errno(EINTR, "interrupted");
      case Fault::table_gone: kernel.tables.erase({nft::Family::ip, "trama"}), kernel.touched(); return {};
      case Fault::element_gone:
        if (kernel.tables.contains({nft::Family::ip, "trama"}) && !slots().empty()) slots().erase(slots().begin());
        kernel.touched();
        return {};
      case Fault::foreign_element:
        if (kernel.tables.contains({nft::Family::ip, "trama"}))
          for (std::uint32_t id = 1; id < 6; ++id) {
            auto e = slot_element(id, 2, Ip::v4(192, 0, 2, 66), 66, "not ours");
            slots().insert_or_assign(e.key, e);
          }
        kernel.touched();
        return {};
    }
    return {};
  };
  Clock::time_point now{std::chrono::hours(1)};
  PassOutcome last;
  for (auto& in : life()) {
    last = engine.pass(std::move(in), now += std::chrono::seconds(1));
    for (int i = 0; i < 5 && (!last.committed || engine.planner().dirty()); ++i)
      last = engine.pass({}, now += std::chrono::seconds(6));
  }
  for (int i = 0; i < 3; ++i) last = engine.pass({}, now += std::chrono::seconds(6));
  out.committed = last.committed && last.failures.empty() && !engine.planner().dirty();
  out.tables = kernel.tables;
  FakeNft whole;
  for (Family f : kFamilies) {
    auto batch = engine.planner().rebuild(f);
    EXPECT_TRUE(whole.commit(batch));
  }
  EXPECT_TRUE(whole.tables == kernel.tables) << name_of(fault) << " at commit " << at;
  return out;
}

class Faults : public ::testing::TestWithParam<Fault> {
 protected:
  Faults() { base::logger("servicelb")->set_level(spdlog::level::off); }  // warnings by the hundred
  ~Faults() override { base::logger("servicelb")->set_level(spdlog::level::info); }
};

TEST_P(Faults, LeaveNothingBehind) {
  auto calm = live(Fault::none, -1);
  ASSERT_TRUE(calm.committed);
  ASSERT_GT(calm.commits, 15);
  for (int at = 0; at < calm.commits; ++at) {
    auto out = live(GetParam(), at);
    ASSERT_TRUE(out.struck);
    ASSERT_TRUE(out.committed) << "at commit " << at;
    ASSERT_TRUE(out.tables == calm.tables) << "at commit " << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, Faults,
                         ::testing::Values(Fault::answers_lost, Fault::nothing_heard, Fault::no_memory, Fault::no_space,
                                           Fault::interrupted, Fault::table_gone, Fault::element_gone,
                                           Fault::foreign_element),
                         [](const auto& i) { return name_of(i.param); });

}  // namespace
}  // namespace trama::servicelb
