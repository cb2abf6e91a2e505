// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/waiting.h"

#include <gtest/gtest.h>

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using Clock = Waiting::Clock;

api::Key key(const std::string& name) { return {"pods", "d", name}; }

class Waits : public ::testing::Test {
 protected:
  std::string next() {
    w.look(now);
    auto k = w.take();
    return k ? k->name : "";
  }
  Clock::time_point now = Clock::now();
  Waiting w{{1s, 8s, 300s}};
};

TEST_F(Waits, PriorityThenAge) {
  w.add(key("young"), 0, 9);
  w.add(key("old"), 0, 1);
  w.add(key("important"), 5, 20);
  EXPECT_EQ(next(), "important");
  EXPECT_EQ(next(), "old");
  w.add(key("old"), 0, 30);  // it keeps its age
  EXPECT_EQ(next(), "old");
  EXPECT_EQ(next(), "young");
  EXPECT_EQ(next(), "");
}

TEST_F(Waits, ForWhatHelpsAndNothingElse) {
  w.add(key("p"), 0, 1);
  ASSERT_EQ(next(), "p");
  w.park(key("p"), that_help(bit(Reason::cpu)), now);
  now += 20s;
  EXPECT_EQ(next(), "") << "time alone is no help";
  w.changed(node_labels | node_taints | node_uncordoned | pod_placed | namespace_labels | node_went);
  EXPECT_EQ(next(), "") << "none of that gives room";
  w.changed(pod_went);
  EXPECT_EQ(next(), "p");
  w.park(key("p"), that_help(bit(Reason::cpu)), now);
  now += 400s;
  EXPECT_EQ(next(), "p") << "in the end it is tried again whatever has happened";
}

TEST_F(Waits, NotBeforeTheBackOffHasPassed) {
  w.add(key("p"), 0, 1);
  for (auto pause : {1s, 2s, 4s, 8s, 8s}) {
    ASSERT_EQ(next(), "p");
    w.park(key("p"), node_came, now);
    w.changed(node_came);
    EXPECT_EQ(next(), "");
    EXPECT_EQ(w.next_look(), now + pause);
    now += pause;
  }
  EXPECT_EQ(next(), "p");
  w.forget(key("p"));
  w.park(key("p"), node_came, now);
  EXPECT_EQ(w.parked(), 0u) << "gone is gone";
}

// For each reason what could help, and what could not.
TEST(Helps, Table) {
  struct Case {
    Reason reason;
    Changes helps;
  };
  for (const auto& c :
       {Case{Reason::cordoned, node_came | node_uncordoned}, Case{Reason::taint, node_came | node_taints},
        Case{Reason::node_affinity, node_came | node_labels}, Case{Reason::spread_label, node_came | node_labels},
        Case{Reason::host_ports, node_came | pod_went}, Case{Reason::too_many_pods, node_came | node_size | pod_went},
        Case{Reason::cpu, node_came | node_size | pod_went}, Case{Reason::memory, node_came | node_size | pod_went},
        Case{Reason::spread, node_came | node_went | node_labels | node_taints | pod_placed | pod_went},
        Case{Reason::pod_affinity, node_came | node_labels | pod_placed | pod_went | namespace_labels},
        Case{Reason::pod_anti_affinity, node_came | node_labels | pod_went | namespace_labels},
        Case{Reason::others_anti_affinity, node_came | node_labels | pod_went | namespace_labels}})
    EXPECT_EQ(that_help(bit(c.reason)), c.helps) << words(c.reason);
  EXPECT_EQ(that_help(bit(Reason::cpu) | bit(Reason::taint)), node_came | node_size | pod_went | node_taints);
}

}  // namespace
}  // namespace trama::control
