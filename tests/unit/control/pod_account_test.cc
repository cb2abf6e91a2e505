// SPDX-License-Identifier: GPL-2.0-or-later
// What a pod gets to speak to the API server with, and the loop that keeps the account and the CA in every namespace.
#include "control/controllers/pod_account.h"

#include "control/controllers/bootstrap.h"
#include "control/controllers/namespace_defaults_loop.h"
#include "control/controllers/owned_pods.h"
#include "control/pki/authority.h"
#include "control/store/memory_store.h"
#include "tests/unit/control/run.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

const Time kNow = at("2026-01-01T00:10:00Z");

class PodAccount : public testing::Test {
 protected:
  void account(const std::string& name, const std::string& more = "") {
    tx.put({"serviceaccounts", "d", name},
           object(R"({"metadata":{"namespace":"d","name":")" + name + "\"}" + more + "}"));
  }
  // The spec after admission; "" in `refusal` when it was let in.
  json::object admit(const std::string& spec, const std::string& uid = "u1") {
    auto body = object(R"({"metadata":{"namespace":"d","name":"p","uid":")" + uid + R"("},"spec":)" + spec + "}");
    auto refused = admit_pod_account(tx, {"pods", "d", "p"}, body, kNow);
    refusal = refused ? refused->message : "";
    code = refused ? refused->code : 0;
    return api::object_at(body, "spec");
  }
  static std::string mounts(const json::object& spec, std::size_t container, const char* list = "containers") {
    std::string out;
    for (const auto& m : api::array_at(api::array_at(spec, list).at(container).as_object(), "volumeMounts"))
      out += api::text_at(m.as_object(), "name") + "=" + api::text_at(m.as_object(), "mountPath") + " ";
    return out;
  }
  MapTransaction tx;
  std::string refusal;
  int code = 0;
};

TEST_F(PodAccount, SecretsForImagesAreTheAccountsUnlessThePodHasItsOwn) {
  account("robot", R"(,"imagePullSecrets":[{"name":"registry"},{"name":"second"}])");
  auto secrets = [&](const char* spec) { return json::serialize(api::array_at(admit(spec), "imagePullSecrets")); };
  EXPECT_EQ(secrets(R"({"serviceAccountName":"robot","containers":[]})"), R"([{"name":"registry"},{"name":"second"}])");
  EXPECT_EQ(secrets(R"({"serviceAccountName":"robot","imagePullSecrets":[{"name":"own"}],"containers":[]})"),
            R"([{"name":"own"}])");
  EXPECT_EQ(secrets(R"({"containers":[]})"), "[]") << "the control: another account has none";
}

TEST_F(PodAccount, APodWithoutAnyHasTheDefaultOneAndItsToken) {
  auto spec = admit(R"({"containers":[{"name":"a"},{"name":"b","volumeMounts":[{"name":"v","mountPath":"/v"}]}],
    "initContainers":[{"name":"i"}],"volumes":[{"name":"v","emptyDir":{}}]})");
  EXPECT_EQ(refusal, "");
  EXPECT_EQ(spec.at("serviceAccountName"), "default");
  EXPECT_EQ(spec.at("serviceAccount"), "default");
  EXPECT_TRUE(tx.get({"serviceaccounts", "d", "default"})) << "made, for nobody shall wait for the loop";
  const auto& volumes = api::array_at(spec, "volumes");
  ASSERT_EQ(volumes.size(), 2u);
  auto name = api::text_at(volumes.at(1).as_object(), "name");
  EXPECT_EQ(name.size(), std::string("kube-api-access-12345").size());
  EXPECT_TRUE(name.starts_with("kube-api-access-"));
  EXPECT_EQ(volumes.at(1).at("projected"), json::parse(R"({"defaultMode":420,"sources":[
    {"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},
    {"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},
    {"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}]})"));
  auto there = name + "=" + kTokenDirectory + " ";
  EXPECT_EQ(mounts(spec, 0), there);
  EXPECT_EQ(mounts(spec, 1), "v=/v " + there);
  EXPECT_EQ(mounts(spec, 0, "initContainers"), there);
  EXPECT_EQ(api::array_at(spec, "containers").at(0).at("volumeMounts").at(0).at("readOnly"), true);
  EXPECT_NE(
      api::text_at(api::array_at(admit(R"({"containers":[{"name":"a"}]})", "u2"), "volumes").at(0).as_object(), "name"),
      name)
      << "each pod has a name of its own";
}

TEST_F(PodAccount, WhoWantsNoneHasNone) {
  account("default", R"(,"automountServiceAccountToken":false)");
  const char* const plain = R"({"containers":[{"name":"a"}]})";
  EXPECT_FALSE(admit(plain).contains("volumes")) << "the account says so";
  EXPECT_FALSE(api::array_at(admit(plain), "containers").at(0).as_object().contains("volumeMounts"));
  EXPECT_EQ(admit(plain).at("serviceAccountName"), "default");
  EXPECT_EQ(
      api::array_at(admit(R"({"automountServiceAccountToken":true,"containers":[{"name":"a"}]})"), "volumes").size(),
      1u)
      << "the pod has the last word";
  account("robot");
  EXPECT_EQ(api::array_at(admit(R"({"serviceAccount":"robot","containers":[{"name":"a"}]})"), "volumes").size(), 1u);
  EXPECT_FALSE(
      admit(R"({"serviceAccountName":"robot","automountServiceAccountToken":false,"containers":[{"name":"a"}]})")
          .contains("volumes"));
}

TEST_F(PodAccount, WhatIsThereAlreadyStays) {
  auto own = std::string(R"({"name":"a","volumeMounts":[{"name":"mine","mountPath":")") + kTokenDirectory + "\"}]}";
  auto spec = admit(R"({"volumes":[{"name":"mine","emptyDir":{}}],"containers":[)" + own + "]}");
  EXPECT_EQ(mounts(spec, 0), std::string("mine=") + kTokenDirectory + " ");
  EXPECT_EQ(api::array_at(spec, "volumes").size(), 1u) << "nobody has a use for another one";
  spec = admit(R"({"volumes":[{"name":"mine","emptyDir":{}}],"containers":[{"name":"b"},)" + own + "]}");
  EXPECT_EQ(mounts(spec, 1), std::string("mine=") + kTokenDirectory + " ");
  EXPECT_EQ(api::array_at(spec, "volumes").size(), 2u);
  // A pod that was shown by the API and is made again.
  spec = admit(R"({"containers":[{"name":"a"}]})");
  auto again = admit(json::serialize(spec), "another");
  EXPECT_EQ(json::value(again), json::value(spec));
}

TEST_F(PodAccount, AnAccountThatIsNotThereIsRefusedInUpstreamsWords) {
  (void)admit(R"({"serviceAccountName":"robot","containers":[{"name":"a"}]})");
  EXPECT_EQ(refusal,
            "pods \"p\" is forbidden: error looking up service account d/robot: serviceaccount \"robot\" not found");
  EXPECT_EQ(code, 403);
  account("robot");
  (void)admit(R"({"serviceAccountName":"robot","containers":[{"name":"a"}]})");
  EXPECT_EQ(refusal, "") << "the control";
}

TEST_F(PodAccount, PodsThatLoopsMakeAreNoExceptions) {
  tx.put({"namespaces", "", "d"}, object(R"({"metadata":{"name":"d"}})"));
  std::mt19937_64 random(1);
  auto make = [&](const std::string& spec) {
    return create_pod(tx, "d", "web-", random, object(R"({"spec":)" + spec + "}"), kNow);
  };
  auto pod = make(R"({"containers":[{"name":"a","image":"host"}]})");
  ASSERT_TRUE(pod);
  EXPECT_EQ(api::array_at((*pod)->body, "spec.volumes").size(), 1u);
  EXPECT_FALSE(make(R"({"serviceAccountName":"robot","containers":[{"name":"a","image":"host"}]})"));
}

class NamespaceDefaults : public testing::Test {
 protected:
  NamespaceDefaults() : store_(std::move(*store::open_store(store::make_null_log(), run_.executor()))) {
    loop_ = std::make_unique<NamespaceDefaultsLoop>(run_.executor(), *store_);
    group_ = std::make_unique<async::TaskGroup>(run_.executor());
    loop_->loop().start(*group_);
  }
  ~NamespaceDefaults() override {
    auto end = [&]() -> awaitable<int> {
      co_await group_->stop();
      co_await store_->close();
      co_return 0;
    };
    run_(end());
  }
  void write(store::Decision decide) {
    auto task = [&]() -> awaitable<int> {
      auto done = co_await store_->write(decide);
      EXPECT_TRUE(done);
      co_return 0;
    };
    run_(task());
  }
  void put(const api::Key& key, const std::string& text) {
    write([&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      auto body = object(text);
      auto& meta = api::make_object_at(body, "metadata");
      meta["name"] = key.name;
      if (!key.ns.empty()) meta["namespace"] = key.ns;
      return tx.put(key, std::move(body));
    });
  }
  void erase(const api::Key& key) {
    write([&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      auto have = tx.get(key);
      tx.erase(key);
      return have;
    });
  }
  void publish(const std::string& pem) {
    pki::Authorities all;
    all.pems = {pem};
    EXPECT_TRUE(run_(publish_authorities(*store_, all, true)));
  }
  std::string ca(const std::string& ns) const {
    auto map = store_->get({"configmaps", ns, "kube-root-ca.crt"});
    const auto* text = map ? api::object_at(map->body, "data").if_contains("ca.crt") : nullptr;
    return text && text->is_string() ? std::string(text->get_string()) : "";
  }
  bool has_account(const std::string& ns) const { return store_->get({"serviceaccounts", ns, "default"}) != nullptr; }
  bool soon(const std::function<bool()>& done) { return run_.until(done, std::chrono::seconds(5)); }

  Runner run_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<NamespaceDefaultsLoop> loop_;
  std::unique_ptr<async::TaskGroup> group_;
};

TEST_F(NamespaceDefaults, AccountAndAuthoritiesAreThereAndComeBack) {
  auto first = pki::Authority::create("one", 1'000'000)->certificate_pem();
  auto second = pki::Authority::create("two", 1'000'000)->certificate_pem();
  put({"namespaces", "", "early"}, "{}");
  EXPECT_TRUE(soon([&] { return has_account("early"); })) << "an account needs no CA";
  EXPECT_EQ(ca("early"), "");
  publish(first);
  put({"namespaces", "", "late"}, "{}");
  EXPECT_TRUE(soon([&] { return ca("early") == first && ca("late") == first && has_account("late"); }));

  auto before = store_->get({"serviceaccounts", "late", "default"})->uid;
  erase({"serviceaccounts", "late", "default"});
  erase({"configmaps", "late", "kube-root-ca.crt"});
  EXPECT_TRUE(soon([&] { return ca("late") == first && has_account("late"); }));
  EXPECT_NE(store_->get({"serviceaccounts", "late", "default"})->uid, before) << "tokens of the old one are void";
  put({"configmaps", "late", "kube-root-ca.crt"}, R"({"data":{"ca.crt":"another","more":"x"}})");
  EXPECT_TRUE(soon([&] { return ca("late") == first; }));
  EXPECT_EQ(api::object_at(store_->get({"configmaps", "late", "kube-root-ca.crt"})->body, "data").size(), 1u);

  publish(second);
  EXPECT_TRUE(soon([&] { return ca("early") == second && ca("late") == second; })) << "a rotation reaches everybody";
  put({"configmaps", "kube-system", "kube-root-ca.crt"}, R"({"data":{"ca.crt":"rubbish"}})");
  put({"namespaces", "", "last"}, "{}");
  EXPECT_TRUE(soon([&] { return has_account("last"); }));
  EXPECT_EQ(ca("late"), second) << "what is no CA goes nowhere";
}

TEST_F(NamespaceDefaults, ANamespaceOnItsWayOutGetsNothing) {
  put({"namespaces", "", "leaving"}, R"({"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}})");
  put({"serviceaccounts", "leaving", "default"}, "{}");
  erase({"serviceaccounts", "leaving", "default"});
  put({"namespaces", "", "staying"}, "{}");
  EXPECT_TRUE(soon([&] { return has_account("staying"); }));
  EXPECT_FALSE(has_account("leaving"));
  auto handled = loop_->loop().handled();
  auto revision = store_->revision();
  loop_->loop().enqueue("staying");
  EXPECT_TRUE(soon([&] { return loop_->loop().handled() > handled; }));
  EXPECT_EQ(store_->revision(), revision) << "what is right is not written again";
}

}  // namespace
}  // namespace trama::control
