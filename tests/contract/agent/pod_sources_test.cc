// SPDX-License-Identifier: GPL-2.0-or-later
// What a node's pods are made from, against a whole controller: ConfigMaps and Secrets by name, tokens by request.
#include "agent/pod_sources.h"

#include <ctime>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "agent/pod_tokens.h"
#include "control/pki/authority.h"
#include "control/pki/jwt.h"
#include "tests/e2e/support/controller_in_thread.h"

namespace trama::agent {
namespace {

using State = SourceLookup::State;
using namespace std::chrono_literals;
using control::test::object;

const char* const kMaps = "/api/v1/namespaces/default/configmaps";
const char* const kAccounts = "/api/v1/namespaces/default/serviceaccounts";

api::Key map(const std::string& name) { return {"configmaps", "default", name}; }

class FromTheServer : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(cluster.ready);
    node = &cluster.add_node("n1");
  }
  // A pod bound to n1 that names these ConfigMaps.
  void pod(const std::string& name, const std::vector<std::string>& maps, const std::string& more = "") {
    std::string env;
    for (const auto& m : maps)
      env += (env.empty() ? "" : ",") + std::string(R"({"configMapRef":{"name":")") + m + "\"}}";
    ASSERT_EQ(cluster.create(control::test::kPods,
                             R"({"metadata":{"name":")" + name + R"("},"spec":{"nodeName":"n1",)" + more +
                                 R"("containers":[{"name":"c","image":"host","envFrom":[)" + env + "]}]}}"),
              "");
  }
  template <class T>
  T ask(awaitable<T> task) {
    return cluster.run(std::move(task));
  }
  void remove(const std::string& path) { EXPECT_TRUE(ask(cluster.admin->remove(path))); }
  void end(auto& what) {
    auto task = [&]() -> awaitable<int> {
      co_await what.stop();
      co_return 0;
    };
    cluster.run(task());
  }
  // Ends it however the test ends.
  template <class T>
  struct Ended {
    FromTheServer& rig;
    T& what;
    ~Ended() { rig.end(what); }
  };
  bool soon(const std::function<bool()>& done, std::chrono::milliseconds limit = 10s) {
    return cluster.run.until(done, limit);
  }
  // As everything that the agent does: on its thread.
  void on_brain(const std::function<void()>& what) {
    auto task = [&]() -> awaitable<int> {
      what();
      co_return 0;
    };
    cluster.run(task());
  }
  // Lets time pass in which nothing should happen.
  void settle(std::chrono::milliseconds time) {
    (void)cluster.run.until([] { return false; }, time);
  }
  control::test::Cluster cluster;
  client::ApiClient* node = nullptr;
};

TEST_F(FromTheServer, EachNameIsFollowedFromMissingToFoundAndBack) {
  pod("p", {"a", "b"});
  int news = 0;
  PodSources sources(cluster.run.executor(), [&] { ++news; });
  Ended<PodSources> ended{*this, sources};
  sources.want({map("a"), map("b"), map("stranger")});
  EXPECT_EQ(sources.lookup(map("a")).state, State::unknown) << "before there is anybody to ask";
  sources.start(*node);
  auto state = [&](const char* name) { return sources.lookup(map(name)).state; };
  ASSERT_TRUE(soon([&] { return state("a") == State::missing && state("b") == State::missing; }));
  EXPECT_EQ(news, 2);
  ASSERT_EQ(cluster.create(kMaps, R"({"metadata":{"name":"a"},"data":{"x":"1"}})"), "");
  ASSERT_TRUE(soon([&] { return state("a") == State::found; }));
  EXPECT_EQ(api::text_at(sources.lookup(map("a")).object->body, "data.x"), "1");
  EXPECT_EQ(news, 3);
  ASSERT_TRUE(ask(cluster.admin->patch(std::string(kMaps) + "/a", object(R"({"data":{"x":"2"}})"))));
  ASSERT_TRUE(soon([&] { return api::text_at(sources.lookup(map("a")).object->body, "data.x") == "2"; }));
  EXPECT_EQ(news, 4);
  ASSERT_EQ(cluster.create(kMaps, R"({"metadata":{"name":"unnamed"}})"), "");
  remove(std::string(kMaps) + "/a");
  ASSERT_TRUE(soon([&] { return state("a") == State::missing; }));
  EXPECT_EQ(news, 5) << "what nobody names is no news";
  // The server refuses what no pod of the node names: that is not the same as missing.
  EXPECT_EQ(state("stranger"), State::unknown);
}

TEST_F(FromTheServer, WhatIsNotWantedAnyMoreIsForgotten) {
  pod("p", {"a", "b"});
  ASSERT_EQ(cluster.create(kMaps, R"({"metadata":{"name":"a"},"data":{"x":"1"}})"), "");
  int news = 0;
  PodSources sources(cluster.run.executor(), [&] { ++news; });
  Ended<PodSources> ended{*this, sources};
  sources.start(*node);
  sources.want({map("a"), map("b")});
  auto state = [&](const char* name) { return sources.lookup(map(name)).state; };
  ASSERT_TRUE(soon([&] { return state("a") == State::found && state("b") == State::missing; }));
  sources.want({map("b")});
  EXPECT_EQ(sources.watched(), 1u);
  EXPECT_EQ(state("a"), State::unknown);
  news = 0;
  remove(std::string(kMaps) + "/a");
  ASSERT_EQ(cluster.create(kMaps, R"({"metadata":{"name":"a"},"data":{"x":"2"}})"), "");
  ASSERT_EQ(cluster.create(kMaps, R"({"metadata":{"name":"b"}})"), "");
  ASSERT_TRUE(soon([&] { return state("b") == State::found; }));
  EXPECT_EQ(news, 1) << "of b alone";
  sources.want({map("a"), map("b")});
  EXPECT_EQ(state("a"), State::unknown) << "what was known before may be old";
  ASSERT_TRUE(soon([&] { return state("a") == State::found; }));
  EXPECT_EQ(api::text_at(sources.lookup(map("a")).object->body, "data.x"), "2");
  end(sources);
  EXPECT_EQ(sources.watched(), 0u);
}

TEST_F(FromTheServer, MoreThanTheMostWaitsUntilThereIsRoom) {
  PodSources sources(cluster.run.executor(), [] {});
  Ended<PodSources> ended{*this, sources};
  sources.start(*cluster.admin);
  std::set<api::Key> all;
  for (std::size_t i = 0; i < PodSources::kMost + 2; ++i) all.insert(map(fmt::format("m{:03}", i)));
  on_brain([&] { sources.want(all); });
  EXPECT_EQ(sources.watched(), PodSources::kMost);
  auto last = *all.rbegin();
  EXPECT_EQ(sources.lookup(last).state, State::unknown);
  for (int i = 0; i < 3; ++i) all.erase(all.begin());
  on_brain([&] { sources.want(all); });
  ASSERT_TRUE(soon([&] { return sources.lookup(last).state == State::missing; }, 20s));
  EXPECT_EQ(sources.watched(), all.size());
}

TEST_F(FromTheServer, ATokenIsOfThePodThatWantsIt) {
  pod("p", {});
  auto uid = api::text_at(cluster.get(std::string(control::test::kPods) + "/p"), "metadata.uid");
  int news = 0;
  PodTokens tokens(cluster.run.executor(), [&] { ++news; });
  Ended<PodTokens> ended{*this, tokens};
  TokenWant api_token{uid, "default", "p", "default", "", 3607}, vault{uid, "default", "p", "default", "vault", 600};
  tokens.want({api_token, vault});
  EXPECT_EQ(tokens.lookup(vault).state, State::unknown);
  tokens.start(*node);
  ASSERT_TRUE(soon(
      [&] { return tokens.lookup(api_token).state == State::found && tokens.lookup(vault).state == State::found; }));
  EXPECT_EQ(news, 2);
  auto jwt = pki::parse_jwt(tokens.lookup(vault).token);
  ASSERT_TRUE(jwt);
  EXPECT_EQ(jwt->claims.at("aud").as_array().at(0), "vault");
  EXPECT_EQ(jwt->claims.at("exp").as_int64() - jwt->claims.at("iat").as_int64(), 600);
  EXPECT_EQ(api::text_at(jwt->claims.at("kubernetes.io").as_object(), "pod.uid"), uid);
  tokens.want({vault});
  EXPECT_EQ(tokens.lookup(api_token).state, State::unknown);
}

TEST_F(FromTheServer, ATokenThatIsRefusedSaysWhyAndIsAskedForAgain) {
  ASSERT_EQ(cluster.create(kAccounts, R"({"metadata":{"name":"robot"}})"), "");
  pod("p", {}, R"("serviceAccountName":"robot",)");
  auto uid = api::text_at(cluster.get(std::string(control::test::kPods) + "/p"), "metadata.uid");
  remove(std::string(kAccounts) + "/robot");
  int news = 0;
  PodTokens tokens(cluster.run.executor(), [&] { ++news; });
  Ended<PodTokens> ended{*this, tokens};
  TokenWant want{uid, "default", "p", "robot", "", 3607}, other{uid, "default", "p", "default", "", 3607};
  tokens.start(*node);
  tokens.want({want, other});
  ASSERT_TRUE(soon(
      [&] { return tokens.lookup(want).state == State::missing && tokens.lookup(other).state == State::missing; }));
  EXPECT_NE(tokens.lookup(want).why.find("serviceaccounts \"robot\" not found"), std::string::npos)
      << tokens.lookup(want).why;
  EXPECT_NE(tokens.lookup(other).why.find("forbidden"), std::string::npos) << "the pod has another account";
  settle(1500ms);
  EXPECT_EQ(news, 2) << "the same refusal is no news";
  ASSERT_EQ(cluster.create(kAccounts, R"({"metadata":{"name":"robot"}})"), "");
  ASSERT_TRUE(soon([&] { return tokens.lookup(want).state == State::found; }));
}

TEST_F(FromTheServer, ATokenIsReplacedBeforeItEndsAndKeptWhenThatFails) {
  EXPECT_EQ(token_refresh(1000s), 800s);
  EXPECT_EQ(token_refresh(10 * 24h), 24h);
  pod("p", {});
  auto uid = api::text_at(cluster.get(std::string(control::test::kPods) + "/p"), "metadata.uid");
  auto skipped = 0s;
  int news = 0;
  PodTokens tokens(
      cluster.run.executor(), [&] { ++news; }, [&] { return PodTokens::Clock::now() + skipped; });
  Ended<PodTokens> ended{*this, tokens};
  TokenWant want{uid, "default", "p", "default", "", 600}, vault{uid, "default", "p", "default", "vault", 3600};
  tokens.start(*node);
  tokens.want({want});
  ASSERT_TRUE(soon([&] { return tokens.lookup(want).state == State::found; }));
  auto first = tokens.lookup(want).token;
  skipped = 470s;
  tokens.want({want, vault});  // wakes it
  ASSERT_TRUE(soon([&] { return tokens.lookup(vault).state == State::found; }));
  EXPECT_EQ(tokens.lookup(want).token, first) << "not yet";
  skipped = 485s;
  tokens.want({want});
  tokens.want({want, vault});
  ASSERT_TRUE(soon([&] { return tokens.lookup(want).token != first; }));
  auto second = tokens.lookup(want).token;
  EXPECT_TRUE(pki::parse_jwt(second));
  EXPECT_EQ(tokens.lookup(want).state, State::found);
  // Its pod has gone: there is no other token, and what it has stays until somebody stops wanting it.
  EXPECT_TRUE(
      ask(cluster.admin->remove(std::string(control::test::kPods) + "/p", object(R"({"gracePeriodSeconds":0})"))));
  news = 0;
  skipped = 2000s;
  tokens.want({want});
  tokens.want({want, vault});
  settle(1000ms);
  EXPECT_EQ(tokens.lookup(want).token, second);
  EXPECT_EQ(news, tokens.lookup(vault).state == State::missing ? 1 : 0);
}

// As the server makes it, but signed by nobody that is known: what a pod's file holds is not verified.
std::string token_of(const TokenWant& want, std::int64_t begins, std::int64_t ends, const std::string& audience) {
  static const auto ca = pki::Authority::create("elsewhere", std::time(nullptr));
  json::object bound{{"uid", want.pod_uid}}, about, claims{{"iat", begins}, {"exp", ends}};
  about["pod"] = std::move(bound);
  claims["kubernetes.io"] = std::move(about);
  claims["sub"] = fmt::format("system:serviceaccount:{}:{}", want.ns, want.account);
  claims["aud"] = json::array{json::value(audience)};
  return pki::sign_jwt(ca->key(), "k", claims).value_or("");
}

TEST(KeptToken, IsTheOneThatIsWantedAndKnowsWhenItIsDue) {
  const TokenWant want{"u1", "d", "p", "robot", "vault", 1000};
  auto good = token_of(want, 10'000, 11'000, "vault");
  auto kept = kept_token(good, want, 10'100);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->ask_in, 700s);
  EXPECT_EQ(kept->ends_in, 900s);
  EXPECT_EQ(kept_token(good, want, 10'900)->ask_in, -100s) << "due, and good while there is no other";
  EXPECT_FALSE(kept_token(good, want, 11'000));
  EXPECT_FALSE(kept_token(good, want, 9'900)) << "from a clock that is ahead";
  for (auto change : std::vector<void (*)(TokenWant&)>{
           [](TokenWant& w) { w.pod_uid = "u2"; }, [](TokenWant& w) { w.ns = "e"; },
           [](TokenWant& w) { w.account = "default"; }, [](TokenWant& w) { w.audience = "x"; }}) {
    auto other = want;
    change(other);
    EXPECT_FALSE(kept_token(good, other, 10'100));
  }
  for (auto bad : {std::string(), std::string("a.b.c"), good.substr(1), std::string(1 << 20, 'x')})
    EXPECT_FALSE(kept_token(bad, want, 10'100)) << bad.size();
}

TEST_F(FromTheServer, ATokenThatThePodHasIsTakenOverUnlessItHasEnded) {
  pod("p", {});
  auto uid = api::text_at(cluster.get(std::string(control::test::kPods) + "/p"), "metadata.uid");
  const TokenWant good{uid, "default", "p", "default", "", 3600}, due{uid, "default", "p", "default", "due", 3600},
      ended{uid, "default", "p", "default", "ended", 3600}, none{uid, "default", "p", "default", "none", 3600};
  auto now = static_cast<std::int64_t>(std::time(nullptr));
  std::map<TokenWant, std::string> files{{good, token_of(good, now - 100, now + 3500, "any")},
                                         {due, token_of(due, now - 3400, now + 200, "due")},
                                         {ended, token_of(ended, now - 3700, now - 100, "ended")},
                                         {none, ""}};
  PodTokens tokens(cluster.run.executor(), [] {});
  Ended<PodTokens> end{*this, tokens};
  std::map<std::string, int> looked;
  tokens.recall_by([&](TokenWant want) -> awaitable<std::string> {
    ++looked[want.audience];
    co_return files.at(want);
  });
  tokens.start(*node);
  tokens.want({good, due, ended, none});
  for (const auto& want : {due, ended, none})
    EXPECT_TRUE(soon([&] {
      auto seen = tokens.lookup(want);
      return seen.state == State::found && seen.token != files.at(want);
    })) << want.audience;
  EXPECT_EQ(tokens.lookup(good).token, files.at(good)) << "nobody was asked for it";
  for (const auto& [audience, times] : looked) EXPECT_EQ(times, 1) << audience;
}

TEST_F(FromTheServer, ManyTokensAreAskedForTogetherAndAServerThatIsAwayIsNoRefusal) {
  std::set<TokenWant> all;
  for (int i = 0; i < 30; ++i) {
    auto name = fmt::format("p{}", i);
    pod(name, {});
    all.insert({api::text_at(cluster.get(std::string(control::test::kPods) + "/" + name), "metadata.uid"), "default",
                name, "default", "", 3607});
  }
  auto nobody = node->options();
  nobody.server = "https://127.0.0.1:1";
  auto away = client::ApiClient::make(cluster.run.executor(), nobody);
  ASSERT_TRUE(away);
  int silence = 0;
  PodTokens waiting(cluster.run.executor(), [&] { ++silence; });
  Ended<PodTokens> ended_too{*this, waiting};
  waiting.start(**away);
  waiting.want(all);
  PodTokens tokens(cluster.run.executor(), [] {});
  Ended<PodTokens> ended{*this, tokens};
  tokens.start(*node);
  tokens.want(all);
  ASSERT_TRUE(soon([&] {
    return std::all_of(all.begin(), all.end(), [&](const auto& w) { return tokens.lookup(w).state == State::found; });
  }));
  EXPECT_EQ(silence, 0);
  EXPECT_EQ(waiting.lookup(*all.begin()).state, State::unknown);
}

}  // namespace
}  // namespace trama::agent
