// SPDX-License-Identifier: GPL-2.0-or-later
// Whose pods are whose, over a real store; and deletion that finalizers have a say in.
#include "control/controllers/owned_pods.h"

#include "control/loops/deletion.h"
#include "control/loops/loop.h"
#include "control/store/memory_store.h"
#include "tests/unit/control/run.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;
using Type = store::Event::Type;
using Names = std::vector<std::string>;

const Time kNow = at("2026-01-01T00:10:00Z");

api::ObjectPtr job(const std::string& name, const std::string& label) {
  return stored("jobs", R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":"d","name":")" + name +
                            R"("},"spec":{"selector":{"matchLabels":{"app":")" + label + R"("}}}})");
}
json::object pod_body(const std::string& name, const std::string& label, const std::string& owner = "",
                      const std::string& more = "") {
  auto owners = owner.empty() ? ""
                              : R"(,"ownerReferences":[{"kind":"Job","controller":true,"name":")" + owner +
                                    R"(","uid":"uid-)" + owner + R"("}])";
  return object(R"({"kind":"Pod","metadata":{"namespace":"d","name":")" + name + R"(","uid":"uid-)" + name +
                R"(","labels":{"app":")" + label + "\"}" + owners + more +
                R"(},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}})");
}

class OwnedPodsTest : public testing::Test {
 protected:
  OwnedPodsTest() : store(std::move(*store::open_store(store::make_null_log(), run.executor()))) {}
  ~OwnedPodsTest() override { run(close()); }
  awaitable<int> close() {
    co_await store->close();
    co_return 0;
  }
  awaitable<int> write(store::Decision decide) {
    co_await store->write(std::move(decide));
    co_return 0;
  }
  // Writes the pod and shows the event of it; who wants to know.
  Names put(const std::string& name, json::object body) {
    api::Key key{"pods", "d", name};
    auto before = store->get(key);
    store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> { return tx.put(key, body); };
    run(write(std::move(decide)));
    return pods.pod_seen({before ? Type::modified : Type::added, 1, store->get(key), before});
  }
  Names of(const api::ObjectPtr& owner) {
    Names out;
    for (const auto& p : pods.of(*owner, *store)) out.push_back(p->key.name);
    return out;
  }
  Runner run;
  std::unique_ptr<store::Store> store;
  OwnedPods pods{"Job"};
};

TEST_F(OwnedPodsTest, OwnersHearOfTheirPodsAndOfOrphansThatFit) {
  auto a = job("a", "one"), b = job("b", "two");
  pods.owner_seen({Type::added, 1, a, nullptr});
  pods.owner_seen({Type::added, 1, b, nullptr});
  EXPECT_EQ(put("mine", pod_body("mine", "one", "a")), Names{"d/a"});
  EXPECT_EQ(put("orphan", pod_body("orphan", "two")), Names{"d/b"});
  EXPECT_EQ(put("stranger", pod_body("stranger", "three")), Names{});
  EXPECT_EQ(put("relabelled", pod_body("relabelled", "other", "a")), Names{"d/a"});
  EXPECT_EQ(of(a), (Names{"mine", "relabelled"})) << "also what it owns and no longer matches";
  EXPECT_EQ(of(b), Names{"orphan"});
  EXPECT_EQ(put("relabelled", pod_body("relabelled", "two")), Names{"d/b"}) << "released: whoever may want it";
  EXPECT_EQ(of(a), Names{"mine"});
  EXPECT_EQ(of(b), (Names{"orphan", "relabelled"}));
  pods.owner_seen({Type::deleted, 2, b, nullptr});
  EXPECT_EQ(put("orphan", pod_body("orphan", "two")), Names{});
}

TEST_F(OwnedPodsTest, WhatWasCreatedCountsBeforeTheWatchSaysSo) {
  auto a = job("a", "one");
  api::Key key{"pods", "d", "fresh"};
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    return tx.put(key, pod_body("fresh", "one", "a"));
  };
  run(write(std::move(decide)));
  EXPECT_EQ(of(a), Names{});
  pods.created(*a, key);
  EXPECT_EQ(of(a), Names{"fresh"});
  pods.forget_pods();
  EXPECT_EQ(of(a), Names{});
}

TEST(WriteClaims, ComeWithTheFinalizerAndGoWithoutIt) {
  MapTransaction tx;
  auto owner = job("a", "one");
  auto orphan = tx.put({"pods", "d", "orphan"}, pod_body("orphan", "one"));
  auto leaving = tx.put({"pods", "d", "leaving"}, pod_body("leaving", "x", "a", R"(,"finalizers":["hold","keep"])"));
  EXPECT_FALSE(write_claims(tx, *owner, {orphan}, {leaving}, "hold"));
  auto in = tx.get(orphan->key), out = tx.get(leaving->key);
  EXPECT_TRUE(is_controlled_by(in->body, "uid-a"));
  EXPECT_TRUE(has_finalizer(in->body, "hold"));
  EXPECT_EQ(controller_of(out->body), nullptr);
  EXPECT_FALSE(has_finalizer(out->body, "hold"));
  EXPECT_TRUE(has_finalizer(out->body, "keep"));
  auto refused = write_claims(tx, *owner, {orphan}, {});
  ASSERT_TRUE(refused) << "it is not as it was looked at";
  EXPECT_EQ(refused->reason, "Conflict");
}

TEST(ForceDelete, LeavesAHeldPodFailedForItsHolder) {
  MapTransaction tx;
  api::Key held{"pods", "d", "held"}, free{"pods", "d", "free"}, done{"pods", "d", "done"};
  tx.put(held, pod_body("held", "x", "", R"(,"finalizers":["hold"])"));
  tx.put(free, pod_body("free", "x"));
  auto good = pod_body("done", "x", "", R"(,"finalizers":["hold"])");
  api::make_object_at(good, "status")["phase"] = "Succeeded";
  tx.put(done, std::move(good));
  for (const auto& key : {held, free, done}) EXPECT_TRUE(force_delete(tx, key, kNow));
  EXPECT_FALSE(tx.get(free));
  ASSERT_TRUE(tx.get(held));
  EXPECT_TRUE(is_terminating(tx.get(held)->body));
  EXPECT_EQ(api::text_at(tx.get(held)->body, "status.phase"), "Failed");
  EXPECT_EQ(api::text_at(tx.get(done)->body, "status.phase"), "Succeeded");
  auto revision = tx.revision;
  EXPECT_TRUE(force_delete(tx, held, kNow));
  EXPECT_EQ(tx.revision, revision) << "twice changes nothing";
  auto body = tx.get(held)->body;
  remove_finalizer(body, "hold");
  put_or_finish(tx, held, std::move(body));
  EXPECT_FALSE(tx.get(held)) << "gone when its holder lets go";
}

}  // namespace
}  // namespace trama::control
